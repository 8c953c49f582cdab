//! Kafka's errors as the log's. Pure.

use evhub_journal::{CommitError, Error, Position, Refusal, TransactError, WriteError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::{
    connection::BATCH,
    trouble::{PROTOCOL, Trouble},
};

/// Why a question to the brokers had no answer, with what the client said of its troubles.
pub(crate) fn unavailable(intent: &str, error: &KafkaError, trouble: Option<Trouble>) -> Error {
    let cause = match (code(error).and_then(not_allowed), trouble) {
        (Some(grant), _) => format!("{error}: {grant}"),
        // The call only timed out; this is why.
        (None, Some(trouble)) => trouble.to_string(),
        (None, None) => match code(error) {
            // A broker that does not understand a client hangs up, and the client does not say so.
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown) => format!("{error}: {PROTOCOL}"),
            _ => error.to_string(),
        },
    };
    Error::Unavailable(format!("{intent}: {cause}"))
}

/// What went wrong, of an administrator's questions as well, which the Kafka crate leaves out.
pub(crate) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

/// What to grant, where the brokers know us and do not allow it.
fn not_allowed(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => "grant Describe, Read and Write on the installation's topics",
        Code::GroupAuthorizationFailed => "grant Read on the installation's groups",
        Code::TransactionalIdAuthorizationFailed => "grant Write on the installation's transactional ids",
        Code::ClusterAuthorizationFailed => "grant IdempotentWrite and Create on the cluster",
        _ => return None,
    })
}

/// Where a record is that the client calls written. After a retry the brokers may know that they have it and not where: then it
/// cannot be called accepted, as there is no position to tell.
pub(crate) fn written(partition: i32, offset: i64) -> Result<Position, WriteError> {
    let position = u32::try_from(partition).ok().zip(u64::try_from(offset).ok());
    let nowhere =
        || WriteError::Unknown("it is written, and the brokers do not know where any more".to_owned());
    position.map(|(partition, offset)| Position { partition, offset }).ok_or_else(nowhere)
}

/// How a write ended that a delivery report calls failed. Whether it may have been written the client knows better than
/// the error's code says: it has seen every try.
pub(crate) fn write(error: &KafkaError, not_persisted: bool, topic: &str, partition: u32) -> WriteError {
    if !not_persisted {
        return WriteError::Unknown(error.to_string());
    }
    WriteError::Rejected(refusal(error, topic, partition))
}

/// Why a record was not written, or could not even be queued.
pub(crate) fn refusal(error: &KafkaError, topic: &str, partition: u32) -> Refusal {
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => Refusal::UnknownTopic(topic.to_owned()),
        Some(Code::UnknownPartition) => Refusal::UnknownPartition(topic.to_owned(), partition),
        Some(Code::QueueFull) => Refusal::Busy,
        // A batch is refused whole, so that this says nothing of one record.
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => Refusal::Unavailable(format!(
            "topic {topic} takes no batch of {BATCH} bytes: raise its max.message.bytes"
        )),
        Some(Code::MessageTimedOut) => Refusal::Unavailable("it could not be written in time".to_owned()),
        Some(code) => match not_allowed(code) {
            Some(grant) => Refusal::Unavailable(format!("{error}: {grant}")),
            None => Refusal::Unavailable(error.to_string()),
        },
        None => Refusal::Unavailable(error.to_string()),
    }
}

/// Adds what keeps the client from its brokers, where a write could not be made for that reason.
pub(crate) fn with_trouble(ending: WriteError, trouble: Option<String>) -> WriteError {
    let Some(trouble) = trouble else { return ending };
    match ending {
        WriteError::Rejected(Refusal::Unavailable(why)) => {
            WriteError::Rejected(Refusal::Unavailable(format!("{why}: {trouble}")))
        }
        WriteError::Unknown(why) => WriteError::Unknown(format!("{why}: {trouble}")),
        rejected @ WriteError::Rejected(_) => rejected,
    }
}

/// Whether a commit was refused because its generation is over: that is said of all its partitions alike.
pub(crate) fn is_stale(code: Code) -> bool {
    matches!(
        code,
        Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::FencedInstanceId
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch
            | Code::AssignmentLost
    )
}

