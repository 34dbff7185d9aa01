//! What a run has running: its own servers on free ports, with data of its own on the disk that
//! `cargo xtask dev` uses, and the shop's programs. All of it is gone when this is dropped.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use devstack::{
    Durability, Postgres, PostgresOptions, Program, Supervised, Temporal, TemporalOptions,
    ports::free,
};
use serde_json::json;
use sqlx::PgPool;
use store::inventory::{self, Receipt};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{load::Door, processes::Roots};

pub(crate) const SHOP_DATABASE: &str = "holdfast";
pub(crate) const PAYSIM_DATABASE: &str = "paysim";
/// The one thing that everybody buys.
pub(crate) const SKU: &str = "BENCH-1";
/// More than any run can sell.
const STOCK: i64 = 100_000_000;
const PRICE_MINOR: i64 = 1999;

const READY_LIMIT: Duration = Duration::from_secs(60);
const READY_EVERY: Duration = Duration::from_millis(50);
/// Longer than a checkout is waited for.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Stack {
    // Dropped from top to bottom: those who use something before what they use.
    api: Supervised,
    shop_workers: Vec<Supervised>,
    bare_workers: Vec<Supervised>,
    paysim: Supervised,
    temporal: Temporal,
    postgres: Postgres,
    site: Site,
    pub(crate) shop_db: PgPool,
    pub(crate) paysim_db: PgPool,
    pub(crate) door: Door,
}

impl Stack {
    /// Everything but the workers, and a SKU with plenty of stock.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = Folder::make()?;
        let log = |name: &str| Some(folder.0.join(format!("{name}.log")));
        let postgres = Postgres::start(PostgresOptions {
            data_directory: Some(folder.0.join("postgres")),
            durability: Durability::PowerLoss,
            log: log("postgres"),
            ..PostgresOptions::default()
        })
        .await?;
        let shop_database_url = postgres.ensure_database(SHOP_DATABASE).await?;
        let paysim_database_url = postgres.ensure_database(PAYSIM_DATABASE).await?;
        let temporal = Temporal::start(TemporalOptions {
            database_file: Some(folder.0.join("temporal.db")),
            log: log("temporal"),
            ..TemporalOptions::default()
        })
        .await?;
        let shop_db = store::connect(&shop_database_url, 2)?;
        store::MIGRATOR.run(&shop_db).await.context("the schema cannot be made")?;
        stock(&shop_db, SKU, STOCK).await?;

        let [paysim_port, api_port] = [free()?, free()?];
        let site = Site {
            programs: programs()?,
            temporal_address: temporal.address(),
            paysim_url: format!("http://127.0.0.1:{paysim_port}"),
            shop_database_url,
            folder,
        };
        let door = Door {
            http: reqwest::Client::builder().timeout(REQUEST_LIMIT).build()?,
            api_url: format!("http://127.0.0.1:{api_port}"),
        };
        let paysim = Supervised::start(
            site.program("paysim", "paysim")
                .env("PAYSIM_DATABASE_URL", &paysim_database_url)
                .env("PAYSIM_LISTEN", format!("127.0.0.1:{paysim_port}")),
        )?;
        ready(&paysim, &door.http, &site.paysim_url).await?;
        let api = Supervised::start(
            site.program("api", "api").env("API_LISTEN", format!("127.0.0.1:{api_port}")).env(
                "JWT_SECRET",
                format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
            ),
        )?;
        ready(&api, &door.http, &door.api_url).await?;
        let paysim_db = store::connect(&paysim_database_url, 2)?;
        Ok(Self {
            api,
            shop_workers: Vec::new(),
            bare_workers: Vec::new(),
            paysim,
            temporal,
            postgres,
            site,
            shop_db,
            paysim_db,
            door,
        })
    }

    /// Starts workers of both kinds until there are so many of each.
    pub(crate) async fn grow(&mut self, workers: u16) -> anyhow::Result<()> {
        while self.shop_workers.len() < usize::from(workers) {
            let number = self.shop_workers.len() + 1;
            let [shop_port, bare_port] = [free()?, free()?];
            let shop = Supervised::start(
                self.site
                    .program("worker", &format!("worker-{number}"))
                    .arg("run")
                    .env("PAYMENTS_URL", &self.site.paysim_url)
                    .env("PAYMENTS_API_KEY", "sk_test_bench")
                    .env("HEALTH_LISTEN", format!("127.0.0.1:{shop_port}")),
            )?;
            ready(&shop, &self.door.http, &format!("http://127.0.0.1:{shop_port}")).await?;
            self.shop_workers.push(shop);
            let bare = Supervised::start(
                self.site.program("bench", &format!("bare-worker-{number}")).args([
                    "bare-worker",
                    "--ready-listen",
                    &format!("127.0.0.1:{bare_port}"),
                ]),
            )?;
            listening(&bare, bare_port).await?;
            self.bare_workers.push(bare);
        }
        Ok(())
    }

    pub(crate) fn roots(&self) -> Roots {
        let pids = |workers: &[Supervised]| workers.iter().map(Supervised::pid).collect();
        Roots {
            api: self.api.pid(),
            shop_workers: pids(&self.shop_workers),
            bare_workers: pids(&self.bare_workers),
            postgres: self.postgres.process().pid(),
            temporal: self.temporal.process().pid(),
            paysim: self.paysim.pid(),
        }
    }

    pub(crate) fn temporal(&self) -> &Temporal {
        &self.temporal
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.site.folder.0
    }

    /// In order, so that nobody complains about a neighbour that is gone.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.shop_db.close().await;
        self.paysim_db.close().await;
        let workers = self.shop_workers.iter().chain(&self.bare_workers);
        for process in [&self.api].into_iter().chain(workers).chain([&self.paysim]) {
            process.terminate(STOP_LIMIT).await?;
        }
        self.temporal.stop().await?;
        Ok(self.postgres.stop().await?)
    }
}

