//! The worker's configuration, from flags or the environment. How to reach Temporal comes from its
//! own variables (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, TLS and API key), which its SDK reads.

#![expect(clippy::doc_markdown, reason = "these are help texts, read in a terminal")]

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use domain::delivery::TRIES_MAX;
use lettre::message::Mailbox;
use store::{
    PgPool,
    inventory::{Shards, StockUrls},
};
use url::Url;
use workflows::{FulfilmentTiming, ReconciliationInput};

use crate::notify::{MailSettings, Settings, SmtpUrl};

/// Carries checkouts out.
///
/// Temporal is found by TEMPORAL_ADDRESS (127.0.0.1:7233), TEMPORAL_NAMESPACE (default), and the
/// other variables of its SDK. Without a command, `run`.
#[derive(Debug, Parser)]
#[command(name = "worker", version, args_conflicts_with_subcommands = true)]
pub struct Config {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run, where no command is given.
    #[command(flatten)]
    pub run: Run,
}

/// What the worker can be told to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take work from Temporal and do it, until SIGTERM or SIGINT
    Run(Box<Run>),
    /// Bring the shop's databases to this version's schema
    Migrate(Database),
    /// Check every law of the shop's books, on the living system; fails if one is broken
    Audit(Database),
    /// Load a catalog's products and stock receipts; running it twice changes nothing
    Seed {
        /// Where the shop's tables are.
        #[command(flatten)]
        database: Database,
        /// The folder with products.json and receipts.csv
        folder: PathBuf,
    },
}

/// Where the shop's tables are.
#[derive(Debug, Clone, Args)]
pub struct Database {
    /// The shop's database, as postgres://user:password@host:port/name
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "postgres://postgres@127.0.0.1:54320/holdfast"
    )]
    pub database_url: String,
    /// The databases that stock is split over by the hash of the SKU, separated by commas; without, it is
    /// kept in the shop's own. Every process must name the same in the same order
    #[arg(
        long,
        env = "INVENTORY_DATABASE_URLS",
        hide_env_values = true,
        value_name = "URLS",
        default_value = ""
    )]
    pub inventory_database_urls: StockUrls,
}

impl Database {
    pub(crate) fn shards(&self, shop: &PgPool, connections_max: u32) -> anyhow::Result<Shards> {
        Shards::open(shop, &self.inventory_database_urls, connections_max)
            .context("reading INVENTORY_DATABASE_URLS")
    }
}

