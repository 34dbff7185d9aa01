//! The servers of one test process: started when first asked for, shared by its tests, each of which gets a database of
//! its own. What is in those databases is the caller's.

use std::{
    collections::BTreeMap,
    env,
    future::Future,
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::{runtime, sync::OnceCell, time};

use crate::{
    Durability, Error, Postgres, PostgresOptions, Result, Temporal, TemporalOptions,
    database::{connect, sibling_database},
};

/// Begins the name of every database made here; the second it was made at follows.
const PREFIX: &str = "holdfast_test_";

/// On a server that is not ours, databases of test processes which died are removed after this.
const STALE_AFTER: Duration = Duration::from_hours(2);

const DROP_LIMIT: Duration = Duration::from_secs(10);

/// Keep one in a `static`: it is never dropped there, and need not be, since the servers die with the process.
#[derive(Debug, Default)]
pub struct TestServers {
    namespaces: &'static [&'static str],
    search_attributes: &'static [(&'static str, &'static str)],
    postgres: OnceCell<TestPostgres>,
    temporal: OnceCell<TestTemporal>,
    templates: Mutex<BTreeMap<&'static str, Arc<OnceCell<String>>>>,
}

impl TestServers {
    pub const fn new() -> Self {
        Self {
            namespaces: &[],
            search_attributes: &[],
            postgres: OnceCell::const_new(),
            temporal: OnceCell::const_new(),
            templates: Mutex::new(BTreeMap::new()),
        }
    }

    /// Namespaces beside `default` on the Temporal server we start.
    #[must_use]
    pub const fn namespaces(mut self, namespaces: &'static [&'static str]) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Search attributes, by name and type, on the Temporal server we start.
    #[must_use]
    pub const fn search_attributes(
        mut self,
        attributes: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.search_attributes = attributes;
        self
    }

    /// A new database: a copy of the template called `template`. The first caller in this process fills the template
    /// with `fill`, which gets the URL of an empty database and must have closed its sessions when it returns.
    pub async fn database<F, Fut, E>(&self, template: &'static str, fill: F) -> Result<TestDatabase>
    where
        F: FnOnce(String) -> Fut,
        Fut: Future<Output = std::result::Result<(), E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let server = self.postgres().await?;
        let cell = {
            let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(templates.entry(template).or_default())
        };
        let copied = cell.get_or_try_init(|| server.make_template(template, fill)).await?;
        server.create(template, Some(copied)).await
    }

    /// A new database with nothing in it.
    pub async fn empty_database(&self) -> Result<TestDatabase> {
        self.postgres().await?.create("empty", None).await
    }

    /// The Temporal server: `TEMPORAL_ADDRESS`, or one of our own that keeps everything in memory.
    pub async fn temporal(&self) -> Result<&TestTemporal> {
        self.temporal.get_or_try_init(|| self.start_temporal()).await
    }

    async fn postgres(&self) -> Result<&TestPostgres> {
        self.postgres.get_or_try_init(TestPostgres::start).await
    }

    async fn start_temporal(&self) -> Result<TestTemporal> {
        if let Some(address) = variable("TEMPORAL_ADDRESS") {
            return Ok(TestTemporal { address, server: None });
        }
        let server = Temporal::start(TemporalOptions {
            namespaces: self.namespaces.iter().map(ToString::to_string).collect(),
            search_attributes: self
                .search_attributes
                .iter()
                .map(|(name, kind)| (name.to_string(), kind.to_string()))
                .collect(),
            ..TemporalOptions::default()
        })
        .await?;
        Ok(TestTemporal { address: server.address(), server: Some(server) })
    }
}

/// The Temporal server of a test process.
#[derive(Debug)]
pub struct TestTemporal {
    address: String,
    server: Option<Temporal>,
}

impl TestTemporal {
    /// As `TEMPORAL_ADDRESS` wants it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The server, when it is ours.
    pub fn server(&self) -> Option<&Temporal> {
        self.server.as_ref()
    }
}

