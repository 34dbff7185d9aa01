//! What comes after the end of a checkout: money that is given back, parcels, and money that comes too
//! late.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Answer, CARRIER_SECRET, signature};
use tokio::time::sleep;

use super::{
    life::{End, Life, euros},
    plan::{After, Late},
    world::{PATIENCE, Request},
};

const LOOK_AFTER: Duration = Duration::from_millis(150);
/// How long the card network's word of late money is waited for before it is sent once more.
const HEARD_BY: Duration = Duration::from_secs(4);

/// What came of it, as the customer and the operator were told.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// What was given back after a sale, in minor units.
    pub(crate) refunded: i64,
    pub(crate) refunds: i64,
    pub(crate) refunds_failed: i64,
    pub(crate) called_off: bool,
    pub(crate) restocked: bool,
    /// Where the order stands; paid, if nothing came of it.
    pub(crate) state: &'static str,
    /// Late money came, and went.
    pub(crate) returned: bool,
}

impl Life {
    /// What comes after a sale.
    pub(crate) async fn after_sale(&self) -> Aftermath {
        if self.plan.cancel == Some(super::plan::Moment::Sold) {
            self.cancel("called off after the sale").await;
        }
        let mut came = Aftermath { state: "paid", ..Aftermath::default() };
        match self.plan.after {
            After::Nothing => {}
            After::RefundPart => self.refund(&mut came, "part", Some(self.part())).await,
            After::RefundAll => self.refund(&mut came, "all", None).await,
            After::RefundInTwo => {
                self.refund(&mut came, "part", Some(self.part())).await;
                self.refund(&mut came, "rest", None).await;
            }
            After::CallOff { restock } => {
                self.call_order_off(&mut came).await;
                if restock {
                    self.restock().await;
                    came.restocked = true;
                }
            }
            After::Ship { parcels, delivered, refund } => {
                self.ship(&mut came, parcels, delivered).await;
                if refund && delivered {
                    self.refund(&mut came, "damaged", Some(self.part())).await;
                    self.note("order: refunded in part after its delivery");
                }
                let refused = self.ask(Request::post(self.order("/cancel"))).await;
                assert_eq!(refused.code(), Some("invalid_state"), "{:#}", refused.body);
            }
            After::CallOffAgainstShip { after_ms } => {
                self.call_off_against_ship(&mut came, Duration::from_millis(after_ms)).await;
            }
        }
        came
    }

    /// What comes after an end without a sale: money of a request that was believed lost.
    pub(crate) async fn after_no_sale(&self, end: End) -> Aftermath {
        let mut came = Aftermath { state: "cancelled", ..Aftermath::default() };
        let Some(late) = self.plan.late else { return came };
        // Only these have closed a payment that may have been asked for.
        if !matches!(end, End::Declined | End::CalledOff | End::RanOut) {
            return came;
        }
        // What was armed is not meant for this.
        self.world.disarm(self.checkout).await;
        self.late_money(late).await;
        came.returned = true;
        came
    }

    fn order(&self, rest: &str) -> String {
        format!("/v1/orders/{}{rest}", self.checkout.order())
    }

    fn admin_order(&self, rest: &str) -> String {
        format!("/v1/admin/orders/{}{rest}", self.checkout.order())
    }

    fn part(&self) -> i64 {
        self.plan.total() / 3
    }

    pub(crate) async fn operate(&self, request: Request) -> Answer {
        self.world.ask(&self.journal, &self.world.operator, request).await
    }

