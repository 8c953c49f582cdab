//! The log's contract on a real broker, and what only a real broker shows.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "../../../journal/tests/contract/cases.rs"]
mod cases;
#[macro_use]
#[path = "../../../journal/tests/contract/list.rs"]
mod list;
mod live;
mod prefixed;
mod site;

contract!(kafka, site::Topics::new().await);
