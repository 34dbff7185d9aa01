//! A shop of one test: its processes, its database and its card network.

mod judge;
mod network;

use std::{path::PathBuf, sync::Mutex, time::Duration};

use devstack::{Program, Supervised, TestDatabase, TestServers, workspace_root};
use reqwest::Client;
use serde_json::json;
use sqlx::PgPool;
use store::inventory::Shards;
use temporalio_client::{ClientOptions, Connection, ConnectionOptions};
use uuid::Uuid;

pub use self::{
    judge::{Arrival, Payment},
    network::{event, refund_event, signature},
};
use crate::{Customer, PATIENCE, books::receive, eventually};

pub(crate) static SERVERS: TestServers = TestServers::new();

/// What signs the customers' tokens.
pub const JWT_SECRET: &str = "a secret of the tests, long enough for HS256";

/// What the card network signs its events with.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_tests_and_of_nobody_else";

/// What the carrier `dhl` signs with.
pub const CARRIER_SECRET: &str = "a-secret-of-the-carrier";

/// How a shop is set up.
#[derive(Debug, Clone)]
pub struct Spec {
    /// How many worker processes.
    pub workers: usize,
    /// How long stock is held for a customer who has not paid.
    pub hold: Duration,
    /// How long a hold lasts at least once a payment has begun.
    pub payment_window: Duration,
    /// How long a step may take before it needs attention.
    pub attention_after: Duration,
    /// How long until the bank is first asked whether its customer has confirmed.
    pub action_poll: Duration,
    /// How long an order may take to be shipped before people are told.
    pub ship_within: Duration,
    /// How long a parcel may take to arrive before people are told.
    pub deliver_within: Duration,
    /// How much one run of a fulfilment is told.
    pub fulfilment_events_per_run: u32,
    /// The databases that stock is split over; none to keep it in the shop's own.
    pub stock_urls: Vec<String>,
    /// What the workers are told beside that, by the names of their settings.
    pub worker_settings: Vec<(&'static str, String)>,
    /// What the card network is told beside that, as its command line has it.
    pub network_arguments: Vec<String>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            workers: 1,
            hold: Duration::from_secs(15 * 60),
            payment_window: Duration::from_secs(5 * 60),
            attention_after: Duration::from_secs(60),
            action_poll: Duration::from_millis(200),
            ship_within: Duration::from_secs(3 * 24 * 60 * 60),
            deliver_within: Duration::from_secs(14 * 24 * 60 * 60),
            fulfilment_events_per_run: 100,
            stock_urls: Vec::new(),
            worker_settings: Vec::new(),
            network_arguments: Vec::new(),
        }
    }
}

impl Spec {
    /// The durations that the API gives to each checkout.
    fn patience(&self, api: Program) -> Program {
        api.env("HOLD_MS", self.hold.as_millis().to_string())
            .env("PAYMENT_WINDOW_MS", self.payment_window.as_millis().to_string())
            .env("ATTENTION_AFTER_MS", self.attention_after.as_millis().to_string())
            .env("ACTION_POLL_MS", self.action_poll.as_millis().to_string())
    }

    /// How a worker sweeps and ships, and what else it is told.
    fn pace(&self, worker: Program) -> Program {
        let worker = worker
            .env("SWEEP_SLEEP_MAX_MS", self.hold.as_millis().to_string())
            .env("SHIP_WITHIN_MS", self.ship_within.as_millis().to_string())
            .env("DELIVER_WITHIN_MS", self.deliver_within.as_millis().to_string())
            .env("FULFILMENT_EVENTS_PER_RUN", self.fulfilment_events_per_run.to_string());
        let told = self.worker_settings.iter();
        told.fold(worker, |worker, (name, value)| worker.env(*name, value))
    }
}

/// A whole shop.
pub struct Shop {
    /// The shop's database, to set the stage and to look behind it.
    pub db: PgPool,
    /// Where its stock is, to look behind it.
    pub shards: Shards,
    /// An engine client in the shop's namespace.
    pub engine: temporalio_client::Client,
    /// Where the API answers.
    pub api_url: String,
    /// Where the card network answers.
    pub paysim_url: String,
    http: Client,
    workers: Mutex<Vec<Option<Supervised>>>,
    worker_programs: Vec<Program>,
    worker_urls: Vec<String>,
    paysim: Mutex<Option<Supervised>>,
    paysim_program: Program,
    api: Mutex<Option<Supervised>>,
    api_program: Program,
    logs: PathBuf,
    // Dropped last: a database goes away after those who use it.
    databases: [TestDatabase; 2],
}

