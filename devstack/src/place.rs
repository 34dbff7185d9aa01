//! Where things lie on disk: the tools and data under the workspace, scratch directories under the system's temporary
//! one. Knows nothing of what is put there.

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    Error, Result,
    account::Account,
    error::{io_error, path_error},
};

/// Where root keeps what the unprivileged account must reach and cannot in the workspace. `/var/tmp` survives a reboot.
const OUTSIDE_THE_WORKSPACE: &str = "/var/tmp/holdfast-devstack";

/// How often a clashing name of a scratch directory is changed before giving up.
const SCRATCH_NAMES_MAX: u32 = 100;

/// The root of the workspace this library was built in.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// The folder for everything fetched or written by the development stack: `.devstack` at the root of the workspace, which
/// git ignores, or `DEVSTACK_DIR`, for clones that share one.
pub fn devstack_directory() -> PathBuf {
    match env::var_os("DEVSTACK_DIR") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory),
        _ => workspace_root().join(".devstack"),
    }
}

/// Where Postgres's durable data of this workspace lies: `.devstack/data`, unless we are root and the account that
/// runs the server cannot reach the workspace; then a folder named after that one under
/// `/var/tmp/holdfast-devstack/`. The folder exists when this returns.
pub fn data_directory() -> Result<PathBuf> {
    let inside = devstack_directory().join("data");
    make_directory(&inside)?;
    match Account::for_postgres()? {
        Some(account) if !account.reaches(&inside) => {
            let workspace = workspace_root();
            let name = workspace.to_string_lossy().trim_matches('/').replace('/', "-");
            let outside = outside_directory()?.join(name);
            make_directory(&outside)?;
            Ok(outside)
        }
        _ => Ok(inside),
    }
}

/// The folder outside the workspace, made by us and writable by nobody else: another user could otherwise plant a
/// program there that root then runs.
pub(crate) fn outside_directory() -> Result<PathBuf> {
    let path = PathBuf::from(OUTSIDE_THE_WORKSPACE);
    make_directory(&path)?;
    let metadata = fs::symlink_metadata(&path).map_err(path_error("look at", &path))?;
    if metadata.is_dir() && metadata.uid() == 0 && metadata.mode() & 0o022 == 0 {
        Ok(path)
    } else {
        Err(Error::Missing(format!(
            "{} must be a directory that only root can write to: remove it and try again",
            path.display()
        )))
    }
}

/// Makes a directory that others may enter and read, whatever the umask.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(path_error("make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(path_error("open up", path))
}

/// The bytes of all files below a directory. What disappears while we look counts nothing.
pub fn disk_use(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_use(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Lets everybody read and enter what we may, whatever the umask: the account that runs the server is not ours.
pub(crate) fn open_up(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(path_error("read", directory))?.flatten() {
        let path = entry.path();
        let metadata = entry.metadata().map_err(path_error("look at", &path))?;
        let mode = metadata.permissions().mode();
        let open = mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6;
        if !metadata.is_symlink() {
            fs::set_permissions(&path, fs::Permissions::from_mode(open))
                .map_err(path_error("open up", &path))?;
        }
        if metadata.is_dir() {
            open_up(&path)?;
        }
    }
    let mode = 0o755;
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
        .map_err(path_error("open up", directory))
}

pub(crate) fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    make_directory(to)?;
    for entry in fs::read_dir(from).map_err(path_error("read", from))?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_directory(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(path_error("copy", &source))?;
        }
    }
    Ok(())
}

/// A directory under the system's temporary one that is removed with this value. When the process dies without running
/// destructors, the supervisor of the server that lives in it removes it (see `Program::remove_afterwards`).
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Owned by `account`, if one is given.
    pub(crate) fn new(name: &str, account: Option<Account>) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);

        let base = [env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
            .into_iter()
            .find(|base| base.is_dir() && account.is_none_or(|account| account.reaches(base)))
            .ok_or_else(|| {
                Error::Missing("there is no temporary directory: set TMPDIR to one".into())
            })?;
        for _ in 0..SCRATCH_NAMES_MAX {
            let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("holdfast-{name}-{}-{counter}", process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let scratch = Self { path };
                    if let Some(account) = account {
                        account.own(&scratch.path)?;
                    }
                    return Ok(scratch);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(path_error("make", &path)(error)),
            }
        }
        Err(io_error(format!("find a free name in {}", base.display()))(
            std::io::ErrorKind::AlreadyExists.into(),
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing useful can be done about a leftover in the temporary directory, least of all in a destructor.
        let _ = fs::remove_dir_all(&self.path);
    }
}
