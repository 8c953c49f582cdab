//! Generates the code from `../protos`, without protoc and without services.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../protos/evhub/control");
    let descriptors = protox::compile(["evhub/control/v1/control.proto"], ["../protos"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
