//! `evhub dev` as its users run it: the real binary, real sinks, real signals, a folder of its own for each test.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used, reason = "a test is no library, and may fail")]

mod bad;
mod barrier;
mod dead;
mod demo;
mod once;
mod process;
mod refusals;
mod restarts;
mod schedules;
mod shapes;
mod site;
mod stopping;
mod timers;
mod transactions;
mod verdicts;
