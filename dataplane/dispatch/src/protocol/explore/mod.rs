//! An exhaustive search of the state protocol at small bounds: no loss, no resurrection, no order violation, right
//! attempt numbers, and always an end. It runs the code that the worker runs.
//!
//! `cargo test --release -p evhub-dispatch explore -- --nocapture` prints the state counts; with `EVHUB_EXPLORE=full`
//! it goes on to the larger bounds, which take minutes and gigabytes. The counts are recorded in `docs/protocol.md`.

mod search;
mod world;

use search::explore;
use world::{Budget, Scenario};

use super::{Behind, Deviation, Planted};

const A: u8 = 0;
const B: u8 = 1;

fn scenario(log: &[u8], budget: Budget, planted: Option<Deviation>) -> Scenario {
    Scenario {
        log: log.to_vec(),
        delayed: Vec::new(),
        behind: Behind::Park,
        promised: Behind::Park,
        max_parked_in_lane: usize::MAX,
        budget,
        max_attempts: 3,
        planted: Planted(planted),
    }
}

fn ordered(log: &[u8], behind: Behind, budget: Budget) -> Scenario {
    Scenario { behind, promised: behind, ..scenario(log, budget, None) }
}

fn delaying(log: &[u8], delayed: &[u64], budget: Budget) -> Scenario {
    Scenario { delayed: delayed.to_vec(), ..scenario(log, budget, None) }
}

const fn budget(rebalances: u8, crashes: u8, failures: u8, doubts: u8) -> Budget {
    Budget { rebalances, crashes, failures, doubts, behind: 0 }
}

/// Once, whoever is asked for the `.state` topic's end is behind.
const fn behind(budget: Budget) -> Budget {
    Budget { behind: 1, ..budget }
}

/// Records, budget, and whether the test command runs it or only the full search.
const SCENARIOS: &[(&str, &[u8], Budget, bool)] = &[
    ("A; 3 failures, the third a dead letter", &[A], budget(0, 0, 3, 0), false),
    ("A; 2 rebalances, 1 failure", &[A], budget(2, 0, 1, 0), false),
    ("A; 1 rebalance, 3 failures", &[A], budget(1, 0, 3, 0), false),
    ("A; 1 rebalance, 1 failure, 1 doubt", &[A], budget(1, 0, 1, 1), false),
    ("A; 1 crash, 1 failure, 1 doubt", &[A], budget(0, 1, 1, 1), false),
    ("A,A; 1 failure, 1 doubt", &[A, A], budget(0, 0, 1, 1), false),
    ("A,A; 1 rebalance, 1 failure", &[A, A], budget(1, 0, 1, 0), false),
    ("A,A; 1 crash, 1 failure", &[A, A], budget(0, 1, 1, 0), false),
    ("A,B; 1 rebalance, 1 failure", &[A, B], budget(1, 0, 1, 0), false),
    ("A,A,A; 1 failure", &[A, A, A], budget(0, 0, 1, 0), false),
    ("A; 1 rebalance, 2 failures, 1 end that is behind", &[A], behind(budget(1, 0, 2, 0)), false),
    ("A; 1 crash, 2 failures, 1 end that is behind", &[A], behind(budget(0, 1, 2, 0)), false),
    ("A,A; 1 crash, 1 failure, 1 end that is behind", &[A, A], behind(budget(0, 1, 1, 0)), false),
    ("A; 2 rebalances, 2 failures, 1 doubt", &[A], budget(2, 0, 2, 1), true),
    ("A,A; 1 rebalance, 1 crash, 1 failure", &[A, A], budget(1, 1, 1, 0), true),
    ("A,A; 2 rebalances, 1 failure", &[A, A], budget(2, 0, 1, 0), true),
    ("A,A; 1 rebalance, 1 failure, 1 doubt", &[A, A], budget(1, 0, 1, 1), true),
    ("A,B,A; 1 rebalance, 1 failure", &[A, B, A], budget(1, 0, 1, 0), true),
];

#[test]
fn no_loss_no_resurrection_no_disorder_and_always_an_end() {
    let full = std::env::var_os("EVHUB_EXPLORE").is_some();
    for &(name, log, budget, _) in SCENARIOS.iter().filter(|scenario| full || !scenario.3) {
        holds(name, &scenario(log, budget, None));
    }
}

