//! What the API reads from its environment, once, at its start. Temporal's settings are not here:
//! they are the SDK's own (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, TLS and the rest).

#![expect(clippy::doc_markdown, reason = "these are help texts, read in a terminal")]

use std::{convert::Infallible, fmt, net::SocketAddr, str::FromStr};

use anyhow::Context as _;
use clap::Parser;
use payments::webhook::Secrets;
use store::inventory::StockUrls;
use workflows::Timing;

use crate::{
    auth::{JwtSecret, Operator},
    carrier_secrets::CarrierSecrets,
};

/// Holdfast's API: carts, checkouts and orders over HTTP and gRPC, on one port.
///
/// Temporal is found by its own settings: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY,
/// TEMPORAL_TLS_*, TEMPORAL_CONFIG_FILE. What is logged is set by RUST_LOG.
#[derive(Debug, Clone, Parser)]
#[command(name = "api", version)]
pub struct Config {
    /// The shop's database, as postgres://user:password@host:port/name.
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        default_value = "postgres://postgres@127.0.0.1:54320/holdfast"
    )]
    pub database_url: String,
    /// The databases that stock is split over by the hash of the SKU, separated by commas; without, it is
    /// kept in the shop's own. Every process must name the same in the same order.
    #[arg(
        long,
        env = "INVENTORY_DATABASE_URLS",
        hide_env_values = true,
        value_name = "URLS",
        default_value = ""
    )]
    pub inventory_database_urls: StockUrls,
    /// Where to listen: HTTP/1.1, HTTP/2 and gRPC.
    #[arg(long, env = "API_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The secret that signs customers' tokens (HS256): at least 32 bytes, the same for every process.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: JwtSecret,
    /// The carriers that may say where parcels are, and what they sign with: carrier:secret, separated by
    /// commas; a carrier may have two while one replaces the other.
    #[arg(
        long,
        env = "CARRIER_WEBHOOK_SECRETS",
        hide_env_values = true,
        value_name = "SECRETS",
        default_value = ""
    )]
    pub carrier_webhook_secrets: CarrierSecrets,
    /// Print a token for this operator, by which their doings are recorded, and end.
    #[arg(long, value_name = "NAME")]
    pub operator_token: Option<Operator>,
    /// The secrets that the card provider's webhooks are signed with, separated by commas: one, or
    /// several while one replaces the other. Without, no webhook is taken.
    #[arg(
        long,
        env = "PAYMENTS_WEBHOOK_SECRETS",
        hide_env_values = true,
        value_name = "SECRETS",
        default_value = ""
    )]
    pub payments_webhook_secrets: WebhookSecrets,
    /// The most connections to each database.
    #[arg(long, env = "CONNECTIONS_MAX", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub connections_max: u32,
    /// The most requests in progress; one more is answered 503.
    #[arg(long, env = "REQUESTS_MAX", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub requests_max: u32,
    /// How long stock is held for a customer who has not paid, in milliseconds.
    #[arg(long, env = "HOLD_MS", default_value_t = Timing::default().hold_ms, value_parser = duration_ms())]
    pub hold_ms: u64,
    /// How long a hold lasts at least once a payment has begun, in milliseconds.
    #[arg(long, env = "PAYMENT_WINDOW_MS", default_value_t = Timing::default().payment_window_ms, value_parser = duration_ms())]
    pub payment_window_ms: u64,
    /// How long a step may be retried before the checkout needs attention, in milliseconds.
    #[arg(long, env = "ATTENTION_AFTER_MS", default_value_t = Timing::default().attention_after_ms, value_parser = duration_ms())]
    pub attention_after_ms: u64,
    /// How long to wait before first asking whether the customer has confirmed with their bank, in
    /// milliseconds.
    #[arg(long, env = "ACTION_POLL_MS", default_value_t = Timing::default().action_poll_ms, value_parser = duration_ms())]
    pub action_poll_ms: u64,
}

impl Config {
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            hold_ms: self.hold_ms,
            payment_window_ms: self.payment_window_ms,
            attention_after_ms: self.attention_after_ms,
            action_poll_ms: self.action_poll_ms,
        }
    }
}

/// What webhooks are signed with, as it was given. It is read when the service starts and not by the
/// command line's parser, which quotes what it refuses. It is never printed.
#[derive(Clone)]
pub struct WebhookSecrets(String);

impl FromStr for WebhookSecrets {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecrets(..)")
    }
}

impl WebhookSecrets {
    /// The secrets, if there are any.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Secrets>> {
        if self.0.trim().is_empty() {
            return Ok(None);
        }
        self.0.parse().map(Some).context("reading PAYMENTS_WEBHOOK_SECRETS")
    }
}

/// A millisecond to a week: more is a unit mistaken.
fn duration_ms() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=7 * 24 * 3600 * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_or_a_hold_of_no_time_is_refused_at_the_start() {
        let parse = |extra: &[&str]| {
            let base = ["api", "--database-url", "postgres://x/y"];
            Config::try_parse_from(base.iter().chain(extra))
        };
        let secret = "0123456789abcdef0123456789abcdef";
        assert!(parse(&["--jwt-secret", &secret[1..]]).is_err());
        assert!(parse(&["--jwt-secret", secret, "--hold-ms", "0"]).is_err());
        let config = parse(&["--jwt-secret", secret, "--hold-ms", "2000"]).expect("complete");
        assert_eq!(config.timing().hold_ms, 2000);
        assert!(!format!("{config:?}").contains(secret), "the secret is printed");
    }

    #[test]
    fn webhook_secrets_may_be_none_or_several_and_a_short_one_is_refused_unquoted() {
        let read = |secrets: &str| {
            let jwt = "0123456789abcdef0123456789abcdef";
            let args = ["api", "--jwt-secret", jwt, "--payments-webhook-secrets", secrets];
            let config = Config::try_parse_from(args).expect("taken as it is");
            assert!(secrets.is_empty() || !format!("{config:?}").contains(secrets));
            config.payments_webhook_secrets.read()
        };
        assert!(read("").expect("none").is_none());
        assert!(read("whsec_0123456789abcdef,whsec_abcdef0123456789").expect("two").is_some());
        let refused = format!("{:#}", read("whsec_short").expect_err("too short"));
        assert!(!refused.contains("whsec_short"), "{refused}");
    }
}
