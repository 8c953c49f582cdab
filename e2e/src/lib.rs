//! The real binary under faults, and the checker of its histories.
//!
//! In: a scenario. Out: a verdict on what was promised. Nothing here knows the product's code: it speaks to the binary
//! as any client, target or operator would, and reads the log as any tool would.
//!
//! - [`history`]: what a run saw
//! - [`model`]: what its resources promise
//! - [`check`]: pure checks of the one against the other, and the vacuity gate

pub mod check;
pub mod history;
pub mod model;
