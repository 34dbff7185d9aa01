//! `cargo xtask`: the commands a developer of this repository types. Each lives in its own module; starting servers is
//! `devstack`'s work, and what the shop does is the shop's.
#![expect(clippy::print_stdout, reason = "a command line talks to its user")]

mod bench;
mod cargo;
mod data;
mod dev;
mod doctor;
mod greeting;
mod http;
mod interrupt;
mod offline_queries;
mod ports;
mod stack;
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about = "Tasks of this workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start the whole shop on this machine: Postgres, Temporal, paysim, workers, API
    Dev(dev::Options),
    /// Run every test of the workspace, servers included
    Test {
        /// Passed on to the test programs, for instance part of a test's name
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure the shop: `bench checkout`
    Bench(bench::Options),
    /// Say what this machine lacks, and whether a running stack answers
    Doctor(doctor::Options),
    /// Refresh `.sqlx`, against which builds without a database check their queries
    Sqlx {
        /// Change nothing, and fail if `.sqlx` is out of date
        #[arg(long)]
        check: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Dev(options) => dev::run(options).await,
        Task::Test { arguments } => interrupt::or(tests::run(arguments)).await,
        Task::Bench(options) => interrupt::or(bench::run(options)).await,
        Task::Doctor(options) => interrupt::or(doctor::run(options)).await,
        Task::Sqlx { check } => interrupt::or(offline_queries::run(check)).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod command_line {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn it_is_consistent() {
        Arguments::command().debug_assert();
    }
}