/// What is known of a commit that did not end well. Of several partitions the client tells how the last one did.
pub(crate) fn of_commit(problem: &KafkaError, partitions: usize) -> Code {
    match problem.rdkafka_error_code() {
        Some(code) if partitions == 1 || is_stale(code) => code,
        _ => Code::Unknown,
    }
}

/// How a commit ended.
pub(crate) fn commit(code: Code, mine: u64, current: u64) -> CommitError {
    match code {
        code if is_stale(code) => CommitError::Stale { mine, current },
        Code::OffsetMetadataTooLarge
        | Code::GroupAuthorizationFailed
        | Code::TopicAuthorizationFailed
        | Code::InvalidCommitOffsetSize
        | Code::InvalidGroupId
        | Code::UnknownTopicOrPartition
        | Code::NoOffset => CommitError::Rejected(code.to_string()),
        _ => CommitError::Unknown(code.to_string()),
    }
}

/// Whether another producer has the transactional id.
pub(crate) fn is_fenced(code: Option<Code>) -> bool {
    matches!(code, Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch))
}

/// What an error before a transaction's commit comes to: nothing of it will be seen.
pub(crate) fn undecided(error: &KafkaError, ended: bool) -> TransactError {
    match error.rdkafka_error_code() {
        code if ended || is_fenced(code) => TransactError::Fenced,
        Some(Code::QueueFull) => TransactError::Rejected(Refusal::Busy),
        _ => TransactError::Rejected(Refusal::Unavailable(error.to_string())),
    }
}

