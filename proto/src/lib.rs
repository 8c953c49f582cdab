//! The messages and services on the wire, generated from `protos/`. No code by hand, no I/O.
//!
//! - [`cloudevents`]: the CloudEvents protobuf format
//! - [`ingest`], [`dispatch`], [`control`], [`ledger`]: evhub's own services
//! - [`health`]: the gRPC health checking protocol
//! - [`evhub_comm`], [`evhub_producer`], [`evhub_processor`], [`evhub_transaction`]: EvHub v1, under its own names
//! - [`DESCRIPTORS`]: all of it, described for reflection

pub use generated::{
    evhub::{dispatch::v1 as dispatch, ingest::v1 as ingest, ledger::v1 as ledger},
    evhub_comm, evhub_processor, evhub_producer, evhub_transaction,
    grpc::health::v1 as health,
    io::cloudevents::v1 as cloudevents,
};

/// The control stream: its service, and the messages, which pure crates use alone.
pub mod control {
    pub use evhub_messages::*;

    pub use super::generated::evhub::control::v1::*;
}

/// Every file of `protos/` and what it imports, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated: the protos are where it is documented"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/all.rs"));
}
