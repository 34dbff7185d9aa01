//! A simulated card network. It speaks Stripe's `PaymentIntents` API over HTTP, keeps a durable
//! ledger of what a real network would have done, tells of it by signed webhooks, and goes wrong on
//! demand: before the effect, after it, slowly, or not at all. The shop's books are judged by this
//! ledger, so nothing here knows the shop's tables or crates.

mod app;
mod card;
mod command;
mod connection;
mod error;
mod event;
mod execute;
mod fault;
mod form;
mod http;
mod idempotency;
mod intent;
mod record;
mod refund;
mod settler;
mod store;
mod unasked;
mod view;
mod webhook;
mod words;

use std::{pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use chrono::{TimeDelta, Utc};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, watch},
    time::{interval, timeout},
};

pub use crate::webhook::WebhookConfig;
use crate::{
    app::{App, REQUESTS_MAX},
    connection::{Cut, CuttableListener},
    fault::Faults,
    idempotency::InFlight,
    store::Store,
    webhook::{Courier, Webhooks},
};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// A future whose type does not grow into its callers' binaries.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How the network behaves. [`Config::new`] gives a prompt and faultless one.
#[derive(Debug, Clone)]
pub struct Config {
    /// The network's own database; created when it does not exist.
    pub database_url: String,
    /// A key accepted besides every key that begins with `sk_test_`.
    pub api_key: Option<String>,
    /// Where a buyer's browser reaches this process, without a slash at the end. By default the
    /// listener's address.
    pub public_url: Option<String>,
    /// What every API request takes at least.
    pub latency_ms: u64,
    /// Seed of the pseudo-random faults on POSTs; none without it.
    pub fault_seed: Option<u64>,
    /// How many of a hundred POSTs the seed strikes.
    pub fault_rate_percent: u8,
    /// How long a lost connection is held before it is dropped, unless the fault says.
    pub fault_hold_ms: u64,
    /// How long the answer under an idempotency key is kept.
    pub idempotency_key_lifetime_s: u32,
    /// How long a refund that changes later waits before it does.
    pub refund_settle_ms: u32,
    /// Whom to tell of events.
    pub webhooks: WebhookConfig,
    /// Connections to the database.
    pub database_connections_max: u32,
}

impl Config {
    /// No latency, no faults, keys kept for a day.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            api_key: None,
            public_url: None,
            latency_ms: 0,
            fault_seed: None,
            fault_rate_percent: 0,
            fault_hold_ms: 30_000,
            idempotency_key_lifetime_s: 24 * 60 * 60,
            refund_settle_ms: 5_000,
            webhooks: WebhookConfig::default(),
            database_connections_max: 16,
        }
    }
}

/// Runs the network on `listener` until `shutdown`, then lets the requests under way finish.
/// Migrations run first; connections wait in the listener's backlog meanwhile.
pub fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Boxed<anyhow::Result<()>> {
    let shutdown: Boxed<()> = Box::pin(shutdown);
    Box::pin(run(listener, config, shutdown))
}

async fn run(listener: TcpListener, config: Config, shutdown: Boxed<()>) -> anyhow::Result<()> {
    let webhooks = Webhooks::new(&config.webhooks)?;
    let store = store::connect(&config.database_url, config.database_connections_max).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let (stop, stopping) = watch::channel(false);
    let app = Arc::new(App {
        store: store.clone(),
        faults: Faults::new(config.fault_seed, config.fault_rate_percent, config.fault_hold_ms),
        webhooks,
        refunds_to_settle: Notify::new(),
        refund_settle: TimeDelta::milliseconds(i64::from(config.refund_settle_ms)),
        in_flight: InFlight::default(),
        places: Arc::new(Semaphore::new(REQUESTS_MAX)),
        latency: Duration::from_millis(config.latency_ms),
        public_url: config.public_url.unwrap_or_else(|| format!("http://{address}")),
        api_key: config.api_key,
        key_lifetime: TimeDelta::seconds(i64::from(config.idempotency_key_lifetime_s)),
        stopping: stopping.clone(),
    });
    let courier = Courier::new(&app, &config.webhooks)?.map(|courier| tokio::spawn(courier.run()));
    let settling = tokio::spawn(settler::run(Arc::clone(&app)));
    let pruning = tokio::spawn(prune(store.clone(), app.key_lifetime));
    let service: IntoMakeServiceWithConnectInfo<_, Cut> =
        http::router(app).into_make_service_with_connect_info();
    tracing::info!(%address, "the card network listens on {address}");

    let mut asked = stopping.clone();
    let server =
        axum::serve(CuttableListener::new(listener), service).with_graceful_shutdown(async move {
            // An error means the sender is gone, which is the end too.
            let _ = asked.wait_for(|stopping| *stopping).await;
        });
    let server = tokio::spawn(server.into_future());
    shutdown.await;
    tracing::info!("the card network stops");
    stop.send_replace(true);
    let drained = timeout(DRAIN_TIMEOUT, server).await;
    pruning.abort();
    settling.abort();
    if let Some(courier) = courier {
        // It ends by itself, soon; a panic of its own must not hide how the server ended.
        let _ = courier.await;
    }
    store.close().await;
    if let Ok(ended) = drained {
        ended.context("the server's task failed")?.context("the server failed")
    } else {
        tracing::warn!("some requests did not finish in {} s", DRAIN_TIMEOUT.as_secs());
        Ok(())
    }
}

/// Forgets old keys now and then. A key is also checked when it is met, so this only saves space.
async fn prune(store: Store, key_lifetime: TimeDelta) {
    let mut ticks = interval(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        match store.keys_prune(Utc::now() - key_lifetime).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "forgot {count} old idempotency keys"),
            Err(error) => tracing::warn!(%error, "old idempotency keys could not be forgotten"),
        }
    }
}
