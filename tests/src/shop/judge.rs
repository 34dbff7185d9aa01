//! What became of a shop: its database, the card network's own books, the engine, and whether they
//! agree. Nothing here changes anything.

use std::collections::BTreeMap;

use domain::CheckoutId;
use futures::{TryStreamExt as _, future::join_all};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use store::{
    law::{self, When},
    outbox::TOPICS,
};
use temporalio_client::{
    UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowFetchHistoryOptions,
    WorkflowListOptions, errors::WorkflowInteractionError,
};
use tokio::time::{sleep, timeout};
use url::Url;
use uuid::Uuid;

use super::Shop;
use workflows::FulfilmentWorkflow;

use crate::{LOOK_EVERY, PATIENCE, eventually};

/// What the card network's own ledger says of one payment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payment {
    /// How often money was set aside.
    pub authorizations: i64,
    /// How often it was taken.
    pub captures: i64,
    /// How often it was let go.
    pub voids: i64,
    /// How often it was paid back.
    pub refunds: i64,
}

/// Something that was told of a payment from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// By whom.
    pub provider: String,
    /// Their id of it.
    pub event_id: String,
    /// Their word for it.
    pub kind: String,
    /// Of which attempt.
    pub attempt: Option<i64>,
    /// Whether it was seen to.
    pub carried: bool,
}

impl Shop {
    /// (available, reserved, sold) of a SKU.
    pub async fn counters(&self, sku: &str) -> (i64, i64, i64) {
        let part = self.shards.part_of(&sku.parse().expect("a SKU"));
        // A connection may have died with its server, and is found out by using it.
        eventually("the stock can be looked at", || async {
            let mut conn = self.shards.acquire(part).await.ok()?;
            sqlx::query_as("SELECT available, reserved, sold FROM inventory WHERE sku = $1")
                .bind(sku)
                .fetch_one(&mut *conn)
                .await
                .ok()
        })
        .await
    }

    /// Where the order of a checkout stands in the database.
    pub async fn order_state(&self, checkout: CheckoutId) -> Option<String> {
        sqlx::query_scalar("SELECT state FROM customer_order WHERE id = $1")
            .bind(checkout.uuid())
            .fetch_optional(&self.db)
            .await
            .expect("a query")
    }

    /// Where the hold of a checkout stands in the database.
    pub async fn hold_state(&self, checkout: CheckoutId) -> Option<String> {
        sqlx::query_scalar("SELECT state FROM reservation WHERE checkout_id = $1")
            .bind(checkout.uuid())
            .fetch_optional(&self.db)
            .await
            .expect("a query")
    }

    /// The one checkout that is under way, once there is one.
    pub async fn under_way(&self) -> CheckoutId {
        eventually("a checkout is under way", || async {
            sqlx::query_scalar::<_, Uuid>("SELECT id FROM checkout WHERE finished_at IS NULL")
                .fetch_optional(&self.db)
                .await
                .expect("a query")
                .map(CheckoutId::from)
        })
        .await
    }

    /// The engine's run of an order's fulfilment, if it has one.
    pub async fn fulfilment_run(&self, checkout: CheckoutId) -> Option<String> {
        self.engine
            .get_workflow_handle::<FulfilmentWorkflow>(checkout.order().to_string())
            .describe(WorkflowDescribeOptions::default())
            .await
            .ok()
            .map(|described| described.run_id().to_owned())
    }

    /// The same, once it has one.
    pub async fn fulfilment(&self, checkout: CheckoutId) -> String {
        eventually("the order's fulfilment has begun", || self.fulfilment_run(checkout)).await
    }

    /// What the card network's ledger says of a checkout's payment.
    pub async fn payment(&self, checkout: CheckoutId) -> Payment {
        let entries = self.ledger(checkout).await;
        let count = |kind: &str| {
            i64::try_from(entries.iter().filter(|entry| entry["kind"] == kind).count())
                .expect("few")
        };
        Payment {
            authorizations: count("authorized"),
            captures: count("captured"),
            voids: count("voided"),
            refunds: count("refunded"),
        }
    }

