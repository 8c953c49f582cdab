//! One delivery from start to finish.
//!
//! In: records of a Processor's topics, and its policy. Out: attempts at its target, parked deliveries, dead letters,
//! and commits that never pass an unresolved record. What must be decided is decided by pure code in [`protocol`];
//! `worker` is the rim that carries it out. This crate knows the log by its traits and nothing of Kubernetes.
//!
//! - [`worker`]: a Processor's member of its group, from joining to leaving
//! - [`protocol`]: who owns a partition, and what may be committed
//! - [`outcome`]: what an answer means
//! - [`wanted`]: which events are this Processor's, and which of them come later
//! - [`pace`]: how fast a target is spoken to
//! - [`sender`]: attempts on the wire
//! - [`parked`], [`dead`]: parked deliveries and dead letters as records
//! - [`chains`]: repeated events that it wants no more of
//! - [`exchange`]: where several owners say what part of the allowance each takes
//! - [`progress`]: how a Processor is doing
//! - [`topics`]: what its own topics look like

pub mod chains;
pub mod dead;
pub mod exchange;
pub mod outcome;
pub mod pace;
pub mod parked;
pub mod progress;
pub mod protocol;
pub mod sender;
mod shelf;
pub mod topics;
pub mod wanted;
pub mod worker;

pub use progress::{Discard, Progress};
