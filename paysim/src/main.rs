//! The `paysim` binary: flags, logs and signals around [`paysim::serve`]. Nothing else.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

const ABOUT: &str =
    "A simulated card network: Stripe's PaymentIntents API, a durable ledger, and faults on demand";

const HELP: &str = "\
Point a Stripe client at http://LISTEN with any key that begins with sk_test_. Cards: pm_card_visa,
pm_card_chargeDeclined, pm_card_chargeDeclinedInsufficientFunds, pm_card_authenticationRequired, ...

What the network did:    GET /ledger, GET /ledger/summary  (?payment_id=, ?payment_intent=)
Health:                  GET /livez, GET /readyz

Faults: KIND[:ms] with KIND one of timeout_before, timeout_after, error_before, error_after, slow, refuse
  one request:           header  Paysim-Fault: timeout_after:500
  one intent, once each: metadata[paysim_fault]=confirm=timeout_after:500,capture=error_after
                         (create, confirm, capture, cancel, refund, retrieve)
  the next requests:     POST /faults {\"operation\", \"kind\", \"delay_ms\"?, \"times\"?, \"payment_id\"?};
                         DELETE /faults (?payment_id=)
  by seed:               --fault-seed 7 --fault-rate-percent 20

What happens by itself, on demand:
  authorization lapses:  POST /authorizations/expire {\"payment_intent\"}
  refund gets last word: POST /refunds/settle {\"refund\", \"status\"?: succeeded | failed}; by itself after
                         --refund-settle-ms with pm_card_pendingRefund (pending, then succeeded) and
                         pm_card_refundFail (succeeded, then failed)

Events: GET /v1/events (?type=, ?created[gte]=), GET /v1/events/{id}; sent to each --webhook-url, signed
  in Stripe-Signature, again and again until it answers 2xx
  what became of them:   GET /webhooks  (?event=, ?payment_id=, ?payment_intent=, ?state=)
  once more:             POST /webhooks/resend {\"event\" | \"payment_id\" | \"payment_intent\"}
  faults of the next:    POST /webhooks/faults {\"kind\", \"delay_ms\"?, \"times\"?, \"event_type\"?, \"payment_id\"?};
                         DELETE /webhooks/faults (?payment_id=); kinds: duplicate, delay, reorder, lose, forge, stale
  faults by seed:        --webhook-fault-seed 7 --webhook-fault-rate-percent 20

Logs go to stderr; RUST_LOG sets their level.";

/// A simulated card network: Stripe's `PaymentIntents` API, a durable ledger, and faults on demand.
#[derive(Debug, Parser)]
#[command(version, about = ABOUT, after_help = HELP)]
struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "PAYSIM_LISTEN", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,

    /// The network's own Postgres database; created if it does not exist
    #[arg(long, env = "PAYSIM_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: String,

    /// Most connections to the database
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=200))]
    database_connections_max: u32,

    /// An API key to accept besides every test key
    #[arg(long, env = "PAYSIM_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// Where a buyer's browser reaches this process; by default the address listened on
    #[arg(long, env = "PAYSIM_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,

    /// What every API request takes at least
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=60_000))]
    latency_ms: u64,

    /// Seed of pseudo-random faults on POSTs; the n-th POST always meets the same fate
    #[arg(long, value_name = "N", requires = "fault_rate_percent")]
    fault_seed: Option<u64>,

    /// How many of a hundred POSTs the seed strikes
    #[arg(long, value_name = "P", default_value_t = 0, requires = "fault_seed", value_parser = clap::value_parser!(u8).range(..=100))]
    fault_rate_percent: u8,

    /// How long a lost connection is held before it is dropped, when the fault does not say
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(..=600_000))]
    fault_hold_ms: u64,

    /// How long refunds of `pm_card_pendingRefund` and `pm_card_refundFail` wait for their last word
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    refund_settle_ms: u32,

    /// Where events are sent, signed with the webhook secret; may be given several times
    #[arg(long, env = "PAYSIM_WEBHOOK_URL", value_name = "URL", value_delimiter = ',')]
    webhook_url: Vec<String>,

    /// What deliveries are signed with; needed with a webhook URL
    #[arg(long, env = "PAYSIM_WEBHOOK_SECRET", value_name = "SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,

    /// The pause after a delivery's first failed try; it doubles with each, up to a minute
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    webhook_retry_ms: u64,

    /// How long an endpoint may take to answer a delivery
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    webhook_timeout_ms: u64,

    /// Seed of pseudo-random faults of deliveries; the n-th delivery always meets the same fate
    #[arg(long, value_name = "N", requires = "webhook_fault_rate_percent")]
    webhook_fault_seed: Option<u64>,

    /// How many of a hundred deliveries the seed strikes
    #[arg(long, value_name = "P", default_value_t = 0, requires = "webhook_fault_seed", value_parser = clap::value_parser!(u8).range(..=100))]
    webhook_fault_rate_percent: u8,

    /// How long the answer under an idempotency key is kept
    #[arg(long, value_name = "S", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..))]
    idempotency_key_lifetime_s: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        // The chain of causes on one line; a backtrace helps nobody who mistyped a flag.
        Err(error) => {
            eprintln!("paysim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let listener = match TcpListener::bind(args.listen).await {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
            "port {} on {} is taken by another process; choose another with --listen ADDRESS:PORT",
            args.listen.port(),
            args.listen.ip(),
        ),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot listen on {} (--listen)", args.listen));
        }
    };
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    paysim::serve(listener, config(args), shutdown).await
}

fn config(args: Args) -> paysim::Config {
    paysim::Config {
        database_url: args.database_url,
        api_key: args.api_key,
        public_url: args.public_url.map(|url| url.trim_end_matches('/').to_owned()),
        latency_ms: args.latency_ms,
        fault_seed: args.fault_seed,
        fault_rate_percent: args.fault_rate_percent,
        fault_hold_ms: args.fault_hold_ms,
        refund_settle_ms: args.refund_settle_ms,
        webhooks: paysim::WebhookConfig {
            // An empty variable in the environment means none.
            urls: args.webhook_url.into_iter().filter(|url| !url.is_empty()).collect(),
            secret: args.webhook_secret,
            retry_ms: args.webhook_retry_ms,
            timeout_ms: args.webhook_timeout_ms,
            fault_seed: args.webhook_fault_seed,
            fault_rate_percent: args.webhook_fault_rate_percent,
        },
        idempotency_key_lifetime_s: args.idempotency_key_lifetime_s,
        database_connections_max: args.database_connections_max,
    }
}