    /// What the card network's ledger says of all payments together.
    pub async fn network_totals(&self) -> Payment {
        let body = self.ask_ledger("ledger?limit=1").await;
        let totals = body["totals"].as_array().expect("totals");
        let count = |kind: &str| {
            totals
                .iter()
                .filter(|total| total["kind"] == kind)
                .filter_map(|total| total["count"].as_i64())
                .sum()
        };
        Payment {
            authorizations: count("authorized"),
            captures: count("captured"),
            voids: count("voided"),
            refunds: count("refunded"),
        }
    }

    /// The card network's ledger entries of a checkout's payment.
    pub async fn ledger(&self, checkout: CheckoutId) -> Vec<Value> {
        let body = self.ask_ledger(&format!("ledger?payment_id={}", checkout.payment())).await;
        body["entries"].as_array().expect("entries").clone()
    }

    /// How many intents the card network has for a checkout's payment, whether or not they hold money.
    pub async fn intents(&self, checkout: CheckoutId) -> usize {
        let mut url: Url = self.paysim_url.parse().expect("an address");
        url.set_path("v1/payment_intents/search");
        let query = format!("metadata['payment_id']:'{}'", checkout.payment());
        url.query_pairs_mut().append_pair("query", &query);
        let asked = self.http.get(url).bearer_auth("sk_test_of_somebody_else");
        let answer = asked.send().await.and_then(reqwest::Response::error_for_status);
        let found: Value = answer.expect("an answer").json().await.expect("JSON");
        found["data"].as_array().expect("intents").len()
    }

    /// What is written down as told of a checkout's payment, in the order in which it was told.
    pub async fn inbox(&self, checkout: CheckoutId) -> Vec<Arrival> {
        sqlx::query_as(
            "SELECT provider, event_id, kind, attempt, carried_at IS NOT NULL FROM inbox
             WHERE payment_id = $1 ORDER BY received_at",
        )
        .bind(checkout.uuid())
        .fetch_all(&self.db)
        .await
        .expect("arrivals")
        .into_iter()
        .map(|(provider, event_id, kind, attempt, carried)| Arrival {
            provider,
            event_id,
            kind,
            attempt,
            carried,
        })
        .collect()
    }

    /// Waits until an event of that kind was told of a checkout's payment, and everything that was told
    /// is carried.
    pub async fn carried(&self, checkout: CheckoutId, kind: &str) {
        eventually(&format!("{kind} of {checkout} is carried"), || async {
            let told = self.inbox(checkout).await;
            (told.iter().any(|arrival| arrival.kind == kind)
                && told.iter().all(|arrival| arrival.carried))
            .then_some(())
        })
        .await;
    }

    /// Every table with a digest of everything in it. Two that are equal mean that nothing changed; what
    /// the card network tells meanwhile, and how far announcements were carried and given out, does not count.
    pub async fn contents(&self) -> BTreeMap<String, String> {
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('inbox', 'announcement')")
                .fetch_all(&self.db)
                .await
                .expect("tables");
        let mut contents = BTreeMap::new();
        for table in tables {
            // The name comes from the database's own list of its tables.
            let digest = AssertSqlSafe(format!(
                r#"SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(row, ',' ORDER BY row)), '') FROM (SELECT (to_jsonb(t) - 'carried_at')::text AS row FROM "{table}" t) rows"#
            ));
            let digest = sqlx::query_scalar(digest).fetch_one(&self.db).await.expect("a digest");
            contents.insert(table, digest);
        }
        contents
    }

