//! `evhub dev` as its users run it: the real binary, real sinks, real signals, a folder of its own for each test.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used, reason = "a test is no library, and may fail")]

mod bad;
mod dead;
mod demo;
mod process;
mod refusals;
mod restarts;
mod shapes;
mod site;
mod stopping;
mod verdicts;
