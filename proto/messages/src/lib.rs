//! The messages of the control stream, generated from `protos/evhub/control`. No code by hand, no I/O.
//!
//! Apart from the services of `evhub-proto`, which use them, so that what a dataplane can be told and its wire form need
//! neither tonic nor a runtime.

pub use generated::*;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated: the proto is where it is documented"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/evhub.control.v1.rs"));
}
