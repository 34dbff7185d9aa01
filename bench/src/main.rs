//! The `bench` binary: prints what the library measured. Everything else is in the library, so that
//! this links in a second.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::process::ExitCode;

use bench::{Arguments, Done, Parser as _};

#[tokio::main]
async fn main() -> ExitCode {
    match bench::run(Arguments::parse(), |line| eprintln!("{line}")).await {
        Ok(Done::Worked) => ExitCode::SUCCESS,
        Ok(Done::Measured { markdown, sound }) => {
            println!("{markdown}");
            if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
