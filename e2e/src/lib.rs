//! The real binary under faults, and the checker of its histories.
//!
//! In: a scenario. Out: a verdict on what was promised. Nothing here knows the product's code: it speaks to the binary
//! as any client, target or operator would, and reads the log as any tool would.
//!
//! Pure:
//! - [`history`]: what a run saw
//! - [`model`]: what its resources promise
//! - [`check`]: checks of the one against the other, and the vacuity gate
//! - [`trace`]: whether a system-call trace shows an acknowledgement before its sync
//! - [`plan`]: a Processor as the hub and as the checks know it
//! - [`event`], [`script`]: what is published, and how targets answer
//!
//! With I/O:
//! - [`hub`]: the process under test; [`cage`]: bounds to its memory
//! - [`publisher`], [`target`], [`nemesis`]: who publishes, who receives, who breaks things
//! - [`wire`], [`recorder`]: HTTP by hand, and the notebook
//! - [`truth`]: what the log holds afterwards
//! - [`run`]: all of it in order; [`judge`]: its end
//! - [`fleet`], [`siege`], [`campaign`]: the same for several dataplanes on real brokers; [`proxy`]: between the two

pub mod cage;
pub mod campaign;
pub mod check;
pub mod event;
pub mod fleet;
pub mod history;
pub mod hub;
pub mod judge;
pub mod model;
pub mod nemesis;
pub mod plan;
pub mod proxy;
pub mod publisher;
pub mod recorder;
pub mod run;
pub mod script;
pub mod siege;
pub mod target;
pub mod trace;
pub mod truth;
pub mod wire;
