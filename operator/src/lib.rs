//! The operator: makes the Producers and Processors of a cluster run, and tells what became of them.
//!
//! `watch → index → compile → publish → serve`, and `acks → rollout → status`. What decides is pure; what waits and writes is
//! at the rim.
//!
//! - [`args`]: the command line, checked
//! - [`watch`]: watches of an API server, each by itself. I/O
//! - [`index`]: what an API server has, as its watches tell. Pure
//! - [`secrets`]: Secrets that are named, read one by one. I/O
//! - [`world`]: from that to what dataplanes are to run. Pure
//! - [`removal`]: the topics that go with their Producers. Pure
//! - [`fleet`]: what all dataplanes together say of one resource. Pure
//! - [`doing`]: how Processors are doing, as far as that is told. Pure
//! - [`told`]: what a resource's author is told in its status. Pure
//! - [`doubt`]: when that is worth writing. Pure
//! - [`write`]: writes statuses and Events. I/O
//! - [`certificates`]: makes those of the control stream. I/O
//! - [`lead`]: the life of the operator that leads. I/O
//! - [`admin`], [`meters`]: is it alive, is it ready, what does it count

pub mod admin;
pub mod args;
pub mod certificates;
pub mod doing;
pub mod doubt;
pub mod fleet;
pub mod index;
pub mod lead;
pub mod meters;
pub mod removal;
pub mod secrets;
pub mod told;
pub mod watch;
pub mod world;
pub mod write;
