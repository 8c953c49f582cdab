//! What a member's client tells its thread: rebalances, errors. The callbacks only note it; what is done
//! about it is the thread's business.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use evhub_journal::Error;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use tracing::warn;

use crate::{
    Connection,
    context::{self, Context},
    error,
};

/// A member's context.
#[derive(Debug, Default)]
pub(crate) struct Group {
    noted: Mutex<VecDeque<Noted>>,
    /// The member is leaving: nobody drains any more.
    pub(crate) leaving: AtomicBool,
    pub(crate) errors: Context,
}

/// What a callback said.
#[derive(Debug)]
pub(crate) enum Noted {
    /// These are this member's now.
    Assign(TopicPartitionList),
    /// These are asked back.
    Revoke(BTreeSet<u32>),
    /// These were taken.
    Lost(BTreeSet<u32>),
}

impl Group {
    /// The next thing that was noted.
    pub(crate) fn next(&self) -> Option<Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// How many callbacks there were.
    pub(crate) fn calls(&self) -> u64 {
        self.errors.calls()
    }

    fn note(&self, noted: Noted) {
        self.errors.called();
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).push_back(noted);
    }
}

/// The partition numbers of a list, whatever the topics.
pub(crate) fn numbers(list: &TopicPartitionList) -> BTreeSet<u32> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.errors.called();
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.note(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let leaving = self.leaving.load(Relaxed);
        let assigns = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if assigns && !leaving {
            return self.note(Noted::Assign(list.clone()));
        }
        let lost = consumer.assignment_lost();
        if assigns || leaving || lost {
            // Nobody is asked: it is gone already, or nobody would answer.
            if let Err(error) = consumer.unassign() {
                warn!(%error, "partitions cannot be given up");
            }
        }
        match (assigns, lost) {
            (true, _) => {}
            (false, true) => self.note(Noted::Lost(numbers(list))),
            (false, false) => self.note(Noted::Revoke(numbers(list))),
        }
    }
}

/// A client that asks to be a member, and rings when it has something.
pub(super) fn join(
    connection: &Connection,
    (group, topics): &(String, Vec<String>),
    ring: impl Fn() + Send + Sync + 'static,
) -> Result<BaseConsumer<Group>, Error> {
    let failed = |intent: &'static str| move |problem: KafkaError| error::unavailable(intent, &problem, None);
    let mut consumer = BaseConsumer::from_config_and_context(&connection.member(group), Group::default())
        .map_err(failed("make a member"))?;
    consumer.set_nonempty_callback(ring);
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&names).map_err(failed("join a group"))?;
    Ok(consumer)
}

/// Leaves, as far as the client can be told: its drop waits until it has.
pub(super) fn leave(consumer: &BaseConsumer<Group>) {
    consumer.context().leaving.store(true, Relaxed);
    if let Err(error) = consumer.unassign() {
        warn!(%error, "partitions cannot be given up");
    }
}
