//! Bounds, growth and extremes of waiting.

use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Any policy that may be, the extremes included.
fn policies() -> impl Strategy<Value = Backoff> {
    let nanos =
        prop_oneof![1..=1_000_000_000_u64, 1..=LONGEST.as_nanos() as u64, Just(LONGEST.as_nanos() as u64)];
    let multiplier = prop_oneof![1..=4_u32, 1..=u32::MAX, Just(u32::MAX)];
    (nanos.clone(), nanos, multiplier, 0..=100_u8).prop_map(|(a, b, multiplier, jitter)| {
        let (initial, max) = (Duration::from_nanos(a.min(b)), Duration::from_nanos(a.max(b)));
        Backoff::exponential(initial, max, multiplier, jitter).expect("the parts are in range")
    })
}

fn counts() -> impl Strategy<Value = u32> {
    prop_oneof![0..=80_u32, any::<u32>(), Just(u32::MAX)]
}

fn randoms() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)]
}

proptest! {
    #[test]
    fn a_wait_is_the_base_give_or_take_the_jitter(policy in policies(), n in counts(), random in randoms()) {
        let (base, wait) = (policy.base(n).as_nanos(), policy.wait(n, random).as_nanos());
        let jitter = u128::from(policy.jitter_percent);
        prop_assert!(wait * 100 >= base * (100 - jitter), "{wait} is too short for {base}");
        prop_assert!(wait * 100 <= base * (100 + jitter), "{wait} is too long for {base}");
    }

    #[test]
    fn a_base_lies_between_initial_and_max_and_never_shrinks(policy in policies(), n in counts()) {
        let base = policy.base(n);
        prop_assert!(policy.initial <= base && base <= policy.max);
        prop_assert!(base <= policy.base(n.saturating_add(1)));
    }

    #[test]
    fn each_base_is_the_multiplier_times_the_one_before_up_to_the_cap(policy in policies(), n in 1..u32::MAX) {
        let next = policy.base(n).as_nanos() * u128::from(policy.multiplier);
        prop_assert_eq!(policy.base(n + 1).as_nanos(), next.min(policy.max.as_nanos()));
    }

    #[test]
    fn more_luck_never_means_a_shorter_wait(policy in policies(), n in counts(), a in randoms(), b in randoms()) {
        prop_assert!(policy.wait(n, a.min(b)) <= policy.wait(n, a.max(b)));
    }

    #[test]
    fn both_ends_of_the_jitter_are_reached(policy in policies(), n in counts()) {
        let base = policy.base(n).as_nanos();
        let jitter = base * u128::from(policy.jitter_percent) / 100;
        prop_assert_eq!(policy.wait(n, 0).as_nanos(), base - jitter);
        prop_assert_eq!(policy.wait(n, u64::MAX).as_nanos(), base + jitter);
    }
}

#[test]
fn exponential_waits_double_up_to_the_cap() {
    let policy = Backoff::exponential(MS(200), MS(3_000), 2, 0).unwrap();
    let waits: Vec<Duration> = (1..=7).map(|n| policy.wait(n, 1 << 40)).collect();
    assert_eq!(waits, [200, 400, 800, 1_600, 3_000, 3_000, 3_000].map(MS));
}

#[test]
fn fixed_waits_do_not_grow() {
    let policy = Backoff::fixed(MS(200), 0).unwrap();
    assert_eq!([1, 2, 50, u32::MAX].map(|n| policy.wait(n, 7)), [MS(200); 4]);
}

#[test]
fn jitter_is_spread_evenly() {
    let policy = Backoff::fixed(MS(1_000), 20).unwrap();
    let quarters = [0, u64::MAX / 4, u64::MAX / 2, u64::MAX / 4 * 3, u64::MAX];
    assert_eq!(
        quarters.map(|r| policy.wait(1, r).as_secs_f64().mul_add(1000.0, 0.5) as u64),
        [800, 900, 1000, 1100, 1200]
    );
}

#[test]
fn before_any_failure_the_wait_is_the_first_one() {
    let policy = Backoff::exponential(MS(5), MS(50), 10, 0).unwrap();
    assert_eq!(policy.wait(0, 0), policy.wait(1, 0));
}

#[test]
fn policies_that_cannot_be_are_refused() {
    let long = LONGEST + Duration::from_nanos(1);
    assert_eq!(Backoff::fixed(Duration::ZERO, 0), Err(Invalid::Zero));
    assert_eq!(Backoff::exponential(MS(2), MS(1), 2, 0), Err(Invalid::InitialAboveMax));
    assert_eq!(Backoff::exponential(MS(1), long, 2, 0), Err(Invalid::TooLong));
    assert_eq!(Backoff::exponential(MS(1), MS(2), 0, 0), Err(Invalid::Multiplier));
    assert_eq!(Backoff::fixed(MS(1), 101), Err(Invalid::Jitter(101)));
    assert!(Backoff::fixed(LONGEST, 100).is_ok());
}
