//! When something is due that happens again and again.
//!
//! In: a text that says when (a crontab in one of three dialects, or an interval), a time zone, and an instant. Out: the next
//! instant, strictly later, found within a bounded search; and what to do about instants that nobody was there for. All
//! instants are milliseconds since the Unix epoch. It knows neither clocks nor events nor who fires: pure, apart from a memory
//! of time zones that were read from the database it carries.
//!
//! - [`dialect`]: what a text may say; [`invalid`]: why it may not
//! - [`cron`]: a crontab, compiled; [`every`]: an interval from an anchor
//! - [`zone`]: time zones, by their IANA names
//! - [`schedule`]: one of these between a start and an end
//! - [`run`]: run after run of a schedule, and all that has to be kept of it
//! - [`missed`]: which runs are made up for after nobody was there; [`jitter`]: how much later than its instant a run is
//! - [`recurrence`]: `EvHub`'s chain of firings from one event

pub mod cron;
mod days;
pub mod dialect;
pub mod every;
mod field;
pub mod invalid;
pub mod jitter;
pub mod missed;
pub mod recurrence;
pub mod run;
pub mod schedule;
mod search;
pub mod zone;

pub use cron::Cron;
pub use dialect::{Dialect, Expression, Rule};
pub use every::Interval;
pub use invalid::Invalid;
pub use missed::{MissedRuns, Policy};
pub use recurrence::Recurrence;
pub use run::{Progress, Run, Runs};
pub use schedule::{Beat, End, Schedule};
pub use zone::Zone;
