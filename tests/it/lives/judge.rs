//! What a life is judged by, and what the whole run is judged by when everything is quiet: the shop's
//! books, what it announced, and above all the card network's own ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use domain::{CheckoutId, RefundId};
use serde_json::Value;
use tests::within;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    aftermath::Aftermath,
    life::{End, Life},
    plan::skus,
    world::{PATIENCE, World},
};

/// A page of the card network's ledger.
const PAGE: usize = 10_000;
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// The type of the one workflow that always runs.
const SWEEPER: &str = "reservation_expiry";

/// Sums over the card network's entries of one payment, and how often money was taken.
#[derive(Debug, Default, PartialEq, Eq)]
struct Money {
    authorized: i64,
    voided: i64,
    captured: i64,
    refunded: i64,
    captures: usize,
}

impl Money {
    fn of(entries: &[Value]) -> Self {
        let mut money = Self::default();
        for entry in entries {
            let amount = entry["amount"].as_i64().expect("an amount");
            match entry["kind"].as_str().expect("a kind") {
                "authorized" => money.authorized += amount,
                "voided" => money.voided += amount,
                "captured" => {
                    money.captured += amount;
                    money.captures += 1;
                }
                "refunded" => money.refunded += amount,
                "declined" => {}
                kind => panic!("no life asks for {kind}"),
            }
        }
        money
    }

    /// What is set aside and neither taken nor let go.
    fn open(&self) -> i64 {
        self.authorized - self.voided - self.captured
    }
}

/// What our books say of a checkout.
#[derive(Debug, Default, sqlx::FromRow)]
struct Books {
    checkout: Option<String>,
    order: Option<String>,
    total_minor: Option<i64>,
    called_off: Option<bool>,
    hold: Option<String>,
    orders: i64,
}

impl Life {
    /// What the card network holds of this payment that nobody should have, and all its entries.
    pub(crate) async fn money_left(&self) -> (i64, Vec<Value>) {
        let entries = self.world.shop.ledger(self.checkout).await;
        let money = Money::of(&entries);
        (money.open() + money.captured - money.refunded, entries)
    }

    async fn books(&self) -> Books {
        sqlx::query_as(
            r#"SELECT c.state AS checkout, o.state AS "order", o.total_minor,
                   o.called_off_at IS NOT NULL AS called_off, r.state AS hold,
                   (SELECT count(*) FROM customer_order WHERE customer_id = $2) AS orders
               FROM (SELECT $1::uuid AS id) x
                   LEFT JOIN checkout c USING (id) LEFT JOIN customer_order o USING (id)
                   LEFT JOIN reservation r ON r.checkout_id = x.id"#,
        )
        .bind(self.checkout.uuid())
        .bind(self.customer_id.uuid())
        .fetch_one(&self.world.shop.db)
        .await
        .expect("a row")
    }

    /// What must be true at the moment in which the customer learns of the end.
    pub(crate) async fn judge_end(&self, end: End) {
        let entries = self.world.shop.ledger(self.checkout).await;
        let money = Money::of(&entries);
        let books = self.books().await;
        let said = format!("{end:?}\n{books:#?}\n{money:#?}");
        assert_eq!(money.open(), 0, "money stays set aside: {said}");
        assert!(books.orders <= 1, "one cart is one order: {said}");
        if end == End::Sold {
            let total = self.plan.total();
            assert_eq!((money.captures, money.captured), (1, total), "{said}");
            assert_eq!(money.refunded, 0, "{said}");
            assert_eq!(books.total_minor, Some(total), "{said}");
            assert_eq!(books.checkout.as_deref(), Some("completed"), "{said}");
            assert_eq!(books.order.as_deref(), Some("paid"), "{said}");
            let hold = books.hold.as_deref();
            assert!(matches!(hold, Some("held" | "committed")), "{said}");
            return;
        }
        assert!(money.captures <= 1, "{said}");
        assert_eq!(money.captured, money.refunded, "{said}");
        let states = (books.checkout.as_deref(), books.order.as_deref());
        match end {
            End::Sold => unreachable!("judged above"),
            End::Declined | End::SoldOut => {
                assert_eq!(states, (Some("failed"), Some("cancelled")), "{said}");
            }
            End::CalledOff => {
                assert!(matches!(states, (Some("cancelled"), None | Some("cancelled"))), "{said}");
            }
            End::RanOut => assert_eq!(states, (Some("expired"), Some("cancelled")), "{said}"),
            End::QuoteChanged | End::NotLetIn => assert_eq!(states, (None, None), "{said}"),
        }
        let hold = books.hold.as_deref();
        // The sweeper writes down that a checkout ran out, and gives its stock back just after that; that
        // it did is a law at the end of the run.
        let swept = end == End::RanOut && hold == Some("held");
        assert!(swept || matches!(hold, None | Some("released" | "expired")), "{said}");
    }

