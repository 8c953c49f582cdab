//! Asking for the schedules that somebody put for a Producer. I/O.

use evhub_journal::{ClusterSettings, Journal};

use super::{Ledger, Trouble, halves::other_version};
use crate::{
    Answer, Command, Question, Reply, TimerId,
    command::Verb,
    series::{ANY, Dynamic},
};

impl<J: Journal> Ledger<J> {
    /// The id of a schedule that somebody puts for a Producer.
    pub fn dynamic_id(&self, producer: &str, name: &str) -> TimerId {
        TimerId::dynamic(producer, name, self.settings.shards)
    }

    /// All that are put for a Producer, by their names, without what they publish.
    pub async fn dynamic(&self, producer: &str) -> Result<Vec<Dynamic>, Trouble> {
        // They lie in one shard, whatever their names.
        let shard = self.dynamic_id(producer, "").shard();
        let mut all = self.ask_dynamic(shard, producer, None).await?;
        all.sort_unstable_by(|one, other| one.series.name.cmp(&other.series.name));
        Ok(all)
    }

    /// One of them, with what it publishes.
    pub async fn look_dynamic(&self, producer: &str, name: &str) -> Result<Option<Dynamic>, Trouble> {
        let id = self.dynamic_id(producer, name);
        Ok(self.ask_dynamic(id.shard(), producer, Some(id)).await?.pop())
    }

    /// Ends one of them. Where no ledger is there yet, none is.
    pub async fn end_dynamic(&self, producer: &str, name: &str) -> Result<Answer, Trouble> {
        if !self.exists().await? {
            return Ok(Answer::Unknown);
        }
        let command = Command { id: self.dynamic_id(producer, name), verb: Verb::Drop(ANY) };
        self.ask(command, 0, ClusterSettings::default()).await
    }

    async fn ask_dynamic(
        &self,
        shard: u32,
        producer: &str,
        id: Option<TimerId>,
    ) -> Result<Vec<Dynamic>, Trouble> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        match self.tell(shard, Question::Dynamic(producer.to_owned(), id)).await {
            Reply::Dynamic(found) => Ok(found),
            Reply::Answer(_) | Reply::Listed(_) | Reply::Series(_) | Reply::Halves(_) => Err(other_version()),
        }
    }
}
