//! Who of several processes leads, by a Lease in a Kubernetes API server.
//!
//! In: a Lease's name and who we are. Out: [`Lease::acquire`] returns when we lead, and [`Held::lost`] when we do not any
//! more. A Lease is a hint: a process can be stopped between a look at it and what it does then, so whatever must not happen
//! twice needs a fence of its own. [`Held::transitions`] is one: it grows with every change of the leader.
//!
//! - [`candidate`]: what a candidate makes of what it sees. Pure
//! - [`lease`]: looks, writes and waits. I/O
//!
//! No clock of another machine counts: that a leader has gone is told by its Lease staying the same for [`Timing::duration`]
//! by our own clock, which also runs while the machine is suspended.

pub mod candidate;
pub mod lease;

pub use self::{
    candidate::Timing,
    lease::{Held, Lease, Released},
};
