//! What the time is, for timers. Reads clocks.
//!
//! It goes on steadily from the wall clock as it was at the start: by the clock that also counts while the machine sleeps. A
//! wall clock that drifts is followed slowly; one that jumps is not believed before the log, which has a clock of its own,
//! says the same. So a clock that is set wrong fires nothing early.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// Further than this the wall clock has jumped, and not drifted; in milliseconds.
const JUMP: i64 = 1_000;
/// How fast drift is followed: one millisecond in so many.
const SLEW: i64 = 2_000;

/// The time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Mutex<Course>>);

/// How the wall clock is to the steady one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Course {
    offset: i64,
    /// The steady clock when drift was followed last.
    followed: i64,
    /// Whether the wall clock has jumped, and nobody has said so but itself.
    suspect: bool,
}

impl Default for Clock {
    fn default() -> Self {
        let (steady, wall) = (steady(), wall());
        Self(Arc::new(Mutex::new(Course { offset: wall - steady, followed: steady, suspect: false })))
    }
}

impl Clock {
    /// Now, in milliseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        let mut course = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        course.now(steady(), wall())
    }

    /// The log took a record just now, at an instant of its own clock.
    pub fn heard(&self, log: i64) {
        let mut course = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        course.heard(log, steady(), wall());
    }

    /// Whether the wall clock has jumped and is not believed.
    pub fn is_suspect(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).suspect
    }
}

impl Course {
    fn now(&mut self, steady: i64, wall: i64) -> i64 {
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

    fn heard(&mut self, log: i64, steady: i64, wall: i64) {
        let mine = self.now(steady, wall);
        if self.suspect && log.abs_diff(wall) <= JUMP as u64 && log.abs_diff(mine) > JUMP as u64 {
            self.offset = wall - steady;
            self.suspect = false;
        }
    }
}

fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn steady() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::Course;

    const START: Course = Course { offset: 1_000_000, followed: 0, suspect: false };

    #[test]
    fn drift_is_followed_slowly() {
        let mut course = START;
        assert_eq!(course.now(10_000, 1_010_500), 1_010_005, "half a second off, and ten seconds passed");
        assert!(!course.suspect);
    }

    #[test]
    fn a_jump_is_believed_when_the_log_says_so_too() {
        for jump in [3_600_000, -3_600_000] {
            let mut course = START;
            assert_eq!(course.now(10_000, 1_010_000 + jump), 1_010_000);
            assert!(course.suspect);
            course.heard(1_010_000, 10_000, 1_010_000 + jump);
            assert_eq!(course.now(10_000, 1_010_000 + jump), 1_010_000, "the log says that it is wrong");
            course.heard(1_010_000 + jump, 10_000, 1_010_000 + jump);
            assert_eq!(course.now(10_000, 1_010_000 + jump), 1_010_000 + jump);
            assert!(!course.suspect);
        }
    }
}
