//! How long to wait before the next try.
//!
//! In: how many failures there were, and a random number. Out: a [`Duration`]. A [`Backoff`] is a checked value and its
//! arithmetic is exact and on integers, so no count of failures can overflow it and equal inputs give equal waits. It
//! knows neither clocks nor sources of randomness nor what is being tried. Pure.

use std::time::Duration;

/// The longest wait that can be asked for: about 136 years. It bounds the arithmetic: at a nanosecond's precision it
/// needs 62 bits, so that twice of it, times 64 random bits, still fits into 128.
pub const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// A policy of waiting, checked when made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    multiplier: u32,
    jitter_percent: u8,
}

/// Why a policy cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The first wait is zero: tries would follow each other without a pause.
    #[error("the first wait must be longer than zero")]
    Zero,
    /// The first wait is longer than the longest.
    #[error("the first wait must not be longer than the longest wait")]
    InitialAboveMax,
    /// The longest wait is beyond [`LONGEST`].
    #[error("the longest wait must not exceed {} seconds", LONGEST.as_secs())]
    TooLong,
    /// The multiplier is zero.
    #[error("the multiplier must be at least 1")]
    Multiplier,
    /// The jitter is more than the wait itself.
    #[error("the jitter must be at most 100 percent (got {0})")]
    Jitter(u8),
}

impl Backoff {
    /// The same wait every time, give or take `jitter_percent`.
    pub fn fixed(wait: Duration, jitter_percent: u8) -> Result<Self, Invalid> {
        Self::exponential(wait, wait, 1, jitter_percent)
    }

    /// `initial` after the first failure, then each wait `multiplier` times the one before up to `max`, give or take
    /// `jitter_percent`.
    pub fn exponential(
        initial: Duration,
        max: Duration,
        multiplier: u32,
        jitter_percent: u8,
    ) -> Result<Self, Invalid> {
        if initial.is_zero() {
            return Err(Invalid::Zero);
        }
        if initial > max {
            return Err(Invalid::InitialAboveMax);
        }
        if max > LONGEST {
            return Err(Invalid::TooLong);
        }
        if multiplier == 0 {
            return Err(Invalid::Multiplier);
        }
        if jitter_percent > 100 {
            return Err(Invalid::Jitter(jitter_percent));
        }
        Ok(Self { initial, max, multiplier, jitter_percent })
    }

    /// The wait after the `failures`-th failure in a row, counted from 1 (0 is taken as 1), before any jitter.
    pub fn base(&self, failures: u32) -> Duration {
        nanoseconds(self.base_nanos(failures))
    }

    /// The wait after the `failures`-th failure in a row: [`base`](Self::base) give or take the jitter, to which `random`
    /// is mapped evenly. 0 gives the shortest wait, `u64::MAX` the longest. Pass a new random number each time, or
    /// everything that failed together comes back together.
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let base = self.base_nanos(failures);
        let jitter = base * u128::from(self.jitter_percent) / 100;
        nanoseconds(base - jitter + 2 * jitter * u128::from(random) / u128::from(u64::MAX))
    }

    fn base_nanos(&self, failures: u32) -> u128 {
        let growth = u128::from(self.multiplier).saturating_pow(failures.saturating_sub(1));
        self.initial.as_nanos().saturating_mul(growth).min(self.max.as_nanos())
    }
}

fn nanoseconds(n: u128) -> Duration {
    Duration::from_nanos(
        u64::try_from(n).expect("twice the longest wait is less than 64 bits of nanoseconds"),
    )
}

#[cfg(test)]
mod tests;
