//! Asking the ledger about half messages. I/O.

use std::{collections::BTreeMap, sync::Arc};

use evhub_journal::{ClusterSettings, Journal};
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};

use super::{Leaders, Ledger, Slot, Trouble, within};
use crate::{
    Answer, Command, Question, Reply, TimerId,
    half::{Doubtful, HalfListed, Wanted, Which},
    rim::Message,
};

impl<J: Journal> Ledger<J> {
    /// The id of an event's half message.
    pub fn half(&self, producer: &str, key: Option<&[u8]>, source: &str, event: &str) -> TimerId {
        TimerId::half(producer, key, source, event, self.settings.shards)
    }

    /// The same of one whose event has an id that no other has, whichever its Producer.
    pub fn half_alone(&self, event: &str) -> TimerId {
        TimerId::half_alone(event, self.settings.shards)
    }

    /// Decides on a half message, if there can be one of this id.
    pub async fn decide(&self, command: Command) -> Result<Answer, Trouble> {
        if command.id.shard() >= self.settings.shards || !self.exists().await? {
            return Ok(Answer::Unknown);
        }
        self.ask(command, 0, ClusterSettings::default()).await
    }

    /// What is known of a half message.
    pub async fn look_half(&self, id: TimerId) -> Result<Option<HalfListed>, Trouble> {
        if id.shard() >= self.settings.shards || !self.exists().await? {
            return Ok(None);
        }
        match self.tell(id.shard(), Question::LookHalf(id)).await {
            Reply::Halves(halves) => Ok(halves.into_iter().next().map(|(_, half)| half)),
            Reply::Answer(_) | Reply::Listed(_) | Reply::Series(_) | Reply::Dynamic(_) => {
                Err(other_version())
            }
        }
    }

    /// The half messages of a Producer that nobody has decided on, behind a place, those first that were prepared first.
    pub async fn list_halves(
        &self,
        producer: &str,
        which: Which,
        after: Option<(Slot, u32)>,
        most: usize,
    ) -> Result<Vec<(Slot, HalfListed)>, Trouble> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for shard in 0..self.settings.shards {
            let after = after.map(|(slot, last)| within(shard, slot, last));
            match self.tell(shard, Question::Halves(producer.to_owned(), which, after, most)).await {
                Reply::Halves(halves) => all.extend(halves),
                Reply::Answer(_) | Reply::Listed(_) | Reply::Series(_) | Reply::Dynamic(_) => {
                    return Err(other_version());
                }
            }
        }
        all.sort_unstable_by_key(|((at, seq), half)| (*at, *seq, half.id.shard()));
        all.truncate(most);
        Ok(all)
    }

    /// When each shard that is led here has a half message about which its publisher is to be asked.
    pub fn checks(&self) -> watch::Receiver<BTreeMap<u32, i64>> {
        self.leaders.checks.subscribe()
    }

    /// The half messages of shards that are led here whose publishers are to be asked, as far as they are wanted, those first
    /// that wait longest.
    pub async fn doubtful(&self, wanted: Wanted) -> Vec<Doubtful> {
        let due: Vec<u32> = {
            let checks = self.leaders.checks.borrow();
            checks.iter().filter(|(_, next)| **next <= wanted.by).map(|(shard, _)| *shard).collect()
        };
        // Each has its part: what comes together is held in memory together.
        let parts = due.len().max(1);
        let (all, bytes) = (wanted.all.div_ceil(parts), wanted.bytes / parts);
        let wanted = Arc::new(Wanted { all, bytes, ..wanted });
        let ask = |shard: u32| {
            let leader = self.leaders.known.borrow().get(&shard).cloned();
            let wanted = Arc::clone(&wanted);
            async move {
                let (reply, doubts) = oneshot::channel();
                leader?.send(Message::Doubtful(wanted, reply)).ok()?;
                doubts.await.ok()
            }
        };
        let found = join_all(due.into_iter().map(ask)).await;
        let mut found: Vec<Doubtful> = found.into_iter().flatten().flatten().collect();
        found.sort_by_key(|doubt| doubt.next);
        found
    }
}

impl Leaders {
    /// Notes when a shard has something to ask.
    pub(crate) fn checks_next(&self, shard: u32, next: Option<i64>) {
        self.checks.send_if_modified(|checks| {
            if checks.get(&shard).copied() == next {
                return false;
            }
            match next {
                Some(next) => checks.insert(shard, next),
                None => checks.remove(&shard),
            };
            true
        });
    }
}

pub(super) fn other_version() -> Trouble {
    let why = "a shard's leader does not know what it is asked: run this version there";
    Trouble::Unavailable(why.to_owned())
}
