//! `cargo xtask bench`: builds the shop and the bench with optimizations, and runs a benchmark. What is measured, and how,
//! is the `bench` crate's.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use clap::{Args, ValueEnum};
use devstack::{Program, Supervised};

use crate::{cargo, ports::OwnServers, tests::fetch};

const PROGRAMS: [&str; 4] = ["worker", "api", "paysim", "bench"];

/// The bench bounds itself, and much tighter.
const LIMIT: Duration = Duration::from_hours(8);

/// It stops its servers in order.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How to build; figures of another than `release` mean nothing
    #[arg(long, hide = true, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Which benchmark, and its flags: `checkout --help` lists them
    #[arg(
        required = true,
        value_name = "BENCHMARK",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Dev,
    Release,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    // It starts its own servers, whatever the environment offers: they must be alone and freshly made.
    fetch(&OwnServers { database_url: None, temporal_address: None }).await?;
    let release = options.profile == Profile::Release;
    build(release).await?;
    let bench = Program::new("bench", cargo::program("bench", release)?)
        .args(options.arguments)
        .inherit_output()
        .grace(GRACE);
    let status = Supervised::start(bench)?.wait_exit(LIMIT).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn build(release: bool) -> anyhow::Result<()> {
    let mut arguments = vec!["build"];
    for program in PROGRAMS {
        arguments.extend(["--package", program]);
    }
    if release {
        arguments.push("--release");
    }
    if !cargo::run(cargo::command(&arguments).inherit_output()).await?.success() {
        bail!("the build failed: what cargo said is above");
    }
    Ok(())
}