    /// Waits until an answer shows what it should.
    async fn until(&self, what: &str, request: Request, shows: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.world.ask(&self.journal, &self.world.operator, request.clone()).await;
            if shows(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{what}: {:#}", answer.body);
            sleep(LOOK_AFTER).await;
        }
    }

    async fn until_order(&self, states: &[&'static str]) -> &'static str {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let order = self.ask(Request::get(self.order(""))).await;
            let state = states.iter().find(|state| order.state() == Some(state));
            if let Some(state) = state {
                return state;
            }
            assert!(Instant::now() < deadline, "not {states:?}: {:#}", order.body);
            sleep(LOOK_AFTER).await;
        }
    }

    /// Asks for a refund twice at once, and waits for what comes of it.
    async fn refund(&self, came: &mut Aftermath, reference: &str, minor: Option<i64>) {
        let mut body = json!({ "reason": "damaged", "reference": reference });
        if let Some(minor) = minor {
            body["amount"] = euros(minor);
        }
        let request = Request::post(self.admin_order("/refunds"))
            .header("Prefer", self.plan.wait)
            .json(&body);
        let answers = join_all((0..2).map(|_| self.operate(request.clone()))).await;
        let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
        assert!(created <= 1, "two refunds for one: {answers:#?}");
        for answer in &answers {
            assert!(answer.status.is_success(), "{:#}", answer.body);
            assert_eq!(answer.body["id"], answers[0].body["id"]);
        }
        let named = |refunds: &Answer| -> Vec<Value> {
            let refunds = refunds.body["refunds"].as_array().cloned().unwrap_or_default();
            refunds.into_iter().filter(|refund| refund["reference"] == reference).collect()
        };
        let decided = |refund: &Value| {
            ["succeeded", "refused"].iter().any(|state| refund["state"] == **state)
        };
        let refunds = Request::get(self.admin_order("/refunds"));
        let refunds = self
            .until("a refund is made or refused", refunds, |refunds| {
                named(refunds).iter().any(decided)
            })
            .await;
        let found = named(&refunds);
        assert_eq!(found.len(), 1, "one refund was asked for: {found:#?}");
        let amount = found[0]["amount"]["minor"].as_i64().expect("an amount");
        assert_eq!(amount, minor.unwrap_or(self.plan.total() - came.refunded), "{found:#?}");
        came.refunds += 1;
        if found[0]["state"] == "refused" {
            came.refunds_failed += 1;
            return self.note("refund: refused");
        }
        came.refunded += amount;
        if came.refunded == self.plan.total() {
            came.state = self.until_order(&["refunded"]).await;
            self.note("refund: all");
        } else {
            self.note("refund: a part");
        }
    }

    /// The customer calls the paid order off, twice at once.
    async fn call_order_off(&self, came: &mut Aftermath) {
        let request = Request::post(self.order("/cancel")).header("Prefer", self.plan.wait);
        for answer in join_all((0..2).map(|_| self.ask(request.clone()))).await {
            assert!(answer.status.is_success(), "{:#}", answer.body);
        }
        self.called_off(came).await;
        self.note("order: called off");
    }

    async fn called_off(&self, came: &mut Aftermath) {
        let refunds = Request::get(self.admin_order("/refunds"));
        let refunds = self
            .until("the money of an order that is called off goes back", refunds, |refunds| {
                let last = refunds.body["refunds"].as_array().and_then(|refunds| refunds.last());
                last.is_some_and(|refund| {
                    ["succeeded", "refused"].iter().any(|state| refund["state"] == **state)
                })
            })
            .await;
        came.called_off = true;
        came.refunds += 1;
        if refunds.body["refunds"][0]["state"] == "refused" {
            came.refunds_failed += 1;
            return self.note("refund: refused");
        }
        came.refunded = self.plan.total();
        came.state = self.until_order(&["refunded"]).await;
    }

    /// Everything came back and is put on the shelf again, told twice.
    async fn restock(&self) {
        let lines: Vec<Value> = self.plan.lines.iter().map(line).collect();
        let body = json!({ "lines": lines, "reason": "came back", "reference": "back-1" });
        let request = Request::post(self.admin_order("/restock")).json(&body);
        for answer in join_all((0..2).map(|_| self.operate(request.clone()))).await {
            assert!(answer.status.is_success(), "{:#}", answer.body);
        }
        self.note("order: put on the shelf again");
    }

    /// Sends the order in so many parcels, and the carrier tells of them in a bad order.
    async fn ship(&self, came: &mut Aftermath, parcels: usize, delivered: bool) {
        let units: i64 = self.plan.lines.iter().map(|(_, units)| units).sum();
        let parcels = if units > 1 { parcels } else { 1 };
        let dispatched_early = self.plan.number.is_multiple_of(3);
        if dispatched_early {
            self.carrier_tells(0, "dispatched", 1).await;
            self.note("carrier: told before there was a parcel");
        }
        self.pack(0, (parcels > 1).then(|| vec![line(&(self.plan.lines[0].0.clone(), 1))])).await;
        if parcels > 1 {
            self.pack(1, None).await;
        }
        self.note(if parcels > 1 { "parcel: two" } else { "parcel: one" });
        self.carrier_lies().await;
        let backwards = self.plan.number.is_multiple_of(2);
        for parcel in 0..parcels {
            if delivered && backwards {
                self.carrier_tells(parcel, "delivered", 3).await;
                self.note("carrier: told out of order");
            }
            self.carrier_tells(parcel, "dispatched", 2).await;
            self.note("carrier: told several times at once");
            if delivered && !backwards {
                self.carrier_tells(parcel, "delivered", 2).await;
            }
        }
        let end = if delivered { "delivered" } else { "shipped" };
        came.state = self.until_order(&[end]).await;
        self.note(&format!("order: {end}"));
        self.carrier_tells(0, "dispatched", 1).await;
        self.all_told(parcels).await;
        assert_eq!(self.until_order(&[end, "paid", "partially_shipped", "shipped"]).await, end);
    }

    /// Makes a parcel, asked for twice at once.
    async fn pack(&self, parcel: usize, lines: Option<Vec<Value>>) {
        let mut body = json!({ "carrier": "dhl", "tracking_number": self.tracking_number(parcel) });
        if let Some(lines) = lines {
            body["lines"] = json!(lines);
        }
        let request = Request::post(self.admin_order("/shipments")).json(&body);
        let answers = join_all((0..2).map(|_| self.operate(request.clone()))).await;
        for answer in &answers {
            assert!(answer.status.is_success(), "{:#}", answer.body);
            assert_eq!(answer.body["id"], answers[0].body["id"]);
        }
    }

    fn tracking_number(&self, parcel: usize) -> String {
        format!("LIFE-{}-{parcel}", self.plan.number)
    }

    fn carrier_says(&self, parcel: usize, kind: &str) -> String {
        let tracking_number = self.tracking_number(parcel);
        let body = json!({
            "event_id": format!("{tracking_number}-{kind}"), "tracking_number": tracking_number, "kind": kind,
            "at": "2026-11-20T08:00:00Z",
        });
        body.to_string()
    }

    async fn carrier_tells(&self, parcel: usize, kind: &str, times: usize) {
        let body = self.carrier_says(parcel, kind);
        let request = carrier_request(CARRIER_SECRET, body);
        let nobody = self.customer.anonymous();
        let told = (0..times).map(|_| self.world.ask(&self.journal, &nobody, request.clone()));
        for answer in join_all(told).await {
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
        }
    }

    async fn carrier_lies(&self) {
        let request = carrier_request("a-secret-of-nobody", self.carrier_says(0, "delivered"));
        let nobody = self.customer.anonymous();
        let answer = self.world.ask(&self.journal, &nobody, request).await;
        assert_eq!(answer.code(), Some("invalid_signature"), "{}", answer.text);
        self.note("carrier: forged");
    }

    /// Waits until every word of the carrier's has reached the fulfilment.
    async fn all_told(&self, parcels: usize) {
        let numbers: Vec<String> =
            (0..parcels).map(|parcel| self.tracking_number(parcel)).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM carrier_event_waiting JOIN carrier_event USING (carrier, event_id)
                 WHERE tracking_number = ANY ($1)",
            )
            .bind(&numbers)
            .fetch_one(&self.world.shop.db)
            .await
            .expect("a count");
            if waiting == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "the carrier's word still waits: {numbers:?}");
            sleep(LOOK_AFTER).await;
        }
    }

    /// Sends the order in one parcel while its customer calls it off: one of them comes first.
    async fn call_off_against_ship(&self, came: &mut Aftermath, after: Duration) {
        let body = json!({ "carrier": "dhl", "tracking_number": self.tracking_number(0) });
        let ship = Request::post(self.admin_order("/shipments")).json(&body);
        let sending = async {
            let sent = self.operate(ship).await;
            let refused = sent.code() == Some("invalid_state");
            assert!(sent.status.is_success() || refused, "{:#}", sent.body);
            self.carrier_tells(0, "dispatched", 1).await;
            sent.status.is_success()
        };
        let calling_off = async {
            sleep(after).await;
            let cancel = Request::post(self.order("/cancel")).header("Prefer", self.plan.wait);
            self.ask(cancel).await
        };
        let (sent, cancelled) = futures::join!(sending, calling_off);
        if cancelled.status.is_success() {
            self.called_off(came).await;
            self.note("order: called off before it was sent");
        } else {
            assert_eq!(cancelled.code(), Some("invalid_state"), "{:#}", cancelled.body);
            assert!(sent, "neither sent nor called off: {:#}", cancelled.body);
            came.state = self.until_order(&["shipped"]).await;
            self.note("order: sent before it was called off");
        }
        if sent {
            self.all_told(1).await;
        }
        let state = self.until_order(&["paid", "shipped", "refunded"]).await;
        assert_eq!(state, came.state, "it was called off, and sent");
    }

    /// Has the card network take money for this payment that the shop did not ask for any more, and waits
    /// until it is gone again.
    async fn late_money(&self, late: Late) {
        let (payment, amount) =
            (self.checkout.payment().to_string(), self.plan.total().to_string());
        let form = [
            ("amount", amount.as_str()),
            ("currency", "eur"),
            ("payment_method", "pm_card_visa"),
            ("payment_method_types[]", "card"),
            ("capture_method", "manual"),
            ("confirm", "true"),
            ("metadata[payment_id]", &payment),
            ("metadata[attempt]", "1"),
        ];
        let intent = self.world.network_makes("payment_intents", &form).await;
        let id = intent["id"].as_str().expect("an id");
        self.journal.note(format!("late money by {id}"));
        if late == Late::Taken && !self.take_late(id).await {
            self.journal.note("it was let go before it was taken");
        }
        let (begun, mut resent) = (Instant::now(), false);
        let entries = loop {
            let (open, entries) = self.money_left().await;
            if open == 0 && self.announced().await.contains_key("payment.returned") {
                break entries;
            }
            // Its webhooks may all be lost, and then nobody can know.
            if !resent && begun.elapsed() > HEARD_BY {
                self.world.resend(self.checkout).await;
                resent = true;
            }
            assert!(begun.elapsed() < PATIENCE, "late money stays: {entries:#?}");
            sleep(LOOK_AFTER).await;
        };
        let refunded = entries
            .iter()
            .any(|entry| entry["kind"] == "refunded" && entry["payment_intent"] == id);
        self.note(if refunded { "late money: paid back" } else { "late money: let go" });
    }

    /// Takes the money of an intent of nobody's. `false` if the shop was faster, and let it go.
    async fn take_late(&self, intent: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let url = format!("{}/v1/payment_intents/{intent}/capture", self.world.shop.paysim_url);
            let asked = self.world.browser.post(url).bearer_auth("sk_test_of_somebody_else");
            if let Ok(answer) = asked.send().await {
                if answer.status().is_success() {
                    return true;
                }
                // It was taken, and nobody heard; or it is cancelled.
                if answer.status().is_client_error() {
                    return false;
                }
            }
            assert!(Instant::now() < deadline, "the card network does not answer");
            sleep(LOOK_AFTER).await;
        }
    }
}

fn carrier_request(secret: &str, body: String) -> Request {
    let signature = signature(secret, Duration::ZERO, &body);
    Request::post("/v1/webhooks/carriers/dhl")
        .header("Content-Type", "application/json")
        .header("Carrier-Signature", signature)
        .text(body)
}

fn line((sku, units): &(String, i64)) -> Value {
    json!({ "sku": sku, "quantity": units })
}
