//! `cargo xtask test`: everything the tests need, then the tests.

use std::process::ExitCode;

use devstack::tools;
use tokio::task;

use crate::{cargo, ports::OwnServers};

/// Tested apart: its tests use proptest, which switches on features of crates that everything rests on, so that testing
/// all at once would compile nearly all of them a second time, other than the programs did.
const APART: &str = "domain";

/// For a test run that ended without an exit code of its own, by a signal.
const NO_CODE: i32 = 1;

pub(crate) async fn run(arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    fetch(&OwnServers::from_environment()).await?;
    // Tests start these as processes, which cargo does not know.
    cargo::build_programs(false).await?;
    let mut code = 0;
    for selection in [&["--package", APART][..], &["--workspace", "--exclude", APART]] {
        let mut command = vec!["test"];
        command.extend(selection);
        command.push("--");
        command.extend(arguments.iter().map(String::as_str));
        let status = cargo::run(cargo::command(&command).inherit_output()).await?;
        // Both are run, whatever the first says.
        code = code.max(u8::try_from(status.code().unwrap_or(NO_CODE)).unwrap_or(u8::MAX));
    }
    Ok(ExitCode::from(code))
}

/// Fetches the servers that are to be ours, telling how far it is.
pub(crate) async fn fetch(own: &OwnServers) -> anyhow::Result<()> {
    let own = own.clone();
    task::spawn_blocking(move || {
        let tell = |line: &str| println!("{line}");
        if own.database_url.is_none() {
            tools::postgres(&tell)?;
        }
        if own.temporal_address.is_none() {
            tools::temporal(&tell)?;
        }
        Ok(())
    })
    .await
    .expect("fetching does not panic")
}