#[track_caller]
fn holds(name: &str, scenario: &Scenario) {
    let start = std::time::Instant::now();
    let report = explore(scenario);
    println!("{name}: {} states, {} ends, {:.1?}", report.states, report.ends, start.elapsed());
    if let Some((promise, trail)) = &report.broken {
        let steps: Vec<String> = trail.iter().map(|step| format!("{step:?}")).collect();
        panic!("{name}: {promise}\n  {}", steps.join("\n  "));
    }
    assert!(report.ends > 0, "{name}: never an end");
}

#[test]
fn the_other_orders_keep_the_same_promises() {
    for (name, behind) in [("waiting", Behind::Wait), ("passing", Behind::Pass)] {
        holds(name, &ordered(&[A, A], behind, budget(1, 0, 1, 0)));
        holds(name, &ordered(&[A, A], behind, budget(0, 1, 1, 0)));
        holds(name, &ordered(&[A, A], behind, budget(0, 0, 1, 1)));
        holds(name, &ordered(&[A, A, A], behind, budget(0, 0, 2, 0)));
    }
    let bounded = Scenario { max_parked_in_lane: 1, ..scenario(&[A, A, A], budget(0, 0, 1, 0), None) };
    holds("one parked behind", &bounded);
    let bounded = Scenario { max_parked_in_lane: 1, ..scenario(&[A, A], budget(1, 0, 1, 0), None) };
    holds("one parked behind", &bounded);
}

#[test]
fn delayed_deliveries_keep_the_same_promises_and_hold_nothing_up() {
    holds("delayed", &delaying(&[A], &[0], budget(1, 0, 1, 0)));
    holds("delayed", &delaying(&[A], &[0], budget(0, 1, 1, 0)));
    holds("delayed", &delaying(&[A], &[0], budget(0, 0, 1, 1)));
    holds("delayed first", &delaying(&[A, A], &[0], budget(0, 1, 1, 0)));
    holds("delayed second", &delaying(&[A, A], &[1], budget(0, 0, 1, 0)));
    holds("delayed first of three", &delaying(&[A, A, A], &[0], budget(0, 0, 1, 0)));
}

/// The search tells the orders apart: each weaker one is found out by the promise of a stronger one.
#[test]
fn a_weaker_order_than_promised_is_found() {
    let passing = Scenario { promised: Behind::Park, ..ordered(&[A, A], Behind::Pass, budget(0, 0, 1, 0)) };
    let report = explore(&passing);
    assert!(report.broken.is_some(), "not found in {} states", report.states);
    let planted = Planted(Some(Deviation::DelayBesideLane));
    let beside = Scenario { planted, ..delaying(&[A, A], &[0], budget(0, 0, 0, 0)) };
    let report = explore(&beside);
    assert!(report.broken.is_some(), "not found in {} states", report.states);
}

#[test]
fn each_planted_deviation_is_found() {
    let cases: [(Deviation, &[u8], Budget); 11] = [
        (Deviation::TombstoneBeforeCommit, &[A], budget(2, 0, 2, 0)),
        (Deviation::NoDeadList, &[A], budget(1, 0, 1, 0)),
        (Deviation::HighIgnored, &[A], behind(budget(1, 0, 1, 0))),
        (Deviation::FloorIgnored, &[A], budget(2, 0, 2, 0)),
        (Deviation::EpochIgnored, &[A], budget(1, 0, 1, 0)),
        (Deviation::AttemptBeforeReplay, &[A, A], budget(1, 0, 1, 0)),
        (Deviation::ClaimMerged, &[A], budget(2, 0, 2, 0)),
        (Deviation::UnansweredClaim, &[A], budget(2, 0, 2, 1)),
        (Deviation::RetryUnknownAppend, &[A], budget(1, 0, 1, 1)),
        (Deviation::ForeignGeneration, &[A], budget(2, 0, 1, 0)),
        (Deviation::KeyIsPlace, &[A], budget(1, 0, 2, 0)),
    ];
    let mut missed = Vec::new();
    for (deviation, log, budget) in cases {
        let report = explore(&scenario(log, budget, Some(deviation)));
        match report.broken {
            Some((promise, trail)) => {
                println!("{deviation:?}: {promise}, {} states, {} steps", report.states, trail.len());
            }
            None => missed.push((deviation, report.states)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
