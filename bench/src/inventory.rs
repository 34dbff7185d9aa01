//! The stock alone: how many reservations a second one database takes, as plain transactions, as bare
//! updates of one row, and through the shop's queues. The ways are measured in turns, on fresh SKUs, and
//! afterwards every unit is counted.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use devstack::{Postgres, PostgresOptions};
use domain::{CheckoutId, Sku, StockLine};
use fastrand::Rng;
use serde::Serialize;
use sqlx::PgPool;
use store::{
    inventory::{self, Inventory, Places, Receipt, Reserved, Resolution, Served, Shards},
    law,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    Done, Tell,
    cells::{count, median, percentile},
    machine::Machine,
};

/// As many as the shop's programs use at most, and enough to keep a row busy.
const CONNECTIONS: u32 = 32;
const HOLD_MS: u64 = 900_000;
const STOCK: i64 = 1_000_000_000;
/// How many SKUs there are beside the hot ones.
const SKUS: usize = 10_000;
const LINES_MAX: usize = 5;
/// Of a hundred holds, how many are sold in a full life.
const SOLD_PERCENT: u8 = 80;

/// How much to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How many buyers want the one hot SKU at the same time
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,128,512", value_parser = clap::value_parser!(u16).range(1..=2048))]
    buyers: Vec<u16>,
    /// How many buyers want 1 to 5 of many SKUs, some of them popular
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=2048))]
    spread_buyers: u16,
    /// How often each cell is measured; medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=50))]
    rounds: u16,
    /// How long each cell takes, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    cell_ms: u64,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// What buyers want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Scene {
    /// One unit of the same SKU, each.
    Hot { buyers: u16 },
    /// 1 to 5 of 10,000 SKUs, by Zipf's law.
    Spread { buyers: u16 },
    /// One unit of the same SKU, and then it is sold or given back.
    Life { buyers: u16 },
}

impl Scene {
    fn buyers(self) -> u16 {
        match self {
            Self::Hot { buyers } | Self::Spread { buyers } | Self::Life { buyers } => buyers,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hot { .. } => "hot SKU",
            Self::Spread { .. } => "10,000 SKUs, Zipf, 1–5 lines",
            Self::Life { .. } => "hot SKU, full life",
        }
    }

    fn ways(self) -> &'static [Way] {
        match self {
            Self::Hot { .. } => &[Way::Plain, Way::Raw, Way::Queued],
            Self::Spread { .. } | Self::Life { .. } => &[Way::Plain, Way::Queued],
        }
    }
}

/// How their wish gets to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// A transaction of its own: the conditional update of each line in SKU order, the reservation.
    Plain,
    /// The conditional update alone, of one row, remembering nothing.
    Raw,
    /// The shop's queues.
    Queued,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "(a) plain transaction",
            Self::Raw => "(b) bare update",
            Self::Queued => "(c) Holdfast",
        }
    }
}

#[derive(Debug, Clone, Serialize)]
struct Cell {
    scene: Scene,
    way: Way,
    round: u16,
    done: usize,
    per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Requests in one commit.
    batch: f64,
    /// How long a connection was taken for one request.
    connection_ms: f64,
}

/// Measures, and counts every unit afterwards.
pub(crate) async fn run(options: Options, tell: Tell) -> anyhow::Result<Done> {
    let began = Instant::now();
    tell("starting PostgreSQL");
    let folder = std::env::temp_dir().join(format!("holdfast-bench-{}", Uuid::new_v4()));
    let data_directory = Some(folder.join("data"));
    let postgres =
        Postgres::start(PostgresOptions { data_directory, ..PostgresOptions::default() }).await?;
    let database = postgres.ensure_database("shop").await?;
    let db = store::connect(&database, CONNECTIONS)?;
    store::MIGRATOR.run(&db).await?;
    let version = sqlx::query_scalar("SHOW server_version").fetch_one(&db).await?;
    let mut machine = Machine::look(&folder, std::path::Path::new("temporal"), version)?;
    let mut bench = Bench::open(db).await?;
    let mut scenes: Vec<Scene> =
        options.buyers.iter().map(|&buyers| Scene::Hot { buyers }).collect();
    scenes.push(Scene::Spread { buyers: options.spread_buyers });
    scenes.push(Scene::Life { buyers: 128 });
    let limit = Duration::from_millis(options.cell_ms);
    let mut cells = Vec::new();
    for round in 1..=options.rounds {
        for &scene in &scenes {
            let mut ways = scene.ways().to_vec();
            // What comes first finds another disk cache than what comes last.
            if round % 2 == 0 {
                ways.reverse();
            }
            for way in ways {
                let cell = bench.cell(scene, way, round, limit).await?;
                tell(&format!(
                    "round {round}, {}, {} buyers, {}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
                    scene.name(),
                    scene.buyers(),
                    way.name(),
                    cell.per_s,
                    cell.p50_ms,
                    cell.p99_ms,
                ));
                cells.push(cell);
            }
        }
    }
    tell("counting every unit");
    let faults = bench.count().await?;
    machine.finish(began.elapsed());
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&(&machine, &cells))?)
            .with_context(|| format!("could not write {}", file.display()))?;
    }
    let markdown = report(&options, &machine, &scenes, &cells, &bench, &faults);
    bench.db.close().await;
    postgres.stop().await?;
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("could not remove {}", folder.display()))?;
    Ok(Done::Measured { markdown, sound: faults.is_empty() })
}

