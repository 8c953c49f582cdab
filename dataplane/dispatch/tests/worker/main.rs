//! The worker over the embedded log and real connections to targets that do as they are told.

#![allow(missing_docs)]
#![allow(clippy::panic, reason = "a test that fails says so")]

mod faults;
mod target;
mod trouble;
mod world;

mod answers;
mod attempts;
mod dead;
mod doubts;
mod order;
mod ownership;
mod poison;
mod policy;
mod protocols;
mod start;
mod trace;