    /// What must be true of a life when everything has come of it.
    pub(crate) async fn judge(&self, end: End, came: &Aftermath) {
        let entries = self.world.shop.ledger(self.checkout).await;
        let money = Money::of(&entries);
        let books = self.books().await;
        let told = self.announced().await;
        let said = format!("{end:?} {came:?}\n{books:#?}\n{money:#?}\n{told:#?}");
        let count = |topic: &str| told.get(topic).copied().unwrap_or_default();
        assert_eq!(money.open(), 0, "{said}");
        assert_eq!(count("order.paid"), i64::from(end == End::Sold), "{said}");
        if end == End::Sold {
            let total = self.plan.total();
            assert_eq!((money.captures, money.captured), (1, total), "{said}");
            assert_eq!(money.refunded, came.refunded, "{said}");
            assert_eq!(books.order.as_deref(), Some(came.state), "{said}");
            assert_eq!(books.called_off, Some(came.called_off), "{said}");
            assert_eq!(count("order.placed"), 1, "{said}");
            assert_eq!(count("order.cancelled"), 0, "{said}");
            assert_eq!(count("refund.requested"), came.refunds, "{said}");
            assert_eq!(count("refund.failed"), came.refunds_failed, "{said}");
            assert_eq!(count("refund.succeeded"), came.refunds - came.refunds_failed, "{said}");
            assert_eq!(count("order.delivered"), i64::from(came.state == "delivered"), "{said}");
        } else {
            assert_eq!(money.captured, money.refunded, "{said}");
            assert!(matches!(books.order.as_deref(), None | Some("cancelled")), "{said}");
            assert_eq!(count("order.placed"), count("order.cancelled"), "{said}");
            assert_eq!(count("payment.returned") > 0, came.returned, "{said}");
            assert_eq!(count("refund.requested"), 0, "{said}");
        }
        // Nothing that anybody hears later is another end.
        self.look().await;
        if self.plan.asks_again && !matches!(end, End::NotLetIn | End::QuoteChanged) {
            self.start(1).await;
            self.note("client: sent the same request in the end");
            let after = self.world.shop.ledger(self.checkout).await;
            assert_eq!(after, entries, "asking again moved money: {said}");
        }
    }

    /// How often anything was announced of the order.
    pub(crate) async fn announced(&self) -> BTreeMap<String, i64> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT topic, count(*) FROM outbox WHERE payload ->> 'order_id' = $1 GROUP BY topic",
        )
        .bind(self.checkout.order().to_string())
        .fetch_all(&self.world.shop.db)
        .await
        .expect("a count");
        rows.into_iter().collect()
    }
}

/// What one life leaves to be added up.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) checkout: CheckoutId,
    pub(crate) end: End,
    pub(crate) lines: Vec<(String, i64)>,
    pub(crate) restocked: bool,
}

