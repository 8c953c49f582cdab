//! When is committed, and what a commit that failed means. I/O.

use std::{future::Future, pin::Pin, time::Duration};

use evhub_journal::{CommitError, Committed, Journal, Tail, TopicPartition};
use tokio::time::{Instant, sleep};

use super::{
    super::{slot::Slot, takeover::with_log, task::Done},
    Exit, Member,
};
use crate::protocol::{Doubt, Next, Offsets, after};

/// What is resolved is committed at the latest after this long.
const COMMIT_AFTER: Duration = Duration::from_millis(100);

impl<J: Journal> Member<J> {
    pub(super) fn commit_soon(&mut self) {
        self.commit_at.get_or_insert_with(|| Instant::now() + COMMIT_AFTER);
    }

    /// Commits everything once more, so that it is not forgotten.
    pub(super) fn keep(&mut self) {
        for slot in self.slots.values_mut() {
            if let Slot::Working(working) = slot {
                working.commit_again();
            }
        }
        self.commit_soon();
    }

    pub(super) fn commit_all(&mut self) {
        self.commit_at = None;
        let partitions: Vec<u32> = self.slots.keys().copied().collect();
        for partition in partitions {
            self.commit_one(partition);
        }
        self.gauge();
    }

    /// Commits what is to be committed of a partition; returns whether there was anything.
    pub(super) fn commit_one(&mut self, partition: u32) -> bool {
        let Some(Slot::Working(working)) = self.slots.get_mut(&partition) else { return false };
        let Some(offsets) = working.commit() else { return false };
        let committed = self.commit(partition, offsets);
        self.out.run(partition, async move { Done::Committed(committed.await) });
        true
    }

    pub(super) fn commit(
        &mut self,
        partition: u32,
        offsets: Offsets,
    ) -> Pin<Box<dyn Future<Output = Result<(), CommitError>> + Send>> {
        let topics = &self.out.shared.topics;
        let offsets = self.sources.iter().zip(offsets).map(|(topic, (offset, metadata))| Committed {
            partition: TopicPartition { topic: topic.clone(), partition },
            offset,
            metadata: with_log(metadata.encode(offset), topics.log(topics.number(topic), partition)),
        });
        let committing = self.tail.commit(offsets.collect());
        Box::pin(async move {
            let answer = committing.await;
            if matches!(answer, Err(CommitError::Rejected(_))) {
                // What follows is the same commit again.
                sleep(COMMIT_AFTER).await;
            }
            answer
        })
    }
}

/// Whether a commit's failure lets this owner go on.
pub(super) fn doubt(error: &CommitError) -> Result<(), Exit> {
    let doubt = match error {
        CommitError::Rejected(_) => Doubt::Rejected,
        CommitError::Unknown(_) => Doubt::UnknownCommit,
        CommitError::Stale { .. } => Doubt::Stale,
    };
    match after(doubt) {
        Next::Again => Ok(()),
        // Joining anew ends every doubt: its generation refuses what is still on its way.
        Next::Reload | Next::Rejoin => Err(Exit::Failed(format!("commit offsets: {error}"))),
    }
}
