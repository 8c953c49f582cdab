//! One dataplane over any journal: publishing in, deliveries out.
//!
//! In: snapshots of what to run, and requests. Out: appends, deliveries, and answers about both. This crate knows the
//! log by its traits and never sees the users' resources.
//!
//! - [`hub`]: what all surfaces share

pub mod hub;

pub use hub::Hub;
