//! A dataplane with many Processors, apart from the other tests: it takes what others would need.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test is no library, and may fail")]

#[path = "many/fits.rs"]
mod fits;
#[path = "cluster/service.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod service;
#[path = "cluster/site.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod site;
