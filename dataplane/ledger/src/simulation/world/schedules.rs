//! Whoever puts schedules, deletes them, and has them fire once more.

use std::time::Duration;

use evhub_cron::{End, MissedRuns, Policy};
use evhub_event::Record;

use super::{SHARDS, TOPICS, World};
use crate::{
    Command, Keep, TimerId,
    command::Verb,
    series::{self, Pace, Rule},
};

impl World {
    pub(super) fn schedule(&mut self) {
        let topic = TOPICS[self.rng.usize(0..TOPICS.len())];
        let name = format!("n{}", self.rng.u32(0..2));
        let id = TimerId::dynamic(topic, &name, SHARDS);
        let verb = match self.rng.u32(0..8) {
            0..=3 => self.keep(topic, name),
            4..=5 => Verb::Drop(series::ANY),
            _ => Verb::Fire,
        };
        self.seen.schedules += 1;
        self.command(Command { id, verb });
    }

    fn keep(&mut self, topic: &str, name: String) -> Verb {
        let policy = [Policy::Skip, Policy::Latest, Policy::All][self.rng.usize(0..3)];
        let rule = Rule {
            // Few, so that some are put again as they are.
            pace: Pace::Every(self.rng.i64(0..2), [20, 45][self.rng.usize(0..2)]),
            start: None,
            end: self.rng.bool().then_some(End::Count(6)),
            missed: MissedRuns { policy, max: 3, deadline: Duration::from_millis(30) },
            jitter: Duration::from_millis(self.rng.u64(0..2) * 7),
            suspended: self.rng.u32(0..8) == 0,
        };
        let record = Record { value: Some(vec![b'x'; self.rng.usize(1..3)].into()), ..Record::default() };
        let digest = series::digest(&record, &rule);
        let (producer, topic, generation) = (topic.to_owned(), topic.to_owned(), (1, self.rng.u64(0..3)));
        Verb::Keep(Box::new(Keep { producer, topic, name, record, rule, generation, dynamic: true, digest }))
    }
}