    /// Claims that everything has come to rest and every law holds, in our books and against the card
    /// network's. To be called at the end of every test.
    pub async fn assert_lawful(&self) {
        eventually("no checkout is under way", || async {
            let busy: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM customer_order o JOIN checkout c USING (id) WHERE c.finished_at IS NULL",
            )
            .fetch_one(&self.db)
            .await
            .expect("a count");
            (busy == 0).then_some(())
        })
        .await;
        self.assert_engine_is_done().await;
        self.assert_books_agree().await;
        self.assert_topics_are_known().await;
        let audit = eventually("everything can be audited", || async {
            let audit = law::audit(&self.db, &self.shards, When::Quiet).await.ok()?;
            audit.unreachable.is_empty().then_some(audit)
        })
        .await;
        assert!(audit.breaches.is_empty(), "broken laws: {:#?}", audit.breaches);
    }

    /// No checkout runs on in the engine, to itself, after its work is done.
    async fn assert_engine_is_done(&self) {
        let rest = timeout(PATIENCE, async {
            while !self.checkouts_in_the_engine().await.is_empty() {
                sleep(LOOK_EVERY).await;
            }
        });
        if rest.await.is_err() {
            let running = self.checkouts_in_the_engine().await;
            for id in &running {
                eprintln!("{id} runs on: {:#?}", self.last_of(id).await);
            }
            assert!(running.is_empty(), "checkouts run in the engine after their work is done");
        }
    }

    /// The ids of the checkouts that run in the engine.
    async fn checkouts_in_the_engine(&self) -> Vec<String> {
        let listed = self.listed_as_running("WorkflowType = 'checkout'").await;
        let asked = listed.into_iter().map(async |id| self.runs(&id).await.then_some(id));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The ids of the workflows of a kind that the engine's list shows running. It is behind, and may stay
    /// so for good: what a workflow said of itself just before it closed may be written there after that.
    /// Whether one runs, it has to be asked itself.
    pub async fn listed_as_running(&self, kind: &str) -> Vec<String> {
        let query = format!("{kind} AND ExecutionStatus = 'Running'");
        let listed = self.engine.list_workflows(query, WorkflowListOptions::default());
        let listed: Vec<_> = listed.try_collect().await.expect("the engine's list");
        listed.iter().map(|workflow| workflow.id().to_owned()).collect()
    }

    /// Whether there is such a workflow and it runs, in the engine's own words about it.
    pub async fn runs(&self, id: &str) -> bool {
        let handle = self.engine.get_workflow_handle::<UntypedWorkflow>(id.to_owned());
        match handle.describe(WorkflowDescribeOptions::default()).await {
            Ok(described) => described.status() == WorkflowExecutionStatus::Running,
            Err(WorkflowInteractionError::NotFound(_)) => false,
            Err(error) => panic!("{id} cannot be looked at: {error}"),
        }
    }

    /// How the history of a workflow ends.
    async fn last_of(&self, id: &str) -> Vec<String> {
        const EVENTS: usize = 30;

        let handle = self.engine.get_workflow_handle::<UntypedWorkflow>(id.to_owned());
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::default());
        let events = history.into_events().await.expect("a history");
        let last = events.iter().skip(events.len().saturating_sub(EVENTS));
        last.map(|event| format!("{} {:?}", event.event_id, event.event_type())).collect()
    }

    /// Nothing is announced that nobody could listen for.
    async fn assert_topics_are_known(&self) {
        let topics: Vec<String> = sqlx::query_scalar("SELECT DISTINCT topic FROM outbox")
            .fetch_all(&self.db)
            .await
            .expect("topics");
        for topic in topics {
            assert!(TOPICS.contains(&topic.as_str()), "{topic} is not among the outbox's topics");
        }
    }

    /// The card network's ledger, payment by payment, equals what we wrote down.
    async fn assert_books_agree(&self) {
        const SUMS: [&str; 5] = ["authorized", "captured", "voided", "refunded", "refund_failed"];

        let ours: Vec<(Uuid, [i64; 5])> = sqlx::query_as(
            "SELECT id, ARRAY[authorized_minor, captured_minor, voided_minor, refunded_minor, refund_failed_minor] FROM payment",
        )
        .fetch_all(&self.db)
        .await
        .expect("payments");
        let summary = self.ask_ledger("ledger/summary").await;
        let mut theirs = BTreeMap::new();
        for payment in summary["payments"].as_array().expect("payments") {
            let id = payment["payment_id"].as_str().expect("a payment with a name");
            let sums =
                SUMS.map(|sum| payment[format!("{sum}_amount")].as_i64().expect("an amount"));
            assert_eq!(theirs.insert(id.to_owned(), sums), None, "{id} is in two currencies");
        }
        for (id, ours) in ours {
            let id = CheckoutId::from(id).payment();
            let theirs = theirs.remove(&id.to_string()).unwrap_or_default();
            assert_eq!(theirs, ours, "the card network's books of {id} differ from ours: {SUMS:?}");
        }
        assert!(theirs.is_empty(), "the card network has payments that we do not: {theirs:#?}");
    }

    /// Reads in the card network's own books, which may be about to open again.
    async fn ask_ledger(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.paysim_url);
        eventually("the card network shows its books", || async {
            let answer = self.http.get(&url).send().await.ok()?.error_for_status().ok()?;
            answer.json().await.ok()
        })
        .await
    }
}
