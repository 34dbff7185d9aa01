//! The files of a development stack in `.devstack/`: data, logs, the lock and the secrets. Servers are not known here.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::ports::OwnServers;

const SECRET_BYTES: usize = 32;

pub(crate) fn postgres_data() -> anyhow::Result<PathBuf> {
    Ok(devstack::data_directory()?.join("postgres"))
}

pub(crate) fn temporal_file() -> PathBuf {
    devstack::devstack_directory().join("data/temporal.db")
}

pub(crate) fn delete_data(own: &OwnServers) -> anyhow::Result<()> {
    if own.database_url.is_some() || own.temporal_address.is_some() {
        // One half without the other would leave checkouts whose workflow is gone, or the reverse.
        bail!(
            "--fresh deletes only data of servers started here, and DATABASE_URL or TEMPORAL_ADDRESS is set"
        );
    }
    let postgres = postgres_data()?;
    let temporal = temporal_file();
    let journals =
        ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", temporal.display())));
    for file in journals.into_iter().filter(|file| file.exists()) {
        fs::remove_file(&file).with_context(|| format!("could not delete {}", file.display()))?;
    }
    if postgres.exists() {
        fs::remove_dir_all(&postgres)
            .with_context(|| format!("could not delete {}", postgres.display()))?;
    }
    println!("deleted the data of earlier runs");
    Ok(())
}

/// An empty log.
pub(crate) fn fresh_log(logs: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let log = logs.join(format!("{name}.log"));
    File::create(&log).with_context(|| format!("could not write {}", log.display()))?;
    Ok(log)
}

/// Two stacks on one set of data would ruin it.
pub(crate) fn lock(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join("dev.lock");
    let file = File::create(&path).with_context(|| format!("could not open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another `cargo xtask dev` runs on {}: stop it, or set DEVSTACK_DIR to another folder",
            directory.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

/// A secret of this stack, such as what signs its customers' tokens: made once, so that a token outlives a
/// restart.
pub(crate) fn secret(directory: &Path, name: &str) -> anyhow::Result<String> {
    let path = directory.join(name);
    let unusable = || format!("could not use {}", path.display());
    if let Ok(secret) = fs::read_to_string(&path)
        && secret.trim().len() == 2 * SECRET_BYTES
    {
        return Ok(secret.trim().to_owned());
    }
    let mut bytes = [0; SECRET_BYTES];
    let mut random = File::open("/dev/urandom").context("could not open /dev/urandom")?;
    random.read_exact(&mut bytes).context("could not read /dev/urandom")?;
    let mut secret = String::new();
    for byte in bytes {
        write!(secret, "{byte:02x}").expect("a string takes everything");
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(unusable)?;
    file.write_all(secret.as_bytes()).with_context(unusable)?;
    Ok(secret)
}