struct Bench {
    db: PgPool,
    stock: Inventory,
    popularity: Popularity,
    /// Units taken and not given back, by what the buyers were told.
    taken: i64,
    /// Bare updates that said they took one.
    bare: i64,
    hot: usize,
}

impl Bench {
    async fn open(db: PgPool) -> anyhow::Result<Self> {
        sqlx::query(
            "INSERT INTO receipt (sku, delta, reason, reference) SELECT 'Z-' || n, $1, 'bench', 'Z-' || n
             FROM generate_series(0, $2) n",
        )
        .bind(STOCK)
        .bind(i64::try_from(SKUS)? - 1)
        .execute(&db)
        .await?;
        sqlx::query("INSERT INTO inventory (sku, received, available) SELECT sku, delta, delta FROM receipt")
            .execute(&db)
            .await?;
        sqlx::query("CREATE TABLE bare (sku text PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0)) WITH (fillfactor = 50)")
            .execute(&db)
            .await?;
        let stock = Inventory::new(Shards::one(db.clone()));
        Ok(Self { db, stock, popularity: Popularity::new(SKUS), taken: 0, bare: 0, hot: 0 })
    }

    async fn cell(
        &mut self,
        scene: Scene,
        way: Way,
        round: u16,
        limit: Duration,
    ) -> anyhow::Result<Cell> {
        self.hot += 1;
        let hot: Sku = format!("HOT-{}", self.hot).parse().ok().context("no SKU")?;
        let mut conn = self.db.acquire().await?;
        let receipt = Receipt {
            sku: &hot,
            delta: STOCK,
            reason: "bench",
            reference: hot.as_str(),
            actor: "bench",
        };
        inventory::receive(&mut conn, receipt).await?;
        sqlx::query("INSERT INTO bare VALUES ($1, $2)")
            .bind(hot.as_str())
            .bind(STOCK)
            .execute(&mut *conn)
            .await?;
        drop(conn);
        let cell = u64::try_from(self.hot)?;
        let before = (self.stock.reserved(), self.stock.resolved());
        let began = Instant::now();
        let mut crowd = JoinSet::new();
        for buyer in 0..scene.buyers() {
            let buyer = Buyer {
                db: self.db.clone(),
                stock: self.stock.clone(),
                here: self.stock.shards().only_place().context("one place")?,
                popularity: self.popularity.clone(),
                hot: hot.clone(),
                rng: Rng::with_seed(cell << 32 | u64::from(buyer)),
                scene,
                way,
            };
            crowd.spawn(buyer.shop(began + limit));
        }
        let (mut latencies, mut connection, mut units) = (Vec::new(), Duration::ZERO, 0);
        while let Some(shopped) = crowd.join_next().await {
            let shopped = shopped??;
            latencies.extend(shopped.latencies_ms);
            connection += shopped.connection;
            units += shopped.units;
        }
        let elapsed = began.elapsed().as_secs_f64();
        match way {
            Way::Raw => self.bare += units,
            Way::Plain | Way::Queued => self.taken += units,
        }
        let served = self.served_since(before);
        let done = latencies.len();
        ensure!(done > 0, "nobody was served");
        Ok(Cell {
            scene,
            way,
            round,
            done,
            per_s: count(done) / elapsed,
            p50_ms: percentile(&latencies, 50),
            p99_ms: percentile(&latencies, 99),
            batch: if way == Way::Queued { served.0 } else { 1.0 },
            connection_ms: if way == Way::Queued {
                served.1 / count(done)
            } else {
                connection.as_secs_f64() * 1000.0 / count(done)
            },
        })
    }

    /// The mean batch, and the milliseconds that the queues' connections worked.
    fn served_since(&self, before: (Served, Served)) -> (f64, f64) {
        let now = (self.stock.reserved(), self.stock.resolved());
        let sum = |of: fn(&Served) -> u64| {
            let total = of(&now.0) + of(&now.1) - of(&before.0) - of(&before.1);
            count(usize::try_from(total).unwrap_or(usize::MAX))
        };
        let (batches, requests, busy_us) =
            (sum(|s| s.batches), sum(|s| s.requests), sum(|s| s.busy_us));
        (requests / batches.max(1.0), busy_us / 1000.0)
    }

