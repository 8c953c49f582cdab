//! How a process lives with its folder, and how it ends: one drain that everybody watches, begun by a signal or by whoever finds a reason.
//!
//! In: signals, and [`Trigger::begin`]. Out: a [`Drain`] that every task holds; when it begins, a task takes nothing new,
//! finishes what it has and returns. This crate does not know what is being drained, nor how long that may take.
//!
//! - [`drain`]: the trigger and the watch
//! - [`signal`]: what SIGTERM and SIGINT do
//! - [`alone`]: one process for one folder
//! - [`replace`]: a file of it that is there whole or not at all
//! - [`exit`]: its exit code, and errors as text
//! - [`files`]: how many may be open

mod alone;
pub mod drain;
pub mod exit;
pub mod files;
mod replace;
pub mod signal;

pub use alone::alone;
pub use drain::{Drain, Trigger, channel};
pub use files::allow_open_files;
pub use replace::replace;
pub use signal::signals;