impl Shop {
    /// A shop with one worker and the usual durations.
    pub async fn open() -> Self {
        Self::open_with(Spec::default()).await
    }

    /// A shop, ready to buy from, with nothing in stock.
    pub async fn open_with(spec: Spec) -> Self {
        let _already = rustls::crypto::ring::default_provider().install_default();
        let shop_database = SERVERS.database("shop", migrate).await.expect("a database");
        let paysim_database = SERVERS.empty_database().await.expect("a database");
        let temporal = SERVERS.temporal().await.expect("a Temporal server").address().to_owned();
        let namespace = format!("shop-{}", Uuid::new_v4().simple());
        let [api_port, paysim_port] = [free_port(), free_port()];
        let paysim_url = format!("http://127.0.0.1:{paysim_port}");
        let api_url = format!("http://127.0.0.1:{api_port}");

        let logs = log_folder(&namespace);
        let program = |name: &str| {
            Program::new(name, executable(name.split('-').next().expect("a name")))
                .env("DATABASE_URL", shop_database.url())
                .env("TEMPORAL_ADDRESS", &temporal)
                .env("TEMPORAL_NAMESPACE", &namespace)
                .env("INVENTORY_DATABASE_URLS", spec.stock_urls.join(","))
                .env("RUST_LOG", "info,temporalio_sdk_core=warn")
                .log(logs.join(format!("{name}.log")))
        };
        if !spec.stock_urls.is_empty() {
            let migrate = Supervised::start(program("worker-migrate").args(["migrate"]))
                .expect("a worker starts");
            let ended = migrate.wait_exit(PATIENCE).await.expect("an end");
            assert!(ended.success(), "{}", migrate.ended_early(ended));
        }
        let paysim_program = program("paysim")
            .env("PAYSIM_DATABASE_URL", paysim_database.url())
            .env("PAYSIM_LISTEN", format!("127.0.0.1:{paysim_port}"))
            .env("PAYSIM_WEBHOOK_URL", format!("{api_url}/v1/webhooks/stripe"))
            .env("PAYSIM_WEBHOOK_SECRET", WEBHOOK_SECRET)
            // The last word on a refund is the test's.
            .args(["--refund-settle-ms", "3600000"])
            .args(&spec.network_arguments);
        let paysim = Supervised::start(paysim_program.clone()).expect("paysim starts");
        let health: Vec<u16> = (0..spec.workers).map(|_| free_port()).collect();
        let worker_programs: Vec<Program> = health
            .iter()
            .enumerate()
            .map(|(number, port)| {
                let worker = program(&format!("worker-{number}"))
                    .env("PAYMENTS_URL", &paysim_url)
                    .env("PAYMENTS_API_KEY", "sk_test_of_the_tests")
                    .env("PAYMENTS_RETURN_URL", format!("{api_url}/v1/payments/return"))
                    .env("HEALTH_LISTEN", format!("127.0.0.1:{port}"));
                spec.pace(worker)
            })
            .collect();
        let http = Client::builder().timeout(Duration::from_secs(60)).build().expect("a client");
        ready(&http, &paysim_url).await;
        let workers = worker_programs
            .iter()
            .map(|program| Some(Supervised::start(program.clone()).expect("a worker starts")))
            .collect();
        let worker_urls: Vec<String> =
            health.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        for url in &worker_urls {
            ready(&http, url).await;
        }
        let api_program = program("api")
            .env("API_LISTEN", format!("127.0.0.1:{api_port}"))
            .env("JWT_SECRET", JWT_SECRET)
            .env("CARRIER_WEBHOOK_SECRETS", format!("dhl:{CARRIER_SECRET}"))
            .env(
                "PAYMENTS_WEBHOOK_SECRETS",
                format!("whsec_that_is_on_its_way_out,{WEBHOOK_SECRET}"),
            );
        let api_program = spec.patience(api_program);
        let api = Supervised::start(api_program.clone()).expect("the API starts");
        ready(&http, &api_url).await;

        let target = format!("http://{temporal}").parse::<url::Url>().expect("an address");
        let connection = Connection::connect(ConnectionOptions::new(target).build())
            .await
            .expect("a connection");
        let engine =
            temporalio_client::Client::new(connection, ClientOptions::new(namespace).build())
                .expect("an engine client");
        let db = store::connect(&named(shop_database.url()), 5).expect("a pool");
        let stock_urls = spec.stock_urls.join(",").parse().expect("addresses");
        Self {
            shards: Shards::open(&db, &stock_urls, 5).expect("pools"),
            db,
            engine,
            api_url,
            paysim_url,
            http,
            workers: Mutex::new(workers),
            worker_programs,
            worker_urls,
            paysim: Mutex::new(Some(paysim)),
            paysim_program,
            api: Mutex::new(Some(api)),
            api_program,
            logs,
            databases: [shop_database, paysim_database],
        }
    }

