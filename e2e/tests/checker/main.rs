//! Who checks the checker: histories told by hand, one for each class with a near miss, and random corruption of
//! histories that a reference model made.

#![allow(missing_docs, unreachable_pub)]

mod fleet;
mod freshness;
mod gate;
mod histories;
mod isolation;
mod order;
mod policy;
mod random;
mod reference;
mod repeats;
mod serial;
mod story;
