//! All the SQL of the shop. One file per table family; no policy, no HTTP, no engine.
//!
//! Every function takes a connection, so its caller decides what is one transaction. Only the stock
//! knows its databases itself: its queues make one transaction of many callers' wishes, and who asks
//! for a SKU need not know where it is kept. Invariants
//! stand in the schema first; what is here maps a violated constraint to an answer where it is one.
//! Locks are taken in one order everywhere: checkout, cart, order, parcel, payment, reservation,
//! then inventory rows by SKU.
#![warn(missing_docs)]

pub mod carrier;
pub mod cart;
pub mod case;
pub mod catalog;
pub mod checkout;
pub mod delivery;
pub mod inbox;
pub mod inventory;
pub mod law;
pub mod order;
pub mod outbox;
pub mod payment;
pub mod reconciliation;
pub mod refund;
pub mod resolution;
pub mod restock;
pub mod shipment;
pub mod timeline;
pub mod webhook_endpoint;

use sqlx::{migrate::Migrator, postgres::PgPoolOptions};

pub use sqlx::{PgConnection, PgPool};

/// A connection that goes back to those who share it.
pub type PoolConnection = sqlx::pool::PoolConnection<sqlx::Postgres>;

/// A place in a list that is sorted by time and id: that of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The entry's time.
    pub at: chrono::DateTime<chrono::Utc>,
    /// Its id.
    pub id: uuid::Uuid,
}

/// The schema's migrations, in order.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// How long a request waits for a free connection before it is told that the store is busy.
const ACQUIRE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// What can go wrong between the shop and its database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused, failed or could not be reached.
    #[error("the database did not do as asked")]
    Database(#[from] sqlx::Error),
    /// A row holds what the code cannot read.
    #[error("column {column} of table {table} holds what it never should")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// Too many wait before this request; it was not taken on.
    #[error("too many wait for the stock")]
    Busy,
    /// The stock's database did not answer in time; whether it did as asked is not known.
    #[error("the stock cannot be booked now: {0}")]
    Unavailable(String),
    /// A statement touched another number of rows than its invariant allows, or was asked of
    /// something that is in no state to do it.
    #[error("{0}")]
    Broken(String),
}

impl Error {
    pub(crate) const fn corrupt(table: &'static str, column: &'static str) -> Self {
        Self::Corrupt { table, column }
    }

    /// Whether trying the same thing again may help.
    pub fn transient(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                // Constraint violations (class 23) and mistakes in SQL or data (22, 42) repeat.
                error
                    .code()
                    .is_none_or(|code| !["22", "23", "42"].contains(&&code[..2.min(code.len())]))
            }
            Self::Database(
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::RowNotFound,
            )
            | Self::Corrupt { .. }
            | Self::Broken(_) => false,
            Self::Database(_) | Self::Busy | Self::Unavailable(_) => true,
        }
    }
}

/// An error and what is below it, where it is told in words: many callers may share one error.
fn said(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Connects lazily: the database may come up after the process.
pub fn connect(database_url: &str, connections_max: u32) -> Result<PgPool, Error> {
    Ok(PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The ping before every use costs a round trip; a dead connection is an error that is retried.
        .test_before_acquire(false)
        .connect_lazy(database_url)?)
}