    /// Puts a SKU on sale at a price, with so many in stock.
    pub async fn stock(&self, sku: &str, quantity: i64, price_minor: i64) {
        let mut tx = self.db.begin().await.expect("a transaction");
        let product = serde_json::from_value(json!([{
            "id": sku.to_lowercase(), "title": format!("Test {sku}"), "brand": "Testwood",
            "category": "test/things", "description": "A thing to test with.", "attributes": {},
            "skus": [{"sku": sku, "options": {}, "price_minor": price_minor, "currency": "EUR"}],
        }]))
        .expect("a product");
        store::catalog::upsert(&mut tx, &Vec::from_iter::<Vec<_>>(product))
            .await
            .expect("a product");
        tx.commit().await.expect("a commit");
        if quantity > 0 {
            receive(&self.shards, &sku.parse().expect("a SKU"), quantity).await;
        }
    }

    /// Takes a SKU off sale.
    pub async fn withdraw(&self, sku: &str) {
        let done = sqlx::query("UPDATE sku SET on_sale = false WHERE sku = $1")
            .bind(sku)
            .execute(&self.db)
            .await;
        assert_eq!(done.expect("an update").rows_affected(), 1, "{sku}");
    }

    /// A new guest of the shop.
    pub async fn customer(&self) -> Customer {
        Customer::arrive(self.http.clone(), &self.api_url).await
    }

    /// Somebody whom the shop does not know yet.
    pub fn visitor(&self) -> Customer {
        Customer::unknown(self.http.clone(), &self.api_url)
    }

    /// Where one of its processes writes what it has to say.
    pub fn log(&self, process: &str) -> PathBuf {
        self.logs.join(format!("{process}.log"))
    }

