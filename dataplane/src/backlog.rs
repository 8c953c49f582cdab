//! How far a Processor is behind, by what its group has committed. Reads the log.

use std::collections::HashMap;

use evhub_journal::{Error, Journal, TopicPartition};
use evhub_routing::Processor;

/// What lies before a Processor: where it stands in each partition, and where each ends.
#[derive(Debug)]
pub(crate) struct Backlog(Vec<Stretch>);

#[derive(Debug)]
struct Stretch {
    partition: TopicPartition,
    committed: u64,
    end: u64,
}

impl Backlog {
    /// Looks it up. `None` while some partition has no committed offset, because then nobody knows where it begins.
    pub(crate) async fn of<J: Journal>(journal: &J, processor: &Processor) -> Result<Option<Self>, Error> {
        let partitions = partitions(journal, processor).await?;
        let committed = journal.committed(&processor.group, &partitions).await?;
        let committed: HashMap<_, _> = committed.into_iter().map(|c| (c.partition, c.offset)).collect();
        let mut stretches = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Some(&committed) = committed.get(&partition) else { return Ok(None) };
            let end = journal.end(&partition).await?;
            stretches.push(Stretch { partition, committed, end });
        }
        Ok(Some(Self(stretches)))
    }

    /// How many offsets lie between what is committed and the ends. Records resolved above the committed offset count
    /// until the commit passes them.
    pub(crate) fn lag(&self) -> u64 {
        self.0.iter().map(|stretch| stretch.end.saturating_sub(stretch.committed)).sum()
    }

    /// When the log took the oldest record that is still before the commit, in milliseconds since the Unix epoch.
    pub(crate) async fn oldest<J: Journal>(&self, journal: &J) -> Result<Option<i64>, Error> {
        let mut oldest = None;
        for Stretch { partition, committed, .. } in self.0.iter().filter(|s| s.committed < s.end) {
            // What retention took is nobody's backlog any more.
            let from = journal.start(partition).await?.max(*committed);
            let slice = journal.read(partition, from, 1, 1).await?;
            let first = slice.records.first().map(|stored| stored.timestamp);
            oldest = [oldest, first].into_iter().flatten().min();
        }
        Ok(oldest)
    }
}

/// Every partition that feeds the Processor; its inbox only once it has one.
async fn partitions<J: Journal>(journal: &J, processor: &Processor) -> Result<Vec<TopicPartition>, Error> {
    let inbox = journal.look_up(&processor.inbox_topic).await?.map(|_| &processor.inbox_topic);
    let mut topics: Vec<&String> = processor.routes.iter().map(|route| &route.topic).chain(inbox).collect();
    for route in &processor.routes {
        topics.extend(journal.look_up(&route.due_topic).await?.map(|_| &route.due_topic));
    }
    let all = |topic: &String| {
        let topic = topic.clone();
        (0..processor.partitions).map(move |partition| TopicPartition { topic: topic.clone(), partition })
    };
    Ok(topics.into_iter().flat_map(all).collect())
}
