//! How a process ends: one drain that everybody watches, begun by a signal or by whoever finds a reason.
//!
//! In: signals, and [`Trigger::begin`]. Out: a [`Drain`] that every task holds; when it begins, a task takes nothing new,
//! finishes what it has and returns. This crate does not know what is being drained, nor how long that may take.
//!
//! - [`drain`]: the trigger and the watch
//! - [`signal`]: what SIGTERM and SIGINT do
//! - [`files`]: how many may be open

pub mod drain;
pub mod files;
pub mod signal;

pub use drain::{Drain, Trigger, channel};
pub use files::allow_open_files;
pub use signal::signals;
