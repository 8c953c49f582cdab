//! Three brokers that let in by TLS, by certificates, and by names and passwords: who is let in, who is not and is told why,
//! and what changes without a restart.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod refused;
mod renewed;
mod site;
mod welcome;
