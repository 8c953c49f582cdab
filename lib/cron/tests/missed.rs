//! Which runs are made up for, by a table of outages and against a list of all instants.

use std::time::Duration;

use evhub_cron::{
    Beat, Dialect, MissedRuns, Policy, Zone,
    missed::{MOST, Plan},
};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

fn policy(policy: Policy, max: u32, deadline: u64) -> MissedRuns {
    MissedRuns { policy, max, deadline: Duration::from_secs(deadline) }
}

fn every(period: i64) -> impl Fn(i64) -> Option<i64> {
    move |after: i64| Some((after.div_euclid(period) + 1) * period)
}

/// What fires, in minutes, and how many do not.
fn minutes(missed: MissedRuns, last: i64, now: i64) -> (Vec<i64>, u32) {
    let next = every(MINUTE);
    let plan = missed.plan(last, now, &next);
    let firings = std::iter::successors(next(plan.after), |at| next(*at));
    (firings.take_while(|at| *at <= now).map(|at| at / MINUTE).collect(), plan.skipped)
}

#[test]
fn after_ten_minutes_away_each_policy_makes_up_for_what_it_says() {
    // The last run was that of minute 0; it is minute 10 and a half, and a run may be a minute late.
    let now = 10 * MINUTE + MINUTE / 2;
    assert_eq!(minutes(policy(Policy::Skip, 1000, 60), 0, now), (vec![10], 9));
    assert_eq!(minutes(policy(Policy::Latest, 1000, 60), 0, now), (vec![10], 9));
    assert_eq!(minutes(policy(Policy::All, 1000, 60), 0, now), ((1..=10).collect(), 0));
    assert_eq!(minutes(policy(Policy::All, 3, 60), 0, now), (vec![7, 8, 9, 10], 6));
    assert_eq!(minutes(policy(Policy::All, 0, 60), 0, now), (vec![10], 9));
}

#[test]
fn one_missed_run_stands_for_all_when_none_is_on_time() {
    let now = 10 * MINUTE + MINUTE / 2;
    assert_eq!(minutes(policy(Policy::Skip, 1000, 5), 0, now), (vec![], 10));
    assert_eq!(minutes(policy(Policy::Latest, 1000, 5), 0, now), (vec![10], 9));
    assert_eq!(minutes(policy(Policy::Latest, 1000, 0), 0, 10 * MINUTE), (vec![10], 9));
}

#[test]
fn what_is_merely_late_fires_under_every_policy() {
    for each in [Policy::Skip, Policy::Latest, Policy::All] {
        assert_eq!(minutes(policy(each, 1000, 180), 0, 2 * MINUTE + 1), (vec![1, 2], 0));
        assert_eq!(minutes(policy(each, 1000, 60), 0, MINUTE / 2), (vec![], 0));
    }
}

#[test]
fn years_of_seconds_are_planned_without_looking_at_each() {
    let beat = Beat::new(Dialect::Standard.parse("* * * * * *").unwrap(), Zone::utc(), 0).unwrap();
    let now = 3 * 365 * 86_400_000;
    let asked = std::cell::Cell::new(0_u32);
    let next = |after| {
        asked.set(asked.get() + 1);
        beat.next(after)
    };
    let plan = policy(Policy::All, 100_000, 60).plan(0, now, next);
    let on_time = 60_000 + 1000;
    assert_eq!(plan, Plan { after: now - on_time - i64::from(MOST) * 1000, skipped: MOST, more: true });
    assert!(asked.get() < 50 * (MOST + 2), "asked {} times", asked.get());
}

#[test]
fn a_schedule_that_has_ended_leaves_nothing_to_make_up_for() {
    for each in [Policy::Skip, Policy::Latest, Policy::All] {
        assert_eq!(policy(each, 10, 1).plan(0, 1_000_000, |_| None).skipped, 0);
    }
}

proptest! {
    #[test]
    fn what_fires_and_what_is_skipped_is_what_a_list_of_all_says(
        instants in prop::collection::btree_set(-5000..5000_i64, 0..60),
        last in -5000..5000_i64, away in 0..5000_i64, deadline in 0..3_u64, max in 0..10_u32, which in 0..3_usize,
    ) {
        let now = last + away;
        let deadline = deadline * 1000;
        let chosen = [Policy::Skip, Policy::Latest, Policy::All][which];
        let missed = MissedRuns { policy: chosen, max, deadline: Duration::from_millis(deadline) };
        let next = |after: i64| instants.range(after + 1..).next().copied();
        let plan = missed.plan(last, now, next);

        let due: Vec<i64> = instants.iter().copied().filter(|at| last < *at && *at <= now).collect();
        let (late, on_time): (Vec<i64>, Vec<i64>) = due.iter().partition(|at| now - **at > deadline as i64);
        let made_up = match chosen {
            Policy::Skip => 0,
            Policy::Latest => usize::from(on_time.is_empty()).min(late.len()),
            Policy::All => late.len().min(max as usize),
        };
        let expected: Vec<i64> = late[late.len() - made_up..].iter().chain(&on_time).copied().collect();
        let fires: Vec<i64> = due.iter().filter(|at| **at > plan.after).copied().collect();
        prop_assert_eq!(fires, expected);
        prop_assert_eq!(plan.skipped as usize, late.len() - made_up);
        prop_assert!(!plan.more && plan.after >= last);
    }
}
