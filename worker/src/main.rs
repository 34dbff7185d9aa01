//! The `worker` binary. Everything is in the library, so that this links in a second.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    worker::main().await
}
