//! What must be decided exactly once: which timer fires, when, and whether it was cancelled before.
//!
//! In: commands that anybody appends to a log, and the time. Out: what fires, into the topics that dispatch reads; what is
//! pending, in a topic of the ledger's own; and an answer to each command. The ledger is cut into shards. Each is led by one
//! process at a time, and what a leader decides is one transaction: what fires, what changes, and how far commands are
//! applied. It knows neither Producers, Processors nor how an event is delivered.
//!
//! - [`timer`]: a timer, its id, and what is left of one that ended
//! - [`series`]: a schedule, which is a timer that comes again
//! - [`chain`]: an event that is repeated
//! - [`claim`]: a publish that is safe to repeat
//! - [`half`]: a half message, which becomes a timer when it is committed
//! - [`command`]: what anybody may ask for; [`answer`]: what is said to that
//! - [`state`]: what is durable, record by record
//! - `timetable`: what is due next, in order and fairly
//! - [`shard`]: the reducer, pure; [`leader`]: the order of steps that keeps it safe, pure as well
//! - `slabs`: where pending timers are in memory
//! - `quarantine`: destinations that fail, and do not stop the others
//! - [`clock`]: what the time is
//! - [`rim`]: leads what this process is assigned; [`ledger`]: asks whoever leads, [`question`]: in these words

pub mod answer;
pub mod chain;
pub mod claim;
pub mod clock;
pub mod command;
pub mod half;
pub mod leader;
pub mod ledger;
mod quarantine;
pub mod question;
pub mod rim;
pub mod series;
pub mod shard;
mod slabs;
pub mod state;
pub mod timer;
mod timetable;
mod wire;

pub use answer::{Answer, Listed};
pub use clock::Clock;
pub use command::{Command, Keep, Submit, When};
pub use ledger::{Ledger, Settings, Trouble};
pub use question::{Question, Reply};
pub use timer::TimerId;

#[cfg(test)]
mod simulation;
