//! Generates the code from `protos/`, without protoc.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

const FILES: [&str; 9] = [
    "evhub/ingest/v1/ingest.proto",
    "evhub/dispatch/v1/dispatch.proto",
    "evhub/control/v1/control.proto",
    "evhub/ledger/v1/ledger.proto",
    "io/cloudevents/v1/cloudevents.proto",
    "grpc/health/v1/health.proto",
    "producer/producer.proto",
    "processor/processor.proto",
    "transaction/transaction.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=protos");
    let descriptors = protox::compile(FILES, ["protos"])?;
    let folder = env::var("OUT_DIR")?;
    fs::write(Path::new(&folder).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .btree_map(".")
        // Pure crates use these as well, and need nothing of the rest.
        .extern_path(".evhub.control.v1", "::evhub_messages")
        .include_file("all.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
