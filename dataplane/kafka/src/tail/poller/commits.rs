//! Commits, one after the other, each in the name of the generation that it was asked for in.

use std::sync::Arc;

use evhub_journal::{CommitError, Committed};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{Command, Poller};
use crate::{error, native};

impl Poller {
    /// Commits that can be made no more.
    pub(super) fn end_waiting(&mut self) {
        for (mine, _, answer) in std::mem::take(&mut self.waiting) {
            let _ = answer.send(Err(CommitError::Stale { mine, current: self.generation }));
        }
    }

    /// Sends the next commit, if none is under way.
    ///
    /// The client tells the end of a commit only to whoever waits for it, so another thread does. That it is sent there and
    /// not here takes nothing from the rule that the thread that polls commits: until it has ended this one neither gives up
    /// nor takes any partition, so that no other generation can begin.
    pub(super) fn send_commit(&mut self) {
        while self.committing.is_none() {
            let Some((mine, offsets, answer)) = self.waiting.pop_front() else { return };
            if mine != self.generation {
                let _ = answer.send(Err(CommitError::Stale { mine, current: self.generation }));
                continue;
            }
            match list_of(&offsets) {
                Ok(list) => {
                    self.committing = Some((mine, answer));
                    let (consumer, commands) = (Arc::clone(&self.consumer), self.bell.commands.clone());
                    self.runtime.spawn_blocking(move || {
                        let ended = consumer.commit(&list, CommitMode::Sync);
                        // Before the thread hears it: it may end, and the last handle's drop waits.
                        drop(consumer);
                        let code = |problem| error::of_commit(&problem, list.count());
                        let _ = commands.send(Command::Committed(ended.map_err(code)));
                    });
                }
                Err(error) => drop(answer.send(Err(CommitError::Rejected(error.to_string())))),
            }
        }
    }

    pub(super) fn committed(&mut self, ended: Result<(), Code>) {
        if let Some((mine, answer)) = self.committing.take() {
            let current = u64::try_from(native::generation(self.consumer.client())).unwrap_or(mine);
            let _ = answer.send(ended.map_err(|code| error::commit(code, mine, current)));
        }
    }
}

pub(crate) fn list_of(offsets: &[Committed]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for Committed { partition, offset, metadata } in offsets {
        let mut element = list.add_partition(&partition.topic, partition.partition as i32);
        element.set_offset(Offset::Offset(*offset as i64))?;
        element.set_metadata(metadata);
    }
    Ok(list)
}