/// What an error of a transaction's offsets comes to: nothing of it will be seen.
pub(crate) fn offsets(error: &KafkaError, ended: bool, mine: u64) -> TransactError {
    match error.rdkafka_error_code() {
        Some(
            Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::RebalanceInProgress
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch,
        ) => TransactError::Stale { mine, current: mine + 1 },
        _ => undecided(error, ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: [Code; 7] = [
        Code::IllegalGeneration,
        Code::UnknownMemberId,
        Code::RebalanceInProgress,
        Code::FencedInstanceId,
        Code::StaleMemberEpoch,
        Code::FencedMemberEpoch,
        Code::AssignmentLost,
    ];

    fn produced(code: Code) -> KafkaError {
        KafkaError::MessageProduction(code)
    }

    fn refused(code: Code) -> Refusal {
        let WriteError::Rejected(refusal) = write(&produced(code), true, "t", 7) else { panic!("{code}") };
        refusal
    }

    #[test]
    fn what_may_have_been_written_is_unknown_whatever_the_code() {
        let codes = [
            Code::MessageTimedOut,
            Code::PurgeInflight,
            Code::OutOfOrderSequenceNumber,
            Code::UnknownTopicOrPartition,
            Code::MessageSizeTooLarge,
            Code::NotEnoughReplicasAfterAppend,
        ];
        for code in codes {
            let unknown = write(&produced(code), false, "t", 0);
            assert!(matches!(unknown, WriteError::Unknown(_)), "{code}: {unknown}");
        }
    }

    #[test]
    fn what_was_not_written_is_rejected_with_the_reason() {
        assert_eq!(refused(Code::UnknownTopic), Refusal::UnknownTopic("t".into()));
        assert_eq!(refused(Code::UnknownTopicOrPartition), Refusal::UnknownTopic("t".into()));
        assert_eq!(refused(Code::UnknownPartition), Refusal::UnknownPartition("t".into(), 7));
        assert_eq!(refused(Code::QueueFull), Refusal::Busy);
        let reasons = [
            (Code::MessageSizeTooLarge, "raise its max.message.bytes"),
            (Code::MessageBatchTooLarge, "raise its max.message.bytes"),
            (Code::MessageTimedOut, "could not be written in time"),
            (Code::TopicAuthorizationFailed, "grant Describe, Read and Write"),
            (Code::ClusterAuthorizationFailed, "grant IdempotentWrite"),
            (Code::TransactionalIdAuthorizationFailed, "transactional ids"),
            (Code::GroupAuthorizationFailed, "groups"),
            (Code::PurgeQueue, ""),
            (Code::InvalidMessage, ""),
            (Code::NotEnoughReplicas, ""),
        ];
        for (code, words) in reasons {
            let Refusal::Unavailable(why) = refused(code) else { panic!("{code}") };
            assert!(why.contains(words), "{code}: {why}");
        }
    }

    #[test]
    fn written_is_accepted_only_with_a_place() {
        assert_eq!(written(3, 9).unwrap(), Position { partition: 3, offset: 9 });
        assert!(matches!(written(3, -1), Err(WriteError::Unknown(_))));
    }

    #[test]
    fn trouble_is_said_where_it_is_the_reason() {
        let said = |ending| with_trouble(ending, Some("no brokers".into())).to_string();
        assert!(said(WriteError::Unknown("x".into())).ends_with("x: no brokers"));
        assert!(said(WriteError::Rejected(Refusal::Unavailable("x".into()))).contains("x: no brokers"));
        assert!(!said(WriteError::Rejected(Refusal::Busy)).contains("no brokers"));
        let timed_out = KafkaError::MetadataFetch(Code::OperationTimedOut);
        let trouble = Trouble::of(Code::Authentication, "Authentication failed");
        let told = unavailable("reach a broker", &timed_out, trouble.clone()).to_string();
        assert!(told.contains("reach a broker: Authentication failed: check sasl.mechanism"), "{told}");
        for code in [Code::BrokerTransportFailure, Code::AllBrokersDown] {
            let hung_up = unavailable("x", &KafkaError::MetadataFetch(code), None).to_string();
            assert!(hung_up.contains("check security.protocol"), "{hung_up}");
        }
        assert!(!unavailable("x", &timed_out, None).to_string().contains("check"));
        let denied = KafkaError::MetadataFetch(Code::TopicAuthorizationFailed);
        assert!(unavailable("x", &denied, trouble).to_string().contains("grant Describe"));
    }

    #[test]
    fn another_generation_is_stale_and_silence_is_unknown() {
        for code in STALE {
            assert_eq!(commit(code, 3, 4), CommitError::Stale { mine: 3, current: 4 }, "{code}");
        }
        let rejected = [
            Code::OffsetMetadataTooLarge,
            Code::GroupAuthorizationFailed,
            Code::TopicAuthorizationFailed,
            Code::InvalidCommitOffsetSize,
            Code::InvalidGroupId,
            Code::UnknownTopicOrPartition,
            Code::NoOffset,
        ];
        for code in rejected {
            assert!(matches!(commit(code, 3, 3), CommitError::Rejected(_)), "{code}");
        }
        for code in [Code::RequestTimedOut, Code::BrokerTransportFailure, Code::NotCoordinator, Code::Unknown]
        {
            assert!(matches!(commit(code, 3, 3), CommitError::Unknown(_)), "{code}");
        }
    }

    #[test]
    fn before_its_commit_a_transaction_is_fenced_or_rejected_and_never_unknown() {
        for code in [Code::Fenced, Code::ProducerFenced, Code::InvalidProducerEpoch] {
            assert!(is_fenced(Some(code)));
            assert!(matches!(undecided(&produced(code), false), TransactError::Fenced), "{code}");
        }
        assert!(!is_fenced(Some(Code::RequestTimedOut)) && !is_fenced(None));
        assert!(matches!(undecided(&produced(Code::PurgeQueue), true), TransactError::Fenced));
        let busy = undecided(&produced(Code::QueueFull), false);
        assert!(matches!(busy, TransactError::Rejected(Refusal::Busy)));
        let timed_out = undecided(&produced(Code::RequestTimedOut), false);
        assert!(matches!(timed_out, TransactError::Rejected(Refusal::Unavailable(_))));
        for code in STALE.into_iter().filter(|code| *code != Code::AssignmentLost) {
            let stale = offsets(&produced(code), false, 3);
            assert!(matches!(stale, TransactError::Stale { mine: 3, current: 4 }), "{code}");
        }
        assert!(matches!(offsets(&produced(Code::Fenced), false, 3), TransactError::Fenced));
    }
}
