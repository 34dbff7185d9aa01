//! Starts servers whose data is thrown away, prints how to reach them, and holds them until it is ended, by whatever
//! means: `cargo run -p devstack`. For a quick look with psql, and for the tests of this crate, which kill it.
#![expect(clippy::print_stdout, reason = "what it prints is its whole purpose")]

use std::{
    convert::Infallible,
    future,
    io::{self, Write},
    process::ExitCode,
};

use devstack::{Error, TestServers};

static SERVERS: TestServers = TestServers::new();

#[tokio::main]
async fn main() -> ExitCode {
    match hold().await {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("scratch-servers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn hold() -> Result<Infallible, Error> {
    let database = SERVERS.empty_database().await?;
    let temporal = SERVERS.temporal().await?;
    println!("DATABASE_URL={}", database.url());
    println!("TEMPORAL_ADDRESS={}", temporal.address());
    io::stdout().flush().expect("somebody reads this");
    future::pending().await
}