/// What the programs are told, and where they lie.
struct Site {
    programs: PathBuf,
    shop_database_url: String,
    temporal_address: String,
    paysim_url: String,
    folder: Folder,
}

impl Site {
    fn program(&self, program: &str, name: &str) -> Program {
        Program::new(name, self.programs.join(program))
            .env("DATABASE_URL", &self.shop_database_url)
            .env("TEMPORAL_ADDRESS", &self.temporal_address)
            .env("TEMPORAL_NAMESPACE", "default")
            .env("RUST_LOG", "info,temporalio_sdk_core=warn,sqlx=warn")
            .log(self.folder.0.join(format!("{name}.log")))
    }
}

/// The data and logs of one run, removed with this value.
struct Folder(PathBuf);

impl Folder {
    /// Named after this process. Those of processes that were killed are removed on the way.
    fn make() -> anyhow::Result<Self> {
        const PREFIX: &str = "bench-";
        let data = devstack::data_directory()?;
        for entry in fs::read_dir(&data)?.flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                // Whoever else is at it too may be quicker.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = data.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("could not make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The next run removes what this one could not.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The programs lie beside this one, built with the same settings.
fn programs() -> anyhow::Result<PathBuf> {
    let ourselves = env::current_exe().context("could not find this program")?;
    let folder = ourselves.parent().context("this program lies nowhere")?.to_owned();
    for name in ["api", "worker", "paysim", "bench"] {
        ensure!(folder.join(name).is_file(), "{name} is not built: run `cargo xtask bench`");
    }
    Ok(folder)
}

/// Puts so many of a new SKU on sale.
pub(crate) async fn stock(db: &PgPool, sku: &str, units: i64) -> anyhow::Result<()> {
    let products: Vec<store::catalog::Product> = serde_json::from_value(json!([{
        "id": sku.to_lowercase(), "title": "The one thing", "brand": "Bench", "category": "bench/things",
        "description": "A thing to measure with.", "attributes": {},
        "skus": [{ "sku": sku, "options": {}, "price_minor": PRICE_MINOR, "currency": "EUR" }],
    }]))?;
    let parsed = sku.parse().ok().context("no SKU")?;
    let mut tx = db.begin().await?;
    store::catalog::upsert(&mut tx, &products).await?;
    let receipt = Receipt {
        sku: &parsed,
        delta: units,
        reason: "opening stock",
        reference: sku,
        actor: "bench",
    };
    inventory::receive(&mut tx, receipt).await?;
    Ok(tx.commit().await?)
}

async fn ready(process: &Supervised, http: &reqwest::Client, url: &str) -> anyhow::Result<()> {
    let url = format!("{url}/readyz");
    until(process, async || {
        http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await
}

async fn listening(process: &Supervised, port: u16) -> anyhow::Result<()> {
    until(process, async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await
}

async fn until(process: &Supervised, ready: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        if let Some(status) = process.exited()? {
            return Err(process.ended_early(status).into());
        }
        if ready().await {
            return Ok(());
        }
        if began.elapsed() > READY_LIMIT {
            let log =
                process.log().and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
            bail!("{} was not ready after {} s: {log}", process.name(), READY_LIMIT.as_secs());
        }
        sleep(READY_EVERY).await;
    }
}
