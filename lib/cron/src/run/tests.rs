//! Runs through outages, edits, suspensions and clocks that jump: each instant at most once, in order, none early.

use proptest::prelude::*;

use super::*;
use crate::{Beat, Dialect, End, Policy, Zone};

const MINUTE: i64 = 60_000;

fn minutely(policy: Policy) -> Runs {
    let beat = Beat::new(Dialect::Standard.parse("* * * * *").unwrap(), Zone::utc(), 0).unwrap();
    Runs {
        uid: "u".to_owned(),
        schedule: Schedule { beat, start: None, end: None },
        missed: MissedRuns { policy, max: 100, deadline: Duration::from_mins(1) },
        jitter: Duration::ZERO,
        suspended: false,
    }
}

/// All that fires at `now`, and how far it has come then.
fn drained(runs: &Runs, mut progress: Progress, now: i64) -> (Vec<Run>, Progress) {
    let mut fired = Vec::new();
    loop {
        let step = runs.step(progress, now);
        progress = step.progress;
        match step.fires {
            Some(run) => fired.push(run),
            None => return (fired, progress),
        }
    }
}

fn minutes(fired: &[Run]) -> Vec<i64> {
    fired.iter().map(|run| run.nominal / MINUTE).collect()
}

#[test]
fn a_run_fires_at_its_instant_and_not_before() {
    let runs = minutely(Policy::Latest);
    let begun = Progress::begun(10_000);
    assert_eq!(runs.next(begun), Some(Run { nominal: MINUTE, due: MINUTE, occurrence: 1 }));
    assert_eq!(runs.step(begun, MINUTE - 1).fires, None);
    let step = runs.step(begun, MINUTE);
    assert_eq!(step.fires.map(|run| run.nominal), Some(MINUTE));
    assert_eq!(step.progress, Progress { done: MINUTE, fired: 1, skipped: 0 });
    assert_eq!(runs.step(step.progress, MINUTE).fires, None, "once");
}

#[test]
fn after_an_outage_the_policy_decides_and_what_does_not_fire_is_counted() {
    let now = 10 * MINUTE + MINUTE / 2;
    for (policy, expected, skipped) in
        [(Policy::Skip, vec![10], 9), (Policy::Latest, vec![10], 9), (Policy::All, (1..=10).collect(), 0)]
    {
        let (fired, progress) = drained(&minutely(policy), Progress::begun(0), now);
        assert_eq!((minutes(&fired), progress.skipped), (expected, skipped), "{policy:?}");
        assert_eq!(progress.done, 10 * MINUTE);
    }
}

#[test]
fn while_suspended_nothing_accrues() {
    let suspended = Runs { suspended: true, ..minutely(Policy::All) };
    assert_eq!(suspended.next(Progress::begun(0)), None);
    let (fired, progress) = drained(&suspended, Progress::begun(0), 10 * MINUTE);
    assert!(fired.is_empty() && progress.skipped == 0);
    let (fired, _) = drained(&minutely(Policy::All), progress, 11 * MINUTE);
    assert_eq!(minutes(&fired), [11]);
}

#[test]
fn an_edit_goes_on_after_now_and_after_what_has_fired() {
    let runs = minutely(Policy::All);
    let (_, progress) = drained(&runs, Progress::begun(0), 5 * MINUTE);
    let ahead = progress.resumed(7 * MINUTE + 1);
    assert_eq!(runs.next(ahead).map(|run| run.nominal), Some(8 * MINUTE));
    // The clock of whoever edits is behind: minute 5 has fired, and does not fire again.
    let behind = progress.resumed(3 * MINUTE);
    assert_eq!(runs.next(behind).map(|run| run.nominal), Some(6 * MINUTE));
    assert_eq!(runs.next(behind).map(|run| run.occurrence), Some(6));
}

#[test]
fn a_count_counts_what_fires_and_not_what_is_passed_over() {
    let mut runs = minutely(Policy::Skip);
    runs.schedule.end = Some(End::Count(3));
    let (fired, progress) = drained(&runs, Progress::begun(0), 10 * MINUTE + 1);
    assert_eq!((minutes(&fired), progress.fired, progress.skipped), (vec![10], 1, 9));
    let (fired, progress) = drained(&runs, progress, 11 * MINUTE);
    assert_eq!(minutes(&fired), [11]);
    let (fired, progress) = drained(&runs, progress, 12 * MINUTE);
    assert_eq!(minutes(&fired), [12]);
    assert_eq!(runs.next(progress), None);
    assert!(drained(&runs, progress, 20 * MINUTE).0.is_empty());
}

#[test]
fn jitter_holds_a_run_back_and_does_not_make_it_missed() {
    let runs = Runs { jitter: Duration::from_secs(50), ..minutely(Policy::Skip) };
    let missed = MissedRuns { deadline: Duration::from_secs(1), ..runs.missed };
    let runs = Runs { missed, ..runs };
    let run = runs.next(Progress::begun(0)).unwrap();
    assert!((MINUTE..MINUTE + 50_000).contains(&run.due) && run.due > MINUTE, "{run:?}");
    assert_eq!(runs.step(Progress::begun(0), run.due - 1).fires, None);
    assert_eq!(runs.step(Progress::begun(0), run.due).fires, Some(run));
}

proptest! {
    /// Whatever the clock does, and however often whoever fires is stopped, edits or suspends.
    #[test]
    fn no_instant_fires_twice_none_early_and_all_in_order(
        moves in prop::collection::vec((-3 * MINUTE..6 * MINUTE, 0..8_u8), 1..40),
        policy in prop::sample::select(vec![Policy::Skip, Policy::Latest, Policy::All]),
        jitter in 0..100_000_u64, deadline in 1..200_u64, max in 0..5_u32,
    ) {
        let jitter = Duration::from_millis(jitter);
        let missed = MissedRuns { policy, max, deadline: Duration::from_secs(deadline) };
        let mut runs = Runs { missed, jitter, ..minutely(policy) };
        let (mut now, mut progress) = (0, Progress::begun(0));
        let mut last = i64::MIN;
        for (shift, what) in moves {
            now += shift;
            match what {
                0 => runs.suspended = !runs.suspended,
                1 => progress = progress.resumed(now),
                _ => {}
            }
            let (fired, after) = drained(&runs, progress, now);
            for run in &fired {
                prop_assert!(run.nominal > last, "{run:?} after {last}");
                prop_assert!(run.nominal <= run.due && run.due <= now, "{run:?} at {now}");
                last = run.nominal;
            }
            prop_assert!(after.done >= progress.done);
            prop_assert_eq!(after.fired, progress.fired + fired.len() as u64);
            progress = after;
        }
    }

    /// Somebody who looks every second loses nothing, and passes nothing over.
    #[test]
    fn who_is_always_there_fires_all(
        policy in prop::sample::select(vec![Policy::Skip, Policy::Latest, Policy::All]), jitter in 0..59_000_u64,
    ) {
        let runs = Runs { jitter: Duration::from_millis(jitter), ..minutely(policy) };
        let (mut progress, mut fired) = (Progress::begun(0), Vec::new());
        for now in (0..12 * MINUTE).step_by(1000) {
            let (more, after) = drained(&runs, progress, now);
            fired.extend(more);
            progress = after;
        }
        prop_assert_eq!(minutes(&fired[..10]), (1..=10).collect::<Vec<_>>());
        prop_assert_eq!(progress.skipped, 0);
    }
}
