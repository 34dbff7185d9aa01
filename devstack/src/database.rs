//! Sessions with any Postgres server, and the few statements on whole databases that need no knowledge of what is in them.

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions,
};
use url::Url;

use crate::{Error, Result};

/// Makes the database unless it exists. `url` leads to any database of that server.
pub async fn create_database(url: &str, database: &str) -> Result<()> {
    let doing = || format!("create the database {database}");
    let mut connection = connect(url, &doing()).await?;
    // The name cannot be a parameter here, and comes from our own code.
    let created =
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE \"{database}\""))).await;
    match created {
        Ok(_) => {}
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => {}
        Err(source) => {
            return Err(Error::Sql { doing: doing(), source });
        }
    }
    let _ = connection.close().await;
    Ok(())
}

/// The URL of another database on the server that `url` leads to.
pub fn sibling_database(url: &str, database: &str) -> Result<String> {
    let mut url = Url::parse(url).map_err(|_| {
        Error::Missing(
            "the URL of the database is not of the form postgres://user@host:port/database".into(),
        )
    })?;
    url.set_path(database);
    Ok(url.into())
}

/// One session, quiet about its statements.
pub(crate) async fn connect(url: &str, doing: &str) -> Result<PgConnection> {
    let failed = |source| Error::Sql { doing: doing.to_owned(), source };
    let options: PgConnectOptions = url.parse().map_err(failed)?;
    options.disable_statement_logging().connect().await.map_err(failed)
}
