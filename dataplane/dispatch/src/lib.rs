//! One delivery from start to finish.
//!
//! In: records of a Processor's topics, and its policy. Out: attempts at its target, parked deliveries, dead letters,
//! and commits that never pass an unresolved record. What must be decided is decided by pure code in [`protocol`];
//! `worker` is the rim that carries it out. This crate knows the log by its traits and nothing of Kubernetes.
//!
//! - [`dead`]: dead letters as records
//! - [`progress`]: how a Processor is doing
//! - [`protocol`]: who owns a partition, and what may be committed

pub mod dead;
pub mod progress;
pub mod protocol;

pub use progress::Progress;