impl World {
    /// What must be true of all lives together, once nothing moves any more.
    pub(crate) async fn judge(&self, lived: &[Lived], received: &BTreeMap<String, i64>) {
        self.assert_intents_agree().await;
        for (sku, _) in skus() {
            let units = |counts: fn(&Lived) -> bool| -> i64 {
                let lines = lived.iter().filter(|life| counts(life)).flat_map(|life| &life.lines);
                lines.filter(|(name, _)| *name == sku).map(|(_, units)| units).sum()
            };
            let sold = units(|life| life.end == End::Sold);
            let back = units(|life| life.restocked);
            let expected = (received[&sku] - sold + back, 0, sold);
            assert_eq!(self.shop.counters(&sku).await, expected, "{sku}: (available, held, sold)");
        }
        let orders: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM customer_order WHERE state <> 'cancelled' ORDER BY id",
        )
        .fetch_all(&self.shop.db)
        .await
        .expect("orders");
        let mut sold: Vec<Uuid> = lived
            .iter()
            .filter(|life| life.end == End::Sold)
            .map(|life| life.checkout.uuid())
            .collect();
        sold.sort_unstable();
        assert_eq!(orders, sold, "the orders are those of the lives that were sold something");
        self.assert_engine_agrees().await;
    }

    /// Waits until nobody has anything left to tell or to carry. What was in the hands of one who was killed
    /// may take a minute.
    pub(crate) async fn come_to_rest(&self) {
        within(PATIENCE * 2, "the card network has told everything", || async {
            let waiting = self.network_shows("webhooks?state=pending&limit=1").await;
            waiting["deliveries"].as_array().is_some_and(Vec::is_empty).then_some(())
        })
        .await;
        for waiting in [
            "SELECT count(*) FROM inbox WHERE carried_at IS NULL",
            "SELECT count(*) FROM outbox WHERE carried_at IS NULL",
            "SELECT count(*) FROM announcement",
            "SELECT count(*) FROM carrier_event_waiting",
            "SELECT count(*) FROM refund WHERE state IN ('requested', 'pending')",
        ] {
            within(PATIENCE, waiting, || async {
                let waiting: i64 =
                    sqlx::query_scalar(waiting).fetch_one(&self.shop.db).await.expect("a count");
                (waiting == 0).then_some(())
            })
            .await;
        }
    }

    /// What the card network did with each intent is in our books, and nothing else is.
    async fn assert_intents_agree(&self) {
        let mut theirs = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.network_shows(&format!("ledger?limit={PAGE}&after_seq={after}")).await;
            for entry in page["entries"].as_array().expect("entries") {
                let kind = entry["kind"].as_str().expect("a kind");
                if matches!(kind, "authorized" | "voided" | "captured") {
                    let intent = entry["payment_intent"].as_str().expect("an intent");
                    let amount = entry["amount"].as_i64().expect("an amount");
                    let before = theirs.insert((intent.to_owned(), kind.to_owned()), amount);
                    assert_eq!(before, None, "{intent} is {kind} twice");
                }
            }
            let Some(next) = page["next_after_seq"].as_i64() else { break };
            after = next;
        }
        let ours: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT provider_ref, kind, amount_minor FROM payment_entry
             WHERE kind IN ('authorized', 'voided', 'captured')",
        )
        .fetch_all(&self.shop.db)
        .await
        .expect("entries");
        let ours: BTreeMap<(String, String), i64> =
            ours.into_iter().map(|(intent, kind, amount)| ((intent, kind), amount)).collect();
        let differ = |a: &BTreeMap<_, i64>, b: &BTreeMap<_, i64>| -> Vec<String> {
            let only = a.iter().filter(|(key, amount)| b.get(*key) != Some(amount));
            only.map(|entry| format!("{entry:?}")).take(10).collect()
        };
        let (missing, invented) = (differ(&theirs, &ours), differ(&ours, &theirs));
        assert!(
            missing.is_empty() && invented.is_empty(),
            "only the card network has {missing:#?}, only we have {invented:#?}"
        );
    }

    /// Those workflows run that have something to wait for, and no others.
    async fn assert_engine_agrees(&self) {
        // A parcel that has left is followed though its order was called off before the carrier said so, and
        // money that went back is looked at for a month.
        let orders: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM customer_order o
             WHERE state IN ('paid', 'partially_shipped', 'shipped') AND called_off_at IS NULL
                 OR EXISTS (SELECT FROM shipment WHERE order_id = o.id AND state = 'dispatched')",
        )
        .fetch_all(&self.shop.db)
        .await
        .expect("orders");
        let refunds = "SELECT id FROM refund WHERE state NOT IN ('refused', 'failed')";
        let refunds: Vec<Uuid> =
            sqlx::query_scalar(refunds).fetch_all(&self.shop.db).await.expect("refunds");
        let orders = orders.into_iter().map(|id| CheckoutId::from(id).order().to_string());
        let refunds = refunds.into_iter().map(|id| RefundId::from(id).to_string());
        let awaited: BTreeSet<String> = orders.chain(refunds).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.listed_as_running().await;
            let (mut idle, mut missing) = (Vec::new(), Vec::new());
            for id in listed.symmetric_difference(&awaited) {
                match (self.shop.runs(id).await, awaited.contains(id)) {
                    (true, false) => idle.push(id),
                    (false, true) => missing.push(id),
                    // The list is behind.
                    (true, true) | (false, false) => {}
                }
            }
            if idle.is_empty() && missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "workflows run on for nothing: {idle:#?}; should run: {missing:#?}"
            );
            sleep(LOOK_AFTER).await;
        }
    }

    /// Every workflow that the engine's list shows running, but for the one that sweeps.
    async fn listed_as_running(&self) -> BTreeSet<String> {
        let kind = format!("WorkflowType != '{SWEEPER}'");
        self.shop.listed_as_running(&kind).await.into_iter().collect()
    }
}
