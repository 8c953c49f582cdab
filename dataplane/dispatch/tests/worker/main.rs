//! The worker over the embedded log and real connections to targets that do as they are told.

#![allow(missing_docs)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails says so")]

mod faults;
mod peer;
mod target;
mod trouble;
mod world;

mod answers;
mod attempts;
mod connections;
mod dead;
mod doubts;
mod edits;
mod grpc;
mod hostile;
mod isolation;
mod memory;
mod order;
mod ownership;
mod poison;
mod policy;
mod protocols;
mod proxies;
mod room;
mod shares;
mod start;
mod tls;
mod trace;
