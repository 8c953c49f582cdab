//! How much later than its instant a run is, so that not everything that says midnight comes at midnight. Pure.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// When what is due at `nominal` fires: up to `jitter` later, and before `next`, the instant after it, so that runs stay in
/// order. The same schedule and instant give the same time, on whichever replica and however often it is asked.
pub fn due(uid: &str, nominal: i64, next: Option<i64>, jitter: Duration) -> i64 {
    let jitter = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    if jitter == 0 {
        return nominal;
    }
    let offset = xxh3_64_with_seed(uid.as_bytes(), nominal as u64) % jitter;
    let room = next.map_or(u64::MAX, |next| {
        (i128::from(next) - i128::from(nominal) - 1).clamp(0, i128::from(u64::MAX)) as u64
    });
    nominal.saturating_add_unsigned(offset.min(room))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_is_never_early_never_beyond_its_jitter_and_never_past_the_next(
            uid in ".{0,40}", nominal in any::<i64>(), gap in 1..=u64::MAX, jitter in any::<u64>(),
        ) {
            let next = nominal.saturating_add_unsigned(gap);
            let due = due(&uid, nominal, Some(next), Duration::from_millis(jitter));
            prop_assert!(nominal <= due);
            prop_assert!(i128::from(due) - i128::from(nominal) < i128::from(jitter).max(1));
            prop_assert!(due < next || next == nominal);
            prop_assert_eq!(due, super::due(&uid, nominal, Some(next), Duration::from_millis(jitter)));
        }
    }

    #[test]
    fn runs_are_spread_over_the_whole_of_it() {
        let minute = |n: u64| due(&format!("schedule-{n}"), 0, None, Duration::from_mins(1)) / 1000;
        let mut seconds = [0_u32; 60];
        for n in 0..6000 {
            seconds[minute(n) as usize] += 1;
        }
        assert!(seconds.iter().all(|count| (50..=150).contains(count)), "{seconds:?}");
    }

    #[test]
    fn without_jitter_a_run_is_due_at_its_instant() {
        assert_eq!(due("any", 12, Some(13), Duration::ZERO), 12);
    }
}