    /// What is wrong with the books, if anything is.
    async fn count(&self) -> anyhow::Result<Vec<String>> {
        let mut faults = Vec::new();
        let mut conn = self.db.acquire().await?;
        let broken_by = law::STOCK.broken_by(&mut conn).await?;
        if !broken_by.is_empty() {
            faults.push(format!("not so: {}: {}", law::STOCK.claim, broken_by.join(", ")));
        }
        let taken: i64 = sqlx::query_scalar("SELECT sum(reserved + sold)::bigint FROM inventory")
            .fetch_one(&mut *conn)
            .await?;
        if taken != self.taken {
            faults.push(format!("{taken} units are taken, and buyers were told of {}", self.taken));
        }
        let bare: i64 =
            sqlx::query_scalar("SELECT coalesce(sum($1 - available), 0)::bigint FROM bare")
                .bind(STOCK)
                .fetch_one(&mut *conn)
                .await?;
        if bare != self.bare {
            faults
                .push(format!("{bare} bare units are gone, and buyers were told of {}", self.bare));
        }
        Ok(faults)
    }
}

/// What one buyer did.
#[derive(Default)]
struct Shopped {
    latencies_ms: Vec<f64>,
    connection: Duration,
    /// Taken and not given back.
    units: i64,
}

struct Buyer {
    db: PgPool,
    stock: Inventory,
    /// The one place of the stock.
    here: Places,
    popularity: Popularity,
    hot: Sku,
    rng: Rng,
    scene: Scene,
    way: Way,
}

impl Buyer {
    /// Buys again and again, each time when the last is answered.
    async fn shop(mut self, deadline: Instant) -> anyhow::Result<Shopped> {
        let mut shopped = Shopped::default();
        while Instant::now() < deadline {
            let id = CheckoutId::from(Uuid::from_u128(self.rng.u128(..)));
            let lines = self.lines();
            let sold = self.rng.u8(..100) < SOLD_PERCENT;
            let units: i64 = lines.iter().map(|line| i64::from(line.quantity)).sum();
            let asked = Instant::now();
            match self.way {
                Way::Plain => shopped.connection += self.plain(id, &lines, sold).await?,
                Way::Raw => shopped.connection += self.raw().await?,
                Way::Queued => self.queued(id, lines, sold).await?,
            }
            shopped.latencies_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
            let kept = sold || !matches!(self.scene, Scene::Life { .. });
            shopped.units += if kept { units } else { 0 };
        }
        Ok(shopped)
    }

    fn lines(&mut self) -> Vec<StockLine> {
        let one = 1.try_into().expect("one is a quantity");
        let Scene::Spread { .. } = self.scene else {
            return vec![StockLine { sku: self.hot.clone(), quantity: one }];
        };
        let mut lines = BTreeMap::new();
        for _ in 0..self.rng.usize(1..=LINES_MAX) {
            let sku: Sku =
                format!("Z-{}", self.popularity.pick(&mut self.rng)).parse().expect("a SKU");
            lines.insert(sku.clone(), StockLine { sku, quantity: one });
        }
        lines.into_values().collect()
    }

    /// How long it had a connection.
    async fn plain(
        &self,
        id: CheckoutId,
        lines: &[StockLine],
        sold: bool,
    ) -> anyhow::Result<Duration> {
        let mut conn = self.db.acquire().await?;
        let began = Instant::now();
        let mut tx = sqlx::Connection::begin(&mut *conn).await?;
        for line in lines {
            let done = sqlx::query(
                "UPDATE inventory SET available = available - $2, reserved = reserved + $2
                 WHERE sku = $1 AND available >= $2",
            )
            .bind(line.sku.as_str())
            .bind(i64::from(line.quantity))
            .execute(&mut *tx)
            .await?;
            ensure!(done.rows_affected() == 1, "sold out");
        }
        let skus: Vec<String> = lines.iter().map(|line| line.sku.to_string()).collect();
        let quantities: Vec<i64> = lines.iter().map(|line| line.quantity.into()).collect();
        sqlx::query(
            "INSERT INTO reservation (checkout_id, state, skus, quantities, expires_at)
             VALUES ($1, 'held', $2, $3, now() + interval '15 minutes')",
        )
        .bind(id.uuid())
        .bind(&skus)
        .bind(&quantities)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        if let Scene::Life { .. } = self.scene {
            let mut tx = sqlx::Connection::begin(&mut *conn).await?;
            sqlx::query("UPDATE reservation SET state = $2, resolved_at = now() WHERE checkout_id = $1 AND state = 'held'")
                .bind(id.uuid())
                .bind(if sold { "committed" } else { "released" })
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "UPDATE inventory SET reserved = reserved - 1,
                    sold = sold + CASE WHEN $2 THEN 1 ELSE 0 END, available = available + CASE WHEN $2 THEN 0 ELSE 1 END
                 WHERE sku = $1",
            )
            .bind(self.hot.as_str())
            .bind(sold)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
        }
        Ok(began.elapsed())
    }

    async fn raw(&self) -> anyhow::Result<Duration> {
        let mut conn = self.db.acquire().await?;
        let began = Instant::now();
        sqlx::query_scalar::<_, i64>(
            "UPDATE bare SET available = available - $2 WHERE sku = $1 AND available >= $2 RETURNING available",
        )
        .bind(self.hot.as_str())
        .bind(1_i64)
        .fetch_one(&mut *conn)
        .await?;
        Ok(began.elapsed())
    }

    async fn queued(
        &self,
        id: CheckoutId,
        lines: Vec<StockLine>,
        sold: bool,
    ) -> anyhow::Result<()> {
        let held = self.stock.reserve(id, lines, HOLD_MS).await?;
        ensure!(matches!(held, Reserved::Held { .. }), "sold out");
        if let Scene::Life { .. } = self.scene {
            if sold {
                self.stock.sell(id, &self.here).await?;
            } else {
                self.stock.give_back(id, &self.here, Resolution::Released).await?;
            }
        }
        Ok(())
    }
}

