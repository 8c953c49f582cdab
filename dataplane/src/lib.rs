//! One dataplane over any journal: publishing in, deliveries out.
//!
//! In: snapshots of what to run, and requests. Out: appends, deliveries, and answers about both. This crate knows the
//! log by its traits and never sees the users' resources.
//!
//! - [`hub`]: what all surfaces share; [`budget`]: how much memory each part may take
//! - [`process`]: the life of a process that runs one
//! - [`server`]: HTTP connections, bounded in every phase
//! - [`egress`]: where deliveries may go
//! - [`follow`]: is told what to run, and goes on without
//! - [`provision`], [`workers`]: makes topics, runs a worker per Processor
//! - [`transactions`]: half messages, and who is asked about them
//! - [`timers`]: the ledger's life in this process; [`schedules`]: what it is told to fire again and again
//! - [`ingest`]: takes events over HTTP
//! - [`grpc`]: takes them over gRPC; `evhub` does as EvHub v1 did, over both
//! - [`api`]: status, the log, dead letters and redrive, for tools
//! - [`admin`]: is it alive, is it ready, what does it count, what does it run
//! - [`problem`]: how every surface says no
//! - [`meters`]: what every surface counts

pub mod admin;
pub mod api;
mod backlog;
pub mod budget;
mod chains;
pub mod egress;
mod evhub;
pub mod follow;
pub mod grpc;
pub mod hub;
pub mod ingest;
pub mod meters;
pub mod problem;
pub mod process;
pub mod provision;
mod request;
pub mod schedules;
pub mod server;
pub mod timers;
pub mod transactions;
pub mod workers;

pub use evhub_dispatch::exchange;
pub use hub::{Hub, Unserved};
