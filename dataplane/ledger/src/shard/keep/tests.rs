//! Schedules in a shard: each run once, whatever is asked for, forgotten and read back in between.

use std::time::Duration;

use evhub_cron::{End, MissedRuns, Policy};
use evhub_event::{Record, record::OCCURRENCE};

use super::*;
use crate::{
    Command,
    command::Verb,
    leader::Planted,
    series::{self, NEVER, Pace, Rule},
    state::Entry,
};

const MINUTE: i64 = 60_000;

fn rule() -> Rule {
    Rule {
        pace: Pace::Cron("* * * * *".to_owned(), "UTC".to_owned()),
        start: None,
        end: None,
        missed: MissedRuns { policy: Policy::All, max: 100, deadline: Duration::from_mins(1) },
        jitter: Duration::ZERO,
        suspended: false,
    }
}

fn id() -> TimerId {
    TimerId::of("uid", None, "\nschedule", "nightly", 1)
}

fn keep(rule: Rule, generation: Generation) -> Command {
    let record = Record::default();
    let digest = series::digest(&record, &rule);
    let (producer, topic, name) = ("uid".to_owned(), "t.due".to_owned(), "nightly".to_owned());
    let dynamic = false;
    let keep = Keep { producer, topic, name, record, rule, generation, dynamic, digest };
    Command { id: id(), verb: Verb::Keep(Box::new(keep)) }
}

/// Somebody puts a schedule.
fn put(name: &str, rule: Rule, generation: Generation) -> Command {
    let Command { verb: Verb::Keep(keep), .. } = keep(rule, generation) else { unreachable!() };
    let keep = Keep { name: name.to_owned(), dynamic: true, ..*keep };
    Command { id: TimerId::dynamic("uid", name, 1), verb: Verb::Keep(Box::new(keep)) }
}

fn delete(name: &str) -> Command {
    Command { id: TimerId::dynamic("uid", name, 1), verb: Verb::Drop(series::ANY) }
}

/// A shard, and everything that it wrote.
struct World {
    shard: Shard,
    log: Vec<Entry>,
    fired: Vec<Record>,
    offset: u64,
}

impl World {
    fn new() -> Self {
        Self { shard: Shard::new(1 << 20, Planted::NONE), log: Vec::new(), fired: Vec::new(), offset: 0 }
    }

    fn settle(&mut self, draft: Draft) {
        self.fired.extend(draft.fires.into_iter().map(|(_, record)| record));
        for (id, entry) in draft.puts {
            let at = self.log.len() as u64;
            if let Entry::Pending(_) = entry {
                self.shard.settled(id, at);
            }
            // As the log keeps it.
            self.log.push(Entry::decode(&entry.encode()).unwrap());
        }
    }

    fn ask(&mut self, command: Command, now: i64) -> Answer {
        let mut draft = Draft::default();
        // What is read from the log is what was asked for.
        assert_eq!(Command::decode(&command.clone().encode()), Ok(command.clone()));
        self.shard.apply((self.offset, now), command, |_| 0, &mut draft);
        self.offset += 1;
        let answer = draft.answers.last().unwrap().1.clone();
        self.settle(draft);
        answer
    }

    fn fire(&mut self, now: i64) {
        let mut draft = Draft::default();
        self.shard.fire(now, |_| false, &mut draft);
        self.settle(draft);
    }

    /// Somebody else leads from here on.
    fn taken_over(&mut self, now: i64) {
        self.shard = Shard::new(1 << 20, Planted::NONE);
        for (at, entry) in self.log.clone().into_iter().enumerate() {
            self.shard.load(at as u64, entry, now);
        }
        self.shard.loaded();
    }

    fn occurrences(&self) -> Vec<String> {
        let header =
            |record: &Record| String::from_utf8(record.header(OCCURRENCE).unwrap().to_vec()).unwrap();
        self.fired.iter().map(header).collect()
    }
}

#[test]
fn runs_fire_in_order_and_once_through_a_take_over() {
    let mut world = World::new();
    assert_eq!(world.ask(keep(rule(), (1, 1)), 1), Answer::Scheduled(MINUTE));
    world.fire(MINUTE - 1);
    assert!(world.fired.is_empty());
    world.fire(MINUTE);
    world.fire(MINUTE);
    world.taken_over(MINUTE);
    world.fire(MINUTE);
    world.fire(4 * MINUTE);
    world.taken_over(4 * MINUTE);
    world.fire(4 * MINUTE);
    assert_eq!(world.occurrences(), ["1", "2", "3", "4"]);
    let ids: std::collections::BTreeSet<_> =
        world.fired.iter().map(|record| record.header("ce_id").cloned()).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(world.shard.next(|_| false), Some(5 * MINUTE));
}

