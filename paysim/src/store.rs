//! All SQL of the network. Queries are checked at run time, not against the repository's offline
//! data: this is a test tool with a schema of its own, and it must not make the shop's build depend
//! on a second database. No rule of payments stands here; statements store what was decided.

mod connect;
mod deliveries;
mod delivery_control;
mod events;
mod intents;
mod keys;
mod ledger;
mod page;
mod refunds;

use sqlx::PgPool;

pub(crate) use self::{
    connect::connect,
    deliveries::Due,
    delivery_control::DeliveryFilter,
    events::EventRow,
    intents::Loaded,
    keys::{KeyRow, StoredAnswer},
    ledger::Filter,
    page::Page,
    refunds::RefundFilter,
};

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("{table}.{column} holds a value the code does not know")]
    Corrupt { table: &'static str, column: &'static str },
}

/// The network's database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: PgPool,
}

impl Store {
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