/// Zipf's law: the second is wanted half as often as the first, the third a third as often.
#[derive(Clone)]
struct Popularity(std::sync::Arc<[f64]>);

impl Popularity {
    fn new(skus: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=skus).map(|rank| {
            sum += 1.0 / count(rank);
            sum
        });
        Self(sums.collect())
    }

    fn pick(&self, rng: &mut Rng) -> usize {
        let total = self.0.last().copied().unwrap_or_default();
        let at = rng.f64() * total;
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1)
    }
}

fn report(
    options: &Options,
    machine: &Machine,
    scenes: &[Scene],
    cells: &[Cell],
    bench: &Bench,
    faults: &[String],
) -> String {
    let mut page = format!(
        "## What a reservation costs\n\n\
         {} CPUs ({}), {} GB, Linux {}; load {} before, {} after; {:.0} s in all.\n\
         PostgreSQL {} (fsync and synchronous_commit on); data on {}, 8 KiB durable in {:.2} ms; revision {}.\n\
         Cells of {} ms, {} rounds, in turns; medians. (a) and (b) share {CONNECTIONS} connections, (c) has two. The clients run \
         in the same machine.\n\n\
         | | buyers | | n | per s | × (a) | × (b) | p50 ms | p99 ms | batch | connection ms |\n\
         |---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        machine.cpus,
        machine.cpu_model,
        machine.memory_bytes / 1_000_000_000,
        machine.kernel,
        machine.load_before,
        machine.load_after,
        machine.duration_s,
        machine.postgres,
        machine.file_system,
        machine.sync_ms,
        machine.revision,
        options.cell_ms,
        options.rounds,
    );
    for &scene in scenes {
        let of = |way: Way| -> Vec<&Cell> {
            cells.iter().filter(|cell| (cell.scene, cell.way) == (scene, way)).collect()
        };
        let middle = |cells: &[&Cell], figure: fn(&Cell) -> f64| {
            median(&cells.iter().map(|cell| figure(cell)).collect::<Vec<_>>())
        };
        let ratio = |ours: &[&Cell], theirs: &[&Cell]| {
            let rounds = ours.iter().zip(theirs).map(|(ours, theirs)| ours.per_s / theirs.per_s);
            let ratios: Vec<f64> = rounds.collect();
            if ratios.is_empty() { String::new() } else { format!("{:.1}", median(&ratios)) }
        };
        for &way in scene.ways() {
            let ours = of(way);
            writeln!(
                page,
                "| {} | {} | {} | {} | {:.0} | {} | {} | {:.2} | {:.2} | {:.1} | {:.3} |",
                scene.name(),
                scene.buyers(),
                way.name(),
                ours.iter().map(|cell| cell.done).sum::<usize>(),
                middle(&ours, |cell| cell.per_s),
                ratio(&ours, &of(Way::Plain)),
                ratio(&ours, &of(Way::Raw)),
                middle(&ours, |cell| cell.p50_ms),
                middle(&ours, |cell| cell.p99_ms),
                middle(&ours, |cell| cell.batch),
                middle(&ours, |cell| cell.connection_ms),
            )
            .expect("a string takes everything");
        }
    }
    let mut last = |line: String| writeln!(page, "{line}").expect("a string takes everything");
    last(format!(
        "\n{} units taken and {} bare ones, as many as the buyers were told.",
        bench.taken, bench.bare
    ));
    for fault in faults {
        last(format!("**These figures are not to be trusted:** {fault}."));
    }
    page
}