#[test]
fn the_same_again_changes_nothing_and_an_edit_goes_on_after_what_fired() {
    let mut world = World::new();
    world.ask(keep(rule(), (1, 1)), 1);
    world.fire(MINUTE);
    assert_eq!(world.ask(keep(rule(), (1, 2)), MINUTE + 1), Answer::Scheduled(2 * MINUTE));
    let edited = Rule { pace: Pace::Cron("*/5 * * * *".to_owned(), "UTC".to_owned()), ..rule() };
    assert_eq!(world.ask(keep(edited, (1, 3)), 6 * MINUTE), Answer::Scheduled(10 * MINUTE));
    world.fire(10 * MINUTE);
    assert_eq!(world.occurrences(), ["1", "2"]);
}

#[test]
fn who_is_behind_changes_nothing() {
    let mut world = World::new();
    world.ask(keep(rule(), (2, 5)), 1);
    let old = Rule { pace: Pace::Every(0, 1000), ..rule() };
    assert_eq!(world.ask(keep(old, (2, 4)), 2), Answer::Conflict);
    assert_eq!(world.ask(Command { id: id(), verb: Verb::Drop((1, 9)) }, 3), Answer::Conflict);
    assert_eq!(world.shard.next(|_| false), Some(MINUTE));
}

#[test]
fn a_suspended_one_waits_for_good_and_makes_up_for_nothing() {
    let mut world = World::new();
    let asleep = Rule { suspended: true, ..rule() };
    assert_eq!(world.ask(keep(asleep, (1, 1)), 1), Answer::Scheduled(NEVER));
    world.fire(10 * MINUTE);
    assert_eq!(world.ask(keep(rule(), (1, 2)), 10 * MINUTE + 1), Answer::Scheduled(11 * MINUTE));
    assert!(world.fired.is_empty());
}

#[test]
fn one_that_is_dropped_and_made_again_is_not_forgotten_with_the_first() {
    let mut world = World::new();
    world.ask(keep(rule(), (1, 1)), 1);
    world.fire(MINUTE);
    assert_eq!(world.ask(Command { id: id(), verb: Verb::Drop((1, 2)) }, MINUTE + 1), Answer::Cancelled);
    world.fire(2 * MINUTE);
    assert_eq!(world.ask(keep(rule(), (1, 3)), 2 * MINUTE + 1), Answer::Scheduled(3 * MINUTE));
    let mut draft = Draft::default();
    let later = 2 * super::super::REMEMBER;
    world.shard.forget(later, &mut draft);
    world.settle(draft);
    world.taken_over(3 * MINUTE);
    world.fire(3 * MINUTE);
    assert_eq!(world.fired.len(), 2);
}

#[test]
fn a_count_ends_it_and_it_stays_ended() {
    let mut world = World::new();
    let twice = Rule { end: Some(End::Count(2)), ..rule() };
    world.ask(keep(twice.clone(), (1, 1)), 1);
    world.fire(9 * MINUTE);
    world.taken_over(9 * MINUTE);
    world.fire(20 * MINUTE);
    assert_eq!(world.occurrences(), ["1", "2"]);
    assert_eq!(world.ask(keep(twice, (2, 1)), 21 * MINUTE), Answer::Scheduled(NEVER));
}

#[test]
fn nobody_cancels_a_schedule_as_if_it_were_a_timer() {
    let mut world = World::new();
    world.ask(keep(rule(), (1, 1)), 1);
    assert_eq!(world.ask(Command { id: id(), verb: Verb::Cancel }, 2), Answer::Unknown);
    assert!(world.shard.list("uid", None, 10).is_empty());
    assert_eq!(world.shard.series().len(), 1);
}

#[test]
fn fired_once_more_it_is_as_it_was() {
    let mut world = World::new();
    assert_eq!(world.ask(Command { id: id(), verb: Verb::Fire }, 0), Answer::Unknown);
    world.ask(keep(Rule { suspended: true, ..rule() }, (1, 1)), 0);
    let before = world.shard.series();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let Answer::Claimed(receipt) = world.ask(Command { id: id(), verb: Verb::Fire }, 30_000) else {
            panic!("it fires")
        };
        ids.push(receipt.event_id);
    }
    assert_ne!(ids[0], ids[1], "twice is twice");
    world.fire(30_000);
    let told = |record: &Record| String::from_utf8(record.header("ce_id").unwrap().to_vec()).unwrap();
    assert_eq!(world.fired.iter().map(told).collect::<Vec<_>>(), ids);
    assert!(world.fired.iter().all(|record| record.header(OCCURRENCE).is_none()));
    assert_eq!(world.shard.series(), before);
}

