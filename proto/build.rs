//! Generates the code from `protos/`, without protoc.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

const FILES: [&str; 7] = [
    "evhub/ingest/v1/ingest.proto",
    "evhub/dispatch/v1/dispatch.proto",
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
        .include_file("all.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
