//! What one dataplane is sent next: the whole world, then differences, each when the one before is answered. Pure.
//!
//! At most one snapshot is under way to a follower, and what comes after it is whatever is the newest by then. So a slow
//! follower costs as much as a quick one, and skips what it was too slow for.

use std::sync::Arc;

use evhub_proto::control::{Applied, Refused, Running};
use evhub_routing::{
    Generation, Snapshot,
    wire::{self, Digest, Update},
};

/// One dataplane that follows, since it connected.
#[derive(Debug, Default)]
pub struct Follower {
    /// What it said it runs, where that came from here.
    runs: Option<Arc<Snapshot>>,
    /// What it was sent and has not answered.
    sent: Option<Arc<Snapshot>>,
    /// What it refused last: it would be refused again.
    refused: Option<Generation>,
}

impl Follower {
    /// What to send now, if anything: the newest, unless it runs already, is refused, or another one is under way.
    pub fn next(&mut self, newest: &Arc<Snapshot>) -> Vec<Update> {
        let known = [self.runs.as_ref().map(|runs| runs.generation), self.refused];
        if self.sent.is_some() || known.contains(&Some(newest.generation)) {
            return Vec::new();
        }
        self.sent = Some(Arc::clone(newest));
        wire::parts(self.runs.as_deref(), newest)
    }

    /// It runs something. That answers what was sent only if it is just that.
    pub fn applied(&mut self, applied: &Applied) {
        let is_sent = |sent: &mut Arc<Snapshot>| is(applied.running.as_ref(), sent);
        if let Some(sent) = self.sent.take_if(is_sent) {
            self.runs = Some(sent);
            self.refused = None;
        }
    }

    /// It refuses something. What comes next is whole again: nobody knows what was wrong with the difference.
    pub fn refused(&mut self, refused: &Refused) {
        let generation = wire::generation_of(refused.generation);
        if self.sent.take_if(|sent| sent.generation == generation).is_some() {
            self.refused = Some(generation);
            self.runs = None;
        }
    }
}

fn is(running: Option<&Running>, snapshot: &Snapshot) -> bool {
    running.is_some_and(|running| {
        wire::generation_of(running.generation) == snapshot.generation
            && Digest::from_bytes(&running.digest) == Some(Digest::of(snapshot))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evhub_routing::{Brokers, EvhubName, Name, Producer};

    use super::*;

    fn producer(name: &str) -> Arc<Producer> {
        Arc::new(Producer {
            name: Name::new("shop", name),
            uid: name.to_owned(),
            evhub: EvhubName { app_id: "shop".into(), topic_id: name.into() },
            topic: format!("evhub.shop.{name}"),
            partitions: 1,
            retention: None,
            retention_bytes: None,
            event_bytes: 1,
            batch_events: 1,
            batch_bytes: 1,
            events_per_second: None,
            max_delay: Duration::from_hours(1),
            due_topic: "evhub.shop.orders.due".to_owned(),
            pending_timers: 1_000_000,
            ledger: evhub_routing::Ledger::default(),
            brokers: Brokers::default(),
        })
    }

    fn snapshot(revision: u64, producers: &[&str]) -> Arc<Snapshot> {
        let producers = producers.iter().map(|name| (Name::new("shop", *name), producer(name))).collect();
        let generation = Generation { epoch: 1, revision };
        Arc::new(Snapshot { generation, producers, ..Snapshot::default() })
    }

    fn applied(snapshot: &Snapshot) -> Applied {
        let digest = Digest::of(snapshot).bytes().to_vec().into();
        let running = Running { generation: Some(wire::generation(snapshot.generation)), digest };
        Applied { running: Some(running), ..Applied::default() }
    }

    fn refused(snapshot: &Snapshot) -> Refused {
        Refused { generation: Some(wire::generation(snapshot.generation)), reason: "planted".to_owned() }
    }

    /// Names of what an update brings and takes, and whether it is a difference.
    fn said(updates: &[Update]) -> (bool, Vec<&str>, Vec<&str>) {
        let [update] = updates else { panic!("{} parts", updates.len()) };
        let brings = update.producers.iter().map(|one| one.uid.as_str()).collect();
        let takes = update.gone_producers.iter().map(|one| one.name.as_str()).collect();
        (update.base.is_some(), brings, takes)
    }

    #[test]
    fn first_the_whole_then_differences() {
        let mut follower = Follower::default();
        let (one, two) = (snapshot(1, &["a", "b"]), snapshot(2, &["b", "c"]));
        assert_eq!(said(&follower.next(&one)), (false, vec!["a", "b"], vec![]));
        follower.applied(&applied(&one));
        assert!(follower.next(&one).is_empty(), "what runs is not sent again");
        assert_eq!(said(&follower.next(&two)), (true, vec!["c"], vec!["a"]));
    }

    #[test]
    fn a_slow_one_gets_the_newest_and_nothing_between() {
        let mut follower = Follower::default();
        let all: Vec<_> = (1..=5).map(|revision| snapshot(revision, &["a"])).collect();
        assert!(!follower.next(&all[0]).is_empty());
        for later in &all[1..] {
            assert!(follower.next(later).is_empty(), "one is under way");
        }
        follower.applied(&applied(&all[0]));
        let updates = follower.next(&all[4]);
        assert_eq!(wire::generation_of(updates[0].generation), all[4].generation);
    }

    #[test]
    fn what_is_no_answer_to_what_was_sent_answers_nothing() {
        let mut follower = Follower::default();
        let (one, two) = (snapshot(1, &["a"]), snapshot(2, &["a", "b"]));
        follower.next(&one);
        // What ran before it connected, or the same generation from somewhere else.
        follower.applied(&applied(&snapshot(9, &[])));
        follower.applied(&applied(&snapshot(1, &["x"])));
        follower.applied(&Applied::default());
        follower.refused(&refused(&two));
        assert!(follower.next(&two).is_empty());
        follower.applied(&applied(&one));
        assert_eq!(said(&follower.next(&two)), (true, vec!["b"], vec![]));
    }

    #[test]
    fn what_is_refused_is_not_sent_again_and_the_next_is_whole() {
        let mut follower = Follower::default();
        let (one, two, three) = (snapshot(1, &["a"]), snapshot(2, &["a", "b"]), snapshot(3, &["a", "c"]));
        follower.next(&one);
        follower.applied(&applied(&one));
        follower.next(&two);
        follower.refused(&refused(&two));
        assert!(follower.next(&two).is_empty());
        assert_eq!(said(&follower.next(&three)), (false, vec!["a", "c"], vec![]));
    }
}
