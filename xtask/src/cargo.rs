//! Running cargo from within a task, so that it too ends with us, and where its products lie.

use std::{env, path::PathBuf, process::ExitStatus, time::Duration};

use anyhow::{Context, bail};
use devstack::{Program, Signal, Supervised, workspace_root};

/// The programs of the shop, which development and tests start.
const PROGRAMS: [&str; 3] = ["worker", "api", "paysim"];

/// A build or a test run that takes longer than this hangs.
const LIMIT: Duration = Duration::from_hours(4);

/// Cargo with these arguments, in the root of the workspace.
///
/// Without the variables by which the cargo that runs us describes this package: some build scripts watch them, and would
/// compile half the dependencies anew whenever a build by hand follows one by us.
pub(crate) fn command(arguments: &[&str]) -> Program {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Program::new("cargo", cargo)
        .args(arguments)
        .current_dir(workspace_root())
        .stop_signal(Signal::Interrupt)
        .whole_group();
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || OURS.contains(&&*text) {
            command = command.env_remove(name);
        }
    }
    command
}

/// Beside `CARGO_PKG_*`.
const OURS: [&str; 6] = [
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
];

pub(crate) async fn run(command: Program) -> anyhow::Result<ExitStatus> {
    Ok(Supervised::start(command)?.wait_exit(LIMIT).await?)
}

/// Builds the shop's programs, showing cargo's own progress.
pub(crate) async fn build_programs(release: bool) -> anyhow::Result<()> {
    let mut arguments = vec!["build"];
    for program in PROGRAMS {
        arguments.extend(["--package", program]);
    }
    if release {
        arguments.push("--release");
    }
    let status = run(command(&arguments).inherit_output()).await?;
    if !status.success() {
        bail!("the build failed: what cargo said is above");
    }
    Ok(())
}

/// One of the shop's programs, once it is built.
pub(crate) fn program(name: &str, release: bool) -> anyhow::Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    Ok(target_directory()?.join(profile).join(name))
}

/// We lie in TARGET/debug ourselves, wherever cargo was told to put that.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let ourselves = env::current_exe().context("could not find this program")?;
    let target =
        ourselves.ancestors().nth(2).context("this program does not lie in a target directory")?;
    Ok(target.to_owned())
}
