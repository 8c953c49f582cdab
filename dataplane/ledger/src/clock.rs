//! What the time is, for timers. Reads clocks.
//!
//! It goes on steadily from the wall clock as it was at the start: by the clock that also counts while the machine sleeps. A
//! wall clock that drifts is followed slowly; one that jumps is not believed before the log, which has a clock of its own,
//! says the same. One that was wrong from the start is found out by the log, which dates what a leader writes first: who is
//! ahead of it goes by it. So a clock that is set wrong fires nothing early.
//!
//! It is never ahead of the wall clock by how it reads it: both are kept to the microsecond and only what is told is cut to
//! milliseconds, and the wall clock is read first, so that whatever comes between the two readings makes it late.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// Further than this the wall clock has jumped, and not drifted; in microseconds.
const JUMP: i64 = 1_000_000;
/// How fast drift is followed: one microsecond in so many.
const SLEW: i64 = 2_000;

/// The time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock {
    course: Arc<Mutex<Course>>,
    /// By how much the wall clock is read wrong; in microseconds.
    wrong: i64,
}

/// How the wall clock is to the steady one; in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    offset: i64,
    /// The steady clock when drift was followed last.
    followed: i64,
    /// Whether the wall clock has jumped, and nobody has said so but itself.
    suspect: bool,
    /// Whether the log's clock was ahead when it was compared last.
    late: bool,
}

/// An instant, to compare the log's clock with later.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    steady: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::off_by(0)
    }
}

impl Clock {
    /// The clock of a machine whose wall clock is ahead by so many milliseconds, or behind: what a wrong one does can be
    /// seen with it.
    pub fn off_by(millis: i64) -> Self {
        let wrong = millis * 1_000;
        let Reading { wall, steady } = Reading::take(wrong);
        let course = Course { offset: wall - steady, followed: steady, suspect: false, late: false };
        Self { course: Arc::new(Mutex::new(course)), wrong }
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.course().now(Reading::take(self.wrong)).div_euclid(1_000)
    }

    /// The log took a record just now, at an instant of its own clock; in milliseconds.
    pub fn heard(&self, log: i64) {
        self.course().heard(log.saturating_mul(1_000), Reading::take(self.wrong));
    }

    /// This instant.
    pub fn mark() -> Mark {
        Mark { steady: Reading::take(0).steady }
    }

    /// The log took a record between that instant and now, and dated it so; in milliseconds. If this clock is further ahead
    /// than that explains, it goes by the log's from now on. Returns by how much it was ahead (or behind, below zero).
    pub fn dated(&self, since: Mark, log: i64) -> Option<i64> {
        let off = self.course().dated(since, log.saturating_mul(1_000), Reading::take(self.wrong));
        off.map(|off| off.div_euclid(1_000))
    }

    /// Whether the wall clock has jumped and is not believed, or is behind the log's.
    pub fn is_suspect(&self) -> bool {
        let course = self.course();
        course.suspect || course.late
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course {
    fn now(&mut self, Reading { wall, steady }: Reading) -> i64 {
        let off = wall - (steady + self.offset);
        self.suspect = off.abs() > JUMP;
        let most = (steady - self.followed) / SLEW;
        if most > 0 {
            self.followed = steady;
            if !self.suspect {
                self.offset += off.clamp(-most, most);
            }
        }
        steady + self.offset
    }

    fn dated(&mut self, since: Mark, log: i64, reading: Reading) -> Option<i64> {
        let mine = self.now(reading);
        let steady = reading.steady;
        // The log's clock showed at least this then, and shows at most this now.
        let (earliest, latest) = (log, log + (steady - since.steady));
        self.late = mine + JUMP < earliest;
        if mine > latest + JUMP {
            self.offset = earliest - steady;
            return Some(mine - latest);
        }
        self.late.then_some(mine - earliest)
    }

    fn heard(&mut self, log: i64, reading: Reading) {
        let mine = self.now(reading);
        let Reading { wall, steady } = reading;
        if self.suspect && log.abs_diff(wall) <= JUMP as u64 && log.abs_diff(mine) > JUMP as u64 {
            self.offset = wall - steady;
            self.suspect = false;
        }
    }
}

/// Both clocks at about one instant; in microseconds.
#[derive(Clone, Copy)]
struct Reading {
    wall: i64,
    steady: i64,
}

impl Reading {
    fn take(wrong: i64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        let wall = wall + wrong;
        let now = clock_gettime(ClockId::Boottime);
        Self { wall, steady: now.tv_sec * 1_000_000 + now.tv_nsec / 1_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Course, Mark, Reading};

    const SECOND: i64 = 1_000_000;
    const START: Course = Course { offset: 1_000 * SECOND, followed: 0, suspect: false, late: false };

    #[test]
    fn drift_is_followed_slowly() {
        let mut course = START;
        let half_a_second_off = Reading { wall: 1_010 * SECOND + SECOND / 2, steady: 10 * SECOND };
        assert_eq!(course.now(half_a_second_off), 1_010 * SECOND + 5_000, "ten seconds passed");
        assert!(!course.suspect);
    }

    #[test]
    fn a_jump_is_believed_when_the_log_says_so_too() {
        let right = 1_010 * SECOND;
        for jump in [3_600 * SECOND, -3_600 * SECOND] {
            let mut course = START;
            let jumped = Reading { wall: right + jump, steady: 10 * SECOND };
            assert_eq!(course.now(jumped), right);
            assert!(course.suspect);
            course.heard(right, jumped);
            assert_eq!(course.now(jumped), right, "the log says that it is wrong");
            course.heard(right + jump, jumped);
            assert_eq!(course.now(jumped), right + jump);
            assert!(!course.suspect);
        }
    }

    #[test]
    fn who_is_ahead_of_the_log_goes_by_the_log_and_who_is_behind_says_so() {
        // Written at second 8, dated somewhere in between, looked at at second 10.
        let (since, now) =
            (Mark { steady: 8 * SECOND }, Reading { wall: 1_010 * SECOND, steady: 10 * SECOND });
        let cases = [
            ("right", 1_009, None, 1_010, false),
            ("a second ahead may be its own way there and back", 1_007, None, 1_010, false),
            ("ahead", 1_000, Some(8), 1_000, false),
            ("an hour ahead", 1_008 - 3_600, Some(3_600), 1_008 - 3_600, false),
            ("a second behind", 1_011, None, 1_010, false),
            ("an hour behind", 1_010 + 3_600, Some(-3_600), 1_010, true),
        ];
        for (what, log, off, told, late) in cases {
            let mut course = START;
            assert_eq!(course.dated(since, log * SECOND, now), off.map(|off| off * SECOND), "{what}");
            assert_eq!(course.now(now), told * SECOND, "{what}");
            assert_eq!(course.late, late, "{what}");
        }
    }

    #[test]
    fn no_millisecond_begins_before_it_does_on_the_wall() {
        for (wall, steady) in [(10_100, 5_900), (10_900, 5_100), (10_999, 5_000), (10_000, 5_999)] {
            let mut course = Course { offset: wall - steady, followed: steady, ..START };
            for later in 0..3_000 {
                let told =
                    course.now(Reading { wall: wall + later, steady: steady + later }).div_euclid(1_000);
                assert_eq!(told, (wall + later).div_euclid(1_000), "{later} us after {wall} and {steady}");
            }
        }
    }
}