/// A database of one test, dropped with this value, also when the test panics and sessions are still open.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    admin_url: String,
}

impl TestDatabase {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop_it = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        let admin_url = self.admin_url.clone();
        // On a thread of its own, because we may stand on a runtime's, which must not be blocked on.
        let dropping = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let _ =
                    time::timeout(DROP_LIMIT, run(&admin_url, "drop a database", drop_it)).await;
            });
            std::io::Result::Ok(())
        });
        // A leftover on our own server goes with it, and one elsewhere is swept by a later run.
        let _ = dropping.join();
    }
}

#[derive(Debug)]
struct TestPostgres {
    admin_url: String,
    _server: Option<Postgres>,
}

impl TestPostgres {
    async fn start() -> Result<Self> {
        if let Some(admin_url) = variable("DATABASE_URL") {
            sweep(&admin_url).await?;
            return Ok(Self { admin_url, _server: None });
        }
        let server = Postgres::start(PostgresOptions {
            durability: Durability::ProcessDeath,
            ..PostgresOptions::default()
        })
        .await?;
        Ok(Self { admin_url: server.url(), _server: Some(server) })
    }

    async fn make_template<F, Fut, E>(&self, template: &'static str, fill: F) -> Result<String>
    where
        F: FnOnce(String) -> Fut,
        Fut: Future<Output = std::result::Result<(), E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let database = self.create(template, None).await?;
        fill(database.url.clone())
            .await
            .map_err(|error| Error::Template { template, source: error.into() })?;
        // A forgotten session would make every copy fail, and a later one would change the template.
        let close = format!(
            "ALTER DATABASE \"{0}\" ALLOW_CONNECTIONS false; \
             SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{0}'",
            database.name
        );
        run(&self.admin_url, "close the template database", close).await?;
        let name = database.name.clone();
        // It stays as long as the server.
        std::mem::forget(database);
        Ok(name)
    }

    async fn create(&self, label: &str, template: Option<&String>) -> Result<TestDatabase> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);

        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}_{}_{counter}_{label}", unix_seconds(), process::id());
        let create = match template {
            Some(template) => format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\""),
            None => format!("CREATE DATABASE \"{name}\""),
        };
        run(&self.admin_url, "create a test database", create).await?;
        Ok(TestDatabase {
            url: sibling_database(&self.admin_url, &name)?,
            admin_url: self.admin_url.clone(),
            name,
        })
    }
}

/// Removes what test processes that were killed have left on a server that outlives them.
async fn sweep(admin_url: &str) -> Result<()> {
    let doing = "remove old test databases";
    let failed = |source| Error::Sql { doing: doing.into(), source };
    let mut connection = connect(admin_url, doing).await?;
    let rows = connection
        .fetch_all("SELECT datname FROM pg_database WHERE datname LIKE 'holdfast\\_test\\_%'")
        .await
        .map_err(failed)?;
    let oldest = unix_seconds().saturating_sub(STALE_AFTER.as_secs());
    for row in rows {
        let name: String = row.try_get(0).map_err(failed)?;
        let made = name
            .trim_start_matches(PREFIX)
            .split('_')
            .next()
            .and_then(|seconds| seconds.parse::<u64>().ok());
        if made.is_some_and(|made| made < oldest) {
            // Fails while somebody uses it, which is right; and two sweepers may meet.
            let _ = execute(&mut connection, format!("DROP DATABASE IF EXISTS \"{name}\"")).await;
        }
    }
    let _ = connection.close().await;
    Ok(())
}

async fn run(url: &str, doing: &str, statement: String) -> Result<()> {
    let mut connection = connect(url, doing).await?;
    execute(&mut connection, statement)
        .await
        .map_err(|source| Error::Sql { doing: doing.to_owned(), source })?;
    let _ = connection.close().await;
    Ok(())
}

/// Names cannot be parameters in these statements; all of them are made up here, of letters, digits and underscores.
async fn execute(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.map(drop)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn unix_seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
