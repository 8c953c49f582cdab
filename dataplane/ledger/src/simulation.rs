//! The ledger under everything that may befall it: the very leader that ships, against a model of Kafka's transactions.
//!
//! - [`kafka`]: partitions, transactional ids with epochs, transactions that stay open, ends that come late
//! - [`world`]: processes, clocks, assignment, publishers, and the faults between them
//! - [`judge`]: what must hold, whatever happened; [`claims`]: of publishes under a key; [`chains`]: of repeated events;
//!   [`schedules`]: of schedules that are put
//!
//! A seed is a history. What holds is looked at after each of its parts and at its end, when all is well again. Each planted
//! mistake must be found: a search that finds nothing proves nothing.

mod chains;
mod claims;
mod judge;
mod kafka;
mod schedules;
mod world;

use std::{thread, time::Instant};

use self::world::{Mistake, World};
use crate::leader::Deviation;

/// How many histories the test command looks at.
const SEEDS: u64 = 10_000;
/// Within how many a planted mistake must be found.
const FOUND_WITHIN: u64 = 4_000;

fn broken(seed: u64, mistake: Option<Mistake>) -> Option<String> {
    World::new(seed, mistake).run().err()
}

#[test]
fn whatever_happens_every_timer_fires_once_and_none_that_was_cancelled() {
    let began = Instant::now();
    let halves = [0, 1].map(|half| {
        thread::spawn(move || {
            let seeds = (0..SEEDS).filter(|seed| seed % 2 == half);
            let found = seeds.filter_map(|seed| Some((seed, broken(seed, None)?))).take(3);
            found.collect::<Vec<_>>()
        })
    });
    let found: Vec<_> = halves.into_iter().flat_map(|half| half.join().unwrap()).collect();
    assert_eq!(found, [], "these seeds broke what must hold");
    println!("{SEEDS} histories in {:?}", began.elapsed());
}

#[test]
fn each_planted_mistake_is_found() {
    let mistakes = [
        Mistake::Leader(Deviation::StateBeforeFires),
        Mistake::Leader(Deviation::SameAfterDoubt),
        Mistake::Leader(Deviation::BecomingAfterReading),
        Mistake::Leader(Deviation::EndBeforeBecoming),
        Mistake::Leader(Deviation::EndBelieved),
        Mistake::Leader(Deviation::ProgressApart),
        Mistake::Leader(Deviation::FutureDisbelieved),
        Mistake::Leader(Deviation::FirstSliceDropped),
        Mistake::Leader(Deviation::OverdueForgotten),
        Mistake::Leader(Deviation::KeysUnwritten),
        Mistake::Leader(Deviation::TrimmedTooEarly),
        Mistake::Leader(Deviation::MutedForgotten),
        Mistake::Leader(Deviation::PreparedIsPublished),
        Mistake::Leader(Deviation::ExhaustedForgotten),
        Mistake::Leader(Deviation::DecisionForgotten),
        Mistake::Leader(Deviation::DecidedAgain),
        Mistake::Leader(Deviation::ChecksForgotten),
        Mistake::Leader(Deviation::LateAnswerCounts),
        Mistake::Leader(Deviation::RunsForgotten),
        Mistake::Leader(Deviation::DropUnwritten),
        Mistake::TwoWriters,
        Mistake::RandomIds,
    ];
    for mistake in mistakes {
        let found = (0..FOUND_WITHIN).find_map(|seed| Some((seed, broken(seed, Some(mistake))?)));
        let (seed, what) =
            found.unwrap_or_else(|| panic!("{mistake:?} was not found in {FOUND_WITHIN} histories"));
        println!("{mistake:?}: seed {seed}: {what}");
    }
}

#[test]
fn the_histories_are_interesting() {
    let mut seen = world::Seen::default();
    for seed in 0..300 {
        let mut world = World::new(seed, None);
        world.run().unwrap();
        seen.add(world.seen);
    }
    let world::Seen {
        fired,
        cancelled,
        repeats,
        doubts,
        fenced,
        late_ends,
        behind,
        torn,
        fetched,
        ahead,
        quarantined,
        claims,
        trimmed,
        mutes,
        prepared,
        decided,
        refused,
        checked,
        schedules,
    } = seen;
    for (what, count) in [
        ("fired", fired),
        ("cancelled", cancelled),
        ("repeats", repeats),
        ("doubts", doubts),
        ("fenced", fenced),
        ("late ends", late_ends),
        ("brokers that were behind", behind),
        ("transactions left open", torn),
        ("events read back", fetched),
        ("events read back ahead of their time", ahead),
        ("refused destinations", quarantined),
        ("publishes under a key", claims),
        ("commands given up", trimmed),
        ("chains cancelled by a Processor", mutes),
        ("prepared half messages", prepared),
        ("decisions", decided),
        ("decisions that came too late", refused),
        ("questions to publishers", checked),
        ("orders about schedules", schedules),
    ] {
        assert!(count >= 50, "only {count} times {what}");
    }
}
