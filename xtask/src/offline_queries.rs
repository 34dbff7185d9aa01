//! `cargo xtask sqlx`: what the database says about each query in `store`, saved in `.sqlx`, so that a build without a
//! database can check them. Done by the compiler itself against a scratch database with the migrations applied.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, bail};
use devstack::{TestServers, workspace_root};
use sqlx::{Connection, PgConnection, migrate::Migrator};

use crate::{cargo, ports::OwnServers, tests::fetch};

static SERVERS: TestServers = TestServers::new();

pub(crate) async fn run(check: bool) -> anyhow::Result<ExitCode> {
    let own = OwnServers::from_environment();
    fetch(&OwnServers { temporal_address: Some(String::new()), ..own }).await?;
    let database = SERVERS.empty_database().await?;
    migrate(database.url()).await?;

    let fresh = cargo::target_directory()?.join("sqlx-offline");
    empty(&fresh)?;
    prepare(database.url(), &fresh).await?;
    let committed = workspace_root().join(".sqlx");
    if check {
        return compare(&contents(&committed)?, &contents(&fresh)?);
    }
    empty(&committed)?;
    let queries = contents(&fresh)?;
    for (name, content) in &queries {
        let file = committed.join(name);
        fs::write(&file, content).with_context(|| format!("could not write {}", file.display()))?;
    }
    println!(".sqlx holds {} queries", queries.len());
    Ok(ExitCode::SUCCESS)
}

async fn migrate(url: &str) -> anyhow::Result<()> {
    let migrations = workspace_root().join("migrations");
    let migrator = Migrator::new(migrations).await.context("could not read the migrations")?;
    let mut connection = PgConnection::connect(url).await?;
    migrator.run(&mut connection).await.context("could not apply the migrations")?;
    connection.close().await?;
    Ok(())
}

/// The query macros save what they learn from a live database. They run only when the crate is compiled anew, hence the
/// touch.
async fn prepare(url: &str, directory: &Path) -> anyhow::Result<()> {
    let root = workspace_root().join("store/src/lib.rs");
    File::options()
        .append(true)
        .open(&root)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("could not touch {}", root.display()))?;
    let check = cargo::command(&["check", "--package", "store", "--all-targets"])
        .inherit_output()
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", directory)
        .env("DATABASE_URL", url);
    if !cargo::run(check).await?.success() {
        bail!("the queries could not be checked: what cargo said is above");
    }
    Ok(())
}

fn compare(
    committed: &BTreeMap<String, Vec<u8>>,
    fresh: &BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<ExitCode> {
    if committed == fresh {
        println!(".sqlx is up to date: {} queries", fresh.len());
        return Ok(ExitCode::SUCCESS);
    }
    let missing = fresh.keys().filter(|name| !committed.contains_key(*name)).count();
    let unused = committed.keys().filter(|name| !fresh.contains_key(*name)).count();
    let changed = fresh
        .iter()
        .filter(|(name, content)| committed.get(*name).is_some_and(|old| old != *content))
        .count();
    bail!(
        ".sqlx is out of date ({missing} queries missing, {changed} changed, {unused} no longer used): \
         run `cargo xtask sqlx` and commit .sqlx"
    )
}

/// By file name; a directory that is not there holds nothing.
fn contents(directory: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut contents = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(contents);
    };
    for entry in entries {
        let path = entry?.path();
        let content =
            fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let name = path.file_name().expect("an entry of a directory has a name");
        contents.insert(name.to_string_lossy().into_owned(), content);
    }
    Ok(contents)
}

fn empty(directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("could not remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("could not make {}", directory.display()))
}
