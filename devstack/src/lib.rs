//! Real servers for development and tests: Postgres 18 and Temporal's dev server, pinned, fetched once into
//! `.devstack/` at the workspace root, started on loopback and gone with the process that started them.
//! Nothing here knows the shop: no tables, no workflows, no names of its binaries.
//!
//! # In a test
//!
//! ```no_run
//! use devstack::TestServers;
//!
//! static SERVERS: TestServers = TestServers::new();
//!
//! # async fn migrate(_url: String) -> Result<(), std::io::Error> { Ok(()) }
//! # async fn example() -> Result<(), devstack::Error> {
//! // One database for this test: a copy of a template, which the function fills once per test process.
//! let database = SERVERS.database("shop", migrate).await?;
//! let _url = database.url(); // postgres://postgres@127.0.0.1:PORT/holdfast_test_...
//!
//! // One Temporal for the whole test process; give every test its own task queue or namespace.
//! let _address = SERVERS.temporal().await?.address(); // 127.0.0.1:PORT
//! # Ok(())
//! # }
//! ```
//!
//! Both servers start when first asked for. `DATABASE_URL` and `TEMPORAL_ADDRESS`, when set, are used instead, and
//! then nothing is fetched or started for that half. A [`TestDatabase`] is dropped with its handle; the templates on a
//! server of yours are dropped by the first run that is two hours younger.
//!
//! # One of our own binaries, killed at will
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use devstack::{Program, Supervised};
//!
//! # async fn example() -> Result<(), devstack::Error> {
//! let worker = Supervised::start(
//!     Program::new("worker", devstack::workspace_root().join("target/debug/worker"))
//!         .env("DATABASE_URL", "postgres://...")
//!         .log("/tmp/worker.log"),
//! )?;
//! let _pid = worker.pid(); // the real process, not a wrapper
//! worker.kill_now()?; // SIGKILL; the process is gone when this returns
//! let again = worker.restart()?; // the same program once more
//! again.terminate(Duration::from_secs(25)).await?; // SIGTERM, then SIGKILL after the grace period
//! # Ok(())
//! # }
//! ```
//!
//! # Death of the parent
//!
//! Whatever is started here dies when the process that started it dies, also by SIGKILL: see [`Supervised`].
//!
//! # As root
//!
//! Postgres refuses to run as root. It is then started as `nobody` (or the first account that works), which owns
//! the data directory. Where that account cannot reach `.devstack/` (a workspace under `/root`), the server's files and
//! data live in `/var/tmp/holdfast-devstack/` instead: see [`data_directory`].

mod account;
mod database;
mod error;
mod pip;
mod place;
pub mod ports;
mod postgres;
mod program;
mod supervised;
mod temporal;
mod test_servers;
pub mod tools;

pub use account::check_account;
pub use database::{create_database, sibling_database};
pub use error::Error;
pub use pip::check_pip;
pub use place::{data_directory, devstack_directory, disk_use, workspace_root};
pub use postgres::{Durability, Postgres, PostgresOptions};
pub use program::{Program, Signal};
pub use supervised::Supervised;
pub use temporal::{Temporal, TemporalOptions};
pub use test_servers::{TestDatabase, TestServers, TestTemporal};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
