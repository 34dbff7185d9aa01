//! Opening the database: creating it when it is missing, migrating it, sizing the pool.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::{
    ConnectOptions as _, Postgres,
    migrate::MigrateDatabase as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::log::LevelFilter;

use super::Store;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const INVALID_CATALOG_NAME: &str = "3D000";

pub(crate) async fn connect(database_url: &str, connections_max: u32) -> anyhow::Result<Store> {
    let options: PgConnectOptions = database_url
        .parse()
        .context("the database URL is not of the form postgres://user@host:port/name")?;
    let options = options.application_name("paysim").log_statements(LevelFilter::Off);
    create_when_missing(database_url, &options).await?;
    let pool = PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The check is a round trip on every request; a connection that died in the pool costs its
        // finder one 500 instead, which clients of a card network must bear anyway.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .context("no connection to the database")?;
    sqlx::migrate!("./migrations")
        .run(&pool)
        .await
        .context("the migrations of the payment network's database failed")?;
    Ok(Store { pool })
}

async fn create_when_missing(database_url: &str, options: &PgConnectOptions) -> anyhow::Result<()> {
    let missing = match options.connect().await {
        Ok(connection) => {
            sqlx::Connection::close(connection).await?;
            false
        }
        Err(sqlx::Error::Database(error))
            if error.code().as_deref() == Some(INVALID_CATALOG_NAME) =>
        {
            true
        }
        Err(error) => return Err(error).context("no connection to the database server"),
    };
    if missing && let Err(error) = Postgres::create_database(database_url).await {
        // Another process may have been quicker, which is as good.
        let exists = Postgres::database_exists(database_url).await.unwrap_or(false);
        if !exists {
            return Err(error).context("the database does not exist and could not be created");
        }
    }
    Ok(())
}
