//! Kafka's errors as the log's. Pure.

use evhub_journal::{CommitError, Error, Refusal, WriteError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Why a question to the brokers had no answer, with what the client said of its troubles.
pub(crate) fn unavailable(intent: &str, error: &KafkaError, trouble: Option<String>) -> Error {
    let trouble = trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
    Error::Unavailable(format!("{intent}: {error}{trouble}"))
}

/// How a write ended that a delivery report calls failed. Whether it may have been written the client knows better than
/// the error's code says: it has seen every try.
pub(crate) fn write(error: &KafkaError, not_persisted: bool, topic: &str, partition: u32) -> WriteError {
    if !not_persisted {
        return WriteError::Unknown(error.to_string());
    }
    WriteError::Rejected(match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => Refusal::UnknownTopic(topic.to_owned()),
        Some(Code::UnknownPartition) => Refusal::UnknownPartition(topic.to_owned(), partition),
        _ => Refusal::Unavailable(error.to_string()),
    })
}

/// Why a record could not even be queued.
pub(crate) fn queueing(error: &KafkaError, topic: &str, partition: u32) -> WriteError {
    WriteError::Rejected(match error.rdkafka_error_code() {
        Some(Code::QueueFull) => Refusal::Busy,
        Some(Code::UnknownTopic) => Refusal::UnknownTopic(topic.to_owned()),
        Some(Code::UnknownPartition) => Refusal::UnknownPartition(topic.to_owned(), partition),
        _ => Refusal::Unavailable(error.to_string()),
    })
}

/// How a commit ended.
pub(crate) fn commit(code: Code, mine: u64, current: u64) -> CommitError {
    match code {
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::RebalanceInProgress
        | Code::FencedInstanceId
        | Code::StaleMemberEpoch
        | Code::FencedMemberEpoch
        | Code::AssignmentLost => CommitError::Stale { mine, current },
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

#[cfg(test)]
mod tests {
    use super::{Code, CommitError, KafkaError, Refusal, WriteError, commit, write};

    #[test]
    fn what_may_have_been_written_is_unknown() {
        let failed = |code, not_persisted| write(&KafkaError::MessageProduction(code), not_persisted, "t", 0);
        assert!(matches!(failed(Code::MessageTimedOut, false), WriteError::Unknown(_)));
        assert!(matches!(failed(Code::MessageTimedOut, true), WriteError::Rejected(Refusal::Unavailable(_))));
        assert!(matches!(
            failed(Code::UnknownTopicOrPartition, true),
            WriteError::Rejected(Refusal::UnknownTopic(_))
        ));
    }

    #[test]
    fn another_generation_is_stale_and_silence_is_unknown() {
        assert_eq!(commit(Code::IllegalGeneration, 3, 4), CommitError::Stale { mine: 3, current: 4 });
        assert!(matches!(commit(Code::RequestTimedOut, 3, 3), CommitError::Unknown(_)));
        assert!(matches!(commit(Code::OffsetMetadataTooLarge, 3, 3), CommitError::Rejected(_)));
    }
}