#[test]
fn one_that_is_put_lives_beside_the_declared_one_of_its_name() {
    let mut world = World::new();
    world.ask(keep(rule(), (1, 1)), 1);
    assert_eq!(world.ask(put("nightly", rule(), (1, 1)), 1), Answer::Scheduled(MINUTE));
    world.fire(MINUTE);
    let ids: std::collections::BTreeSet<_> =
        world.fired.iter().map(|record| record.header("ce_id").cloned()).collect();
    assert_eq!((world.fired.len(), ids.len()), (2, 2), "each has events of its own");
    let names: Vec<_> = world.shard.series().into_iter().map(|kept| kept.dynamic).collect();
    assert!(names.contains(&None) && names.contains(&Some("nightly".to_owned())), "{names:?}");
    assert_eq!(world.ask(delete("nightly"), MINUTE + 1), Answer::Cancelled);
    assert_eq!(world.shard.series().len(), 1);
}

#[test]
fn the_last_one_who_puts_it_is_obeyed_and_who_ends_it_by_an_older_snapshot_is_not() {
    let mut world = World::new();
    world.ask(put("a", rule(), (2, 5)), 1);
    let every = Rule { pace: Pace::Every(0, 7_000), ..rule() };
    assert_eq!(world.ask(put("a", every.clone(), (1, 9)), 2), Answer::Scheduled(7_000));
    let end = |generation| Command { id: TimerId::dynamic("uid", "a", 1), verb: Verb::Drop(generation) };
    assert_eq!(world.ask(end((2, 4)), 3), Answer::Conflict);
    // The same again, by whoever knows a newer one.
    assert_eq!(world.ask(put("a", every, (3, 1)), 4), Answer::Scheduled(7_000));
    world.taken_over(5);
    assert_eq!(world.ask(end((2, 9)), 5), Answer::Conflict);
    assert_eq!(world.ask(end((3, 1)), 6), Answer::Cancelled);
    assert_eq!(world.ask(delete("a"), 7), Answer::Cancelled, "twice is once");
    assert_eq!(world.ask(delete("b"), 7), Answer::Unknown);
}

#[test]
fn one_that_is_put_again_as_it_is_misses_nothing() {
    let mut world = World::new();
    world.ask(put("a", rule(), (1, 1)), 1);
    world.ask(put("a", rule(), (1, 2)), 5 * MINUTE);
    world.fire(5 * MINUTE);
    assert_eq!(world.occurrences(), ["1", "2", "3", "4", "5"]);
}

#[test]
fn they_are_listed_without_what_they_publish_even_if_nothing_is_in_memory() {
    let mut world = World::new();
    world.ask(put("a", rule(), (1, 1)), 1);
    world.ask(put("b", rule(), (1, 1)), 1);
    world.shard = Shard::new(0, Planted::NONE);
    for (at, entry) in world.log.clone().into_iter().enumerate() {
        world.shard.load(at as u64, entry, 1);
    }
    world.shard.loaded();
    let all = world.shard.dynamic("uid");
    assert!(all.iter().all(|one| one.record.is_none()));
    let names: std::collections::BTreeSet<_> = all.into_iter().map(|one| one.series.name).collect();
    assert_eq!(names, ["a".to_owned(), "b".to_owned()].into());
    assert!(world.shard.dynamic("other").is_empty());
    let id = TimerId::dynamic("uid", "a", 1);
    assert_eq!(world.shard.look_dynamic("other", id), None);
    assert_eq!(world.shard.look_dynamic("uid", id).unwrap().series.name, "a");
}

#[test]
fn a_producer_has_as_many_as_it_may() {
    let mut world = World::new();
    let asleep = Rule { suspended: true, ..rule() };
    for n in 0..MOST_DYNAMIC {
        assert_eq!(world.ask(put(&n.to_string(), asleep.clone(), (1, 1)), 1), Answer::Scheduled(NEVER));
    }
    assert_eq!(world.ask(put("more", asleep.clone(), (1, 1)), 1), Answer::TooMany);
    world.taken_over(1);
    assert_eq!(world.ask(put("more", asleep.clone(), (1, 1)), 1), Answer::TooMany);
    assert_eq!(world.ask(put("7", rule(), (1, 1)), 1), Answer::Scheduled(MINUTE), "what is there is there");
    world.ask(delete("7"), 1);
    assert_eq!(world.ask(put("more", asleep, (1, 1)), 1), Answer::Scheduled(NEVER));
}
