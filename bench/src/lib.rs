//! What the measuring programs share. Nothing uses this crate.
//!
//! - [`machine`]: what measured, and who else was at work
//! - [`child`]: the processes that are measured, and what they used
//! - [`hub`]: the real binary as such a process
//! - [`wire`]: a client that costs as little as it can
//! - [`rounds`]: taking turns, and what several rounds come to
//! - [`steps`]: what happens for each event, to be counted
//! - [`peer`]: NATS `JetStream`, and how to have it

pub mod child;
pub mod hub;
pub mod machine;
pub mod peer;
pub mod rounds;
pub mod steps;
pub mod wire;
