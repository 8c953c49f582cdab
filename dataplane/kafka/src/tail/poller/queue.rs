//! One partition that is assigned, and what the client has of it.

use std::time::{Duration, Instant};

use evhub_journal::{Stored, TopicPartition};
use rdkafka::{
    TopicPartitionList,
    consumer::base_consumer::PartitionQueue,
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tracing::warn;

use super::super::group::Group;
use crate::record;

/// How much of one partition is handed out at once.
const PIECE: (usize, usize) = (500, 256 << 10);

/// One partition that is assigned.
pub(super) struct Queue {
    pub(super) client: PartitionQueue<Group>,
    /// Which seek it reads for; none before the first.
    pub(super) seek: Option<u64>,
    /// From where on nothing of it has been handed out.
    pub(super) next: u64,
    /// Since when it has been paused.
    pub(super) paused: Option<Instant>,
    /// Paused for so long that the client has dropped what it had fetched.
    pub(super) resting: bool,
}

/// What came after the records of one piece.
pub(super) enum After {
    Nothing,
    End,
    Gone,
}

impl Queue {
    pub(super) fn take(&mut self) -> (Vec<Stored>, After) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < PIECE.0 && bytes < PIECE.1 {
            match self.client.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    bytes += record::size(&message);
                    records.push(record::stored(&message));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return (records, After::End),
                Some(Err(KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange))) => {
                    return (records, After::Gone);
                }
                Some(Err(error)) => {
                    warn!(%error, "a partition cannot be read at the moment");
                    break;
                }
                None => break,
            }
        }
        (records, After::Nothing)
    }
}

/// It alone, as the client wants it said.
pub(super) fn one(at: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&at.topic, at.partition as i32);
    list
}
