//! Compiles the gRPC contract in `../proto` without a `protoc`, and keeps its descriptors for
//! reflection.

use std::{env, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 10] = [
    "holdfast/v1/admin.proto",
    "holdfast/v1/cart.proto",
    "holdfast/v1/case.proto",
    "holdfast/v1/checkout.proto",
    "holdfast/v1/order.proto",
    "holdfast/v1/refund.proto",
    "holdfast/v1/session.proto",
    "holdfast/v1/shipment.proto",
    "holdfast/v1/types.proto",
    "holdfast/v1/webhook.proto",
];

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=../proto");
    let descriptors = protox::compile(FILES, ["../proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("holdfast.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