    /// One who runs the shop, with a token as the API's own program makes them.
    pub async fn operator(&self, name: &str) -> Customer {
        let made = tokio::process::Command::new(executable("api"))
            .args(["--operator-token", name])
            .env("JWT_SECRET", JWT_SECRET)
            .output()
            .await
            .expect("the API's program runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let token = String::from_utf8(made.stdout).expect("a token");
        self.customer().await.bearing(token.trim())
    }

    /// Arms a fault of the card network for the next request of that kind.
    pub async fn fault(&self, operation: &str, kind: &str, delay: Duration) {
        let fault = json!({
            "operation": operation, "kind": kind, "delay_ms": u64::try_from(delay.as_millis()).expect("short"), "times": 1,
        });
        let answer = self
            .http
            .post(format!("{}/faults", self.paysim_url))
            .json(&fault)
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    /// Answers on the bank's page that a customer was sent to, `approve` or `decline`, and closes the
    /// browser there. Where the bank would have sent it.
    pub async fn answer_bank(&self, url: &str, result: &str) -> String {
        let browser = Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        let answer = browser.expect("a client").post(url).form(&[("result", result)]).send().await;
        let answer = answer.expect("an answer");
        assert!(answer.status().is_redirection(), "{}", answer.text().await.unwrap_or_default());
        answer.headers()["location"].to_str().expect("an address").to_owned()
    }

    /// Gives a refund of the card network its last word: `succeeded` or `failed`.
    pub async fn settle_refund(&self, provider_ref: &str, status: &str) {
        let order = json!({ "refund": provider_ref, "status": status });
        let url = format!("{}/refunds/settle", self.paysim_url);
        let answer = self.http.post(url).json(&order).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    /// Ends every session of the processes under test with the shop's database.
    pub async fn cut_connections(&self) {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name <> 'tests'",
        )
        .execute(&self.db)
        .await
        .expect("sessions are cut");
    }

    /// What the worker's program says when it is given these databases for the stock, and ends with an
    /// error.
    pub async fn worker_refuses(&self, command: &str, stock_urls: &str) -> String {
        let running = tokio::process::Command::new(executable("worker"))
            .arg(command)
            .env("DATABASE_URL", self.databases[0].url())
            .env("INVENTORY_DATABASE_URLS", stock_urls)
            .kill_on_drop(true)
            .output();
        let ended = tokio::time::timeout(PATIENCE, running).await.expect("it ends");
        let ended = ended.expect("the worker's program runs");
        assert!(!ended.status.success(), "it goes on with {stock_urls}");
        String::from_utf8_lossy(&ended.stderr).into_owned()
    }

    /// Kills a worker, at once, as the machine's failure would.
    pub fn kill_worker(&self, number: usize) {
        let worker =
            self.workers.lock().expect("unpoisoned")[number].take().expect("a running worker");
        worker.kill_now().expect("it dies");
    }

    /// Starts a worker again that was killed.
    pub fn start_worker(&self, number: usize) {
        let worker =
            Supervised::start(self.worker_programs[number].clone()).expect("a worker starts");
        self.workers.lock().expect("unpoisoned")[number] = Some(worker);
    }

    /// Waits until a worker takes work.
    pub async fn worker_ready(&self, number: usize) {
        ready(&self.http, &self.worker_urls[number]).await;
    }

    /// Kills the API, at once.
    pub fn kill_api(&self) {
        let api = self.api.lock().expect("unpoisoned").take().expect("a running API");
        api.kill_now().expect("it dies");
    }

    /// Starts the API again that was killed, and waits until it answers.
    pub async fn start_api(&self) {
        let api = Supervised::start(self.api_program.clone()).expect("the API starts");
        *self.api.lock().expect("unpoisoned") = Some(api);
        ready(&self.http, &self.api_url).await;
    }

    /// Kills the card network, at once. Its books are on disk.
    pub fn kill_paysim(&self) {
        let paysim =
            self.paysim.lock().expect("unpoisoned").take().expect("a running card network");
        paysim.kill_now().expect("it dies");
    }

    /// Starts the card network again that was killed, and waits until it answers.
    pub async fn start_paysim(&self) {
        let paysim = Supervised::start(self.paysim_program.clone()).expect("paysim starts");
        *self.paysim.lock().expect("unpoisoned") = Some(paysim);
        ready(&self.http, &self.paysim_url).await;
    }
}

pub(crate) async fn migrate(url: String) -> anyhow::Result<()> {
    use sqlx::Connection as _;
    let mut conn = sqlx::PgConnection::connect(&url).await?;
    store::MIGRATOR.run(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

/// The same address, for sessions that tell themselves apart from those of the processes under test.
fn named(database_url: &str) -> String {
    let mut url: url::Url = database_url.parse().expect("an address");
    url.query_pairs_mut().append_pair("application_name", "tests");
    url.into()
}

async fn ready(http: &Client, url: &str) {
    let url = format!("{url}/readyz");
    eventually(&format!("{url} answers"), || async {
        http.get(&url).send().await.ok().filter(|answer| answer.status().is_success()).map(drop)
    })
    .await;
}

fn free_port() -> u16 {
    devstack::ports::free().expect("a free port")
}

/// One of the product's programs, as it was built for tests, or where `HOLDFAST_PROGRAMS` says.
fn executable(name: &str) -> PathBuf {
    let folder = std::env::var("HOLDFAST_PROGRAMS").unwrap_or_else(|_| "target/debug".to_owned());
    workspace_root().join(folder).join(name)
}

/// Where the processes of a shop write what they have to say; a failed test is read there.
fn log_folder(namespace: &str) -> PathBuf {
    let folder = workspace_root().join("target/test-logs").join(namespace);
    std::fs::create_dir_all(&folder).expect("a folder for the logs");
    folder
}