/// How a worker runs.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Where the shop's tables are.
    #[command(flatten)]
    pub database: Database,
    /// The card provider's root; it speaks Stripe's PaymentIntents API
    #[arg(long, env = "PAYMENTS_URL", default_value = "http://127.0.0.1:8090")]
    pub payments_url: Url,
    /// The card provider's secret key
    #[arg(long, env = "PAYMENTS_API_KEY", hide_env_values = true, default_value = "sk_test_dev")]
    pub payments_api_key: String,
    /// Where the provider sends customers back to after 3-D Secure
    #[arg(long, env = "PAYMENTS_RETURN_URL")]
    pub payments_return_url: Option<Url>,
    /// Where to answer /livez and /readyz; port 0 takes a free one
    #[arg(long, env = "HEALTH_LISTEN", default_value = "127.0.0.1:0")]
    pub health_listen: SocketAddr,
    /// Where to serve the engine's Prometheus metrics at /metrics; not at all without
    #[arg(long, env = "METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// The most connections to the database
    #[arg(long, env = "CONNECTIONS_MAX", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=200))]
    pub connections_max: u32,
    /// The most workflows kept in memory; the others are replayed when they are needed
    #[arg(long, env = "CACHED_WORKFLOWS_MAX", default_value_t = 1000)]
    pub cached_workflows_max: usize,
    /// The longest that the sweeper of expired holds sleeps, in milliseconds; at most the shortest hold
    #[arg(long, env = "SWEEP_SLEEP_MAX_MS", default_value_t = 15 * 60 * 1000)]
    pub sweep_sleep_max_ms: u64,
    /// How long a paid order may take to be shipped before people are told, in milliseconds
    #[arg(long, env = "SHIP_WITHIN_MS", default_value_t = FulfilmentTiming::default().ship_within_ms, value_parser = duration_ms())]
    pub ship_within_ms: u64,
    /// How long a parcel may take to arrive before people are told, in milliseconds
    #[arg(long, env = "DELIVER_WITHIN_MS", default_value_t = FulfilmentTiming::default().deliver_within_ms, value_parser = duration_ms())]
    pub deliver_within_ms: u64,
    /// How much one run of a fulfilment is told before it continues as a new one
    #[arg(long, env = "FULFILMENT_EVENTS_PER_RUN", default_value_t = FulfilmentTiming::default().events_per_run, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub fulfilment_events_per_run: u32,
    /// How often the books are held against the card provider's, in milliseconds
    #[arg(long, env = "RECONCILE_EVERY_MS", default_value_t = 3600 * 1000, value_parser = clap::value_parser!(u64).range(1000..=365 * 24 * 3600 * 1000))]
    pub reconcile_every_ms: u64,
    /// How far back they are compared each time, in milliseconds; longer than an authorization lives
    #[arg(long, env = "RECONCILE_LOOKBACK_MS", default_value_t = ReconciliationInput::default().lookback_ms, value_parser = duration_ms())]
    pub reconcile_lookback_ms: u64,
    /// How long a checkout, or asking for a refund, may take before it becomes a case for people, in
    /// milliseconds; longer than any hold
    #[arg(long, env = "RECONCILE_OVERDUE_AFTER_MS", default_value_t = ReconciliationInput::default().overdue_after_ms, value_parser = duration_ms())]
    pub reconcile_overdue_after_ms: u64,
    /// How others are told.
    #[command(flatten)]
    pub notify: Notify,
}

impl Run {
    pub(crate) fn fulfilment_timing(&self) -> FulfilmentTiming {
        FulfilmentTiming {
            ship_within_ms: self.ship_within_ms,
            deliver_within_ms: self.deliver_within_ms,
            events_per_run: self.fulfilment_events_per_run,
        }
    }

    pub(crate) fn reconciliation(&self) -> ReconciliationInput {
        ReconciliationInput {
            overdue_after_ms: self.reconcile_overdue_after_ms,
            ..ReconciliationInput::of_the_last(self.reconcile_lookback_ms)
        }
    }
}

/// A millisecond to a year: more is a unit mistaken.
fn duration_ms() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=365 * 24 * 3600 * 1000)
}

/// How others are told of what happened. The same for every worker.
#[derive(Debug, Clone, Args)]
pub struct Notify {
    /// The mail server for mail to customers, as smtps://user:password@host, or with ?tls=required after
    /// smtp://; without, none is sent
    #[arg(long, env = "SMTP_URL", hide_env_values = true, requires = "mail_from")]
    smtp_url: Option<SmtpUrl>,
    /// Whom mail to customers is from, such as "The Shop <shop@example.com>"
    #[arg(long, env = "MAIL_FROM")]
    mail_from: Option<Mailbox>,
    /// Post events to webhooks in private networks and on this machine, too: for development
    #[arg(long, env = "WEBHOOKS_ALLOW_PRIVATE")]
    webhooks_allow_private: bool,
    /// How often a delivery is tried before it is left to people
    #[arg(long, env = "DELIVERY_TRIES_MAX", default_value_t = TRIES_MAX, value_parser = clap::value_parser!(u32).range(1..=1000))]
    delivery_tries_max: u32,
}

impl Notify {
    pub(crate) fn settings(&self) -> Settings {
        let mail = self.smtp_url.clone().zip(self.mail_from.clone());
        Settings {
            tries_max: self.delivery_tries_max,
            allow_private: self.webhooks_allow_private,
            mail: mail.map(|(smtp_url, from)| MailSettings { smtp_url, from }),
        }
    }
}
