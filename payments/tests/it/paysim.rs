//! Our own card network, and the refunds that must be made once while it goes wrong for real.

use std::time::Duration;

use devstack::{TestDatabase, TestServers};
use domain::AuthorizeOutcome;
use payments::{RefundOutcome, Stripe};
use paysim::Config;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

use crate::fixtures::{API_KEY, charge, config, eur, method};

/// The Postgres of this test process.
static SERVERS: TestServers = TestServers::new();

/// How often a refund is asked for until it ends; a fault costs one or two of them.
const TRIES_MAX: u32 = 4;

/// A running network with a database of its own.
pub(crate) struct Network {
    pub(crate) url: Url,
    _database: TestDatabase,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Network {
    pub(crate) async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let database = SERVERS.empty_database().await.expect("a database can be made");
        let mut config = Config::new(database.url());
        config.database_connections_max = 4;
        config.fault_hold_ms = 0;
        configure(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = tokio::spawn(paysim::serve(listener, config, std::future::pending()));
        let url = format!("http://{address}").parse().expect("a URL");
        Self { url, _database: database, server }
    }

    async fn arm(&self, kind: &str) {
        let url = self.url.join("faults").expect("a URL");
        let order = json!({"operation": "refund", "kind": kind});
        let request = reqwest::Client::new().post(url).bearer_auth(API_KEY).json(&order);
        assert!(request.send().await.expect("an answer").status().is_success());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[tokio::test]
async fn a_part_is_paid_back_once_whatever_goes_wrong_and_however_old_the_key() {
    for key_lifetime_s in [0, 24 * 60 * 60] {
        let network = Network::start(|config| {
            config.idempotency_key_lifetime_s = key_lifetime_s;
        })
        .await;
        let timeout = Duration::from_secs(20);
        let stripe = Stripe::new(payments::Config { timeout, ..config(network.url.clone()) });
        let stripe = stripe.expect("a client");
        let intent = stripe.create(&charge(), &method()).await.expect("an intent");
        let outcome = stripe.settle_authorization(intent.clone(), 0).await.expect("an outcome");
        assert!(matches!(outcome, AuthorizeOutcome::Approved(_)), "{outcome:?}");
        stripe.settle_capture(&intent.id, &charge(), 0).await.expect("an outcome");

        let kinds = ["timeout_before", "timeout_after", "error_before", "error_after"];
        for (made, kind) in (1..).zip(kinds) {
            network.arm(kind).await;
            let mut settled = None;
            for _ in 0..TRIES_MAX {
                let result = stripe.settle_refund(&intent.id, &charge(), eur(100), kind).await;
                settled = settled.or(result.ok());
            }
            assert!(matches!(settled, Some(RefundOutcome::Refunded { .. })), "{kind}: {settled:?}");
            let refunds = stripe.refunds(&intent.id).await.expect("refunds");
            assert_eq!(refunds.len(), made, "{kind} with keys of {key_lifetime_s} s");
        }
    }
}
