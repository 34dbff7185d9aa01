//! One life up to its end: a customer fills a cart, checks out, pays or does not, has second thoughts,
//! and hears what became of it. Whatever they hear must fit together.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{CheckoutId, CustomerId};
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tests::{Answer, Customer, WEBHOOK_SECRET, checkout_body, event, signature};
use tokio::time::sleep;

use super::{
    plan::{Agreed, Back, Bank, Moment, Plan, Stray},
    world::{Journal, PATIENCE, Request, World},
};

/// How soon a customer looks again, at first and at the most.
const LOOK_AFTER: Duration = Duration::from_millis(100);
const LOOK_AFTER_MAX: Duration = Duration::from_millis(800);
/// How soon it is looked again whether the moment has come to call it off.
const LOOK_FOR_MOMENT_AFTER: Duration = Duration::from_millis(40);

/// How a checkout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Sold,
    Declined,
    SoldOut,
    CalledOff,
    RanOut,
    /// Refused before it did anything, for what the customer had agreed to.
    QuoteChanged,
    /// Refused before it was begun.
    NotLetIn,
}

impl End {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sold => "sold",
            Self::Declined => "declined",
            Self::SoldOut => "sold out",
            Self::CalledOff => "called off",
            Self::RanOut => "hold ran out",
            Self::QuoteChanged => "quote changed",
            Self::NotLetIn => "not let in",
        }
    }
}

/// One life.
pub(crate) struct Life {
    pub(crate) world: Arc<World>,
    pub(crate) plan: Plan,
    pub(crate) journal: Journal,
    pub(crate) customer: Customer,
    pub(crate) customer_id: CustomerId,
    pub(crate) checkout: CheckoutId,
    key: String,
    /// The end that the customer was told first. Nothing that they are told later may be another.
    told: Mutex<Option<String>>,
    over: AtomicBool,
}

impl Life {
    /// Somebody comes, and fills a cart.
    pub(crate) async fn begin(world: Arc<World>, plan: Plan, journal: Journal) -> Self {
        let visitor = world.shop.visitor();
        let session = world.ask(&journal, &visitor, Request::post("/v1/sessions")).await;
        let customer = visitor.bearing(session.body["token"].as_str().expect("a token"));
        let id = session.body["customer_id"].as_str().expect("an id");
        let customer_id: CustomerId = id.parse().expect("a customer's id");
        let key = format!("life-{}", plan.number);
        let checkout = CheckoutId::derive(customer_id, &key);
        journal.note(format!("{customer_id} {checkout} {}", checkout.uuid()));
        for (sku, units) in &plan.lines {
            let item = Request::put(format!("/v1/cart/items/{sku}"));
            let filled = item.json(&json!({ "quantity": units }));
            let filled = world.ask(&journal, &customer, filled).await;
            assert!(filled.status.is_success(), "{:#}", filled.body);
        }
        for fault in &plan.faults {
            world.arm(checkout, *fault).await;
        }
        for kind in &plan.word_faults {
            world.arm_word(checkout, kind).await;
        }
        let (told, over) = (Mutex::new(None), AtomicBool::new(false));
        Self { world, plan, journal, customer, customer_id, checkout, key, told, over }
    }

    /// Checks out, and does about it whatever the plan says until it is over.
    pub(crate) async fn shop(&self) -> End {
        let (end, (), ()) = futures::join!(self.buy(), self.call_off(), self.tell_strays());
        self.world.tally.note(format!("end: {}", end.name()));
        end
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        self.world.ask(&self.journal, &self.customer, request).await
    }

    pub(crate) fn note(&self, what: &str) {
        self.journal.note(what);
        self.world.tally.note(what);
    }

    /// The first request, once or several times at once.
    pub(crate) async fn start(&self, at_once: usize) -> Vec<Answer> {
        let mut members = json!({});
        if let (false, Some(card)) = (self.plan.interactive, self.plan.cards.first()) {
            members["payment"] = json!({ "method": card });
        }
        let total = self.plan.total();
        match self.plan.agreed {
            Agreed::Unsaid => {}
            Agreed::Right => members["expected_total"] = euros(total),
            Agreed::Wrong => members["expected_total"] = euros(total - 1),
        }
        let request = Request::post("/v1/checkouts")
            .header("Idempotency-Key", &self.key)
            .header("Prefer", self.plan.wait)
            .json(&checkout_body(members));
        let answers = join_all((0..at_once).map(|_| self.ask(request.clone()))).await;
        for answer in &answers {
            self.hear(answer);
        }
        answers
    }

    async fn buy(&self) -> End {
        if self.plan.at_once > 1 {
            self.note("client: sent the same request at once");
        }
        let mut answers = self.start(self.plan.at_once).await;
        let refused = answers.iter().all(|answer| answer.state().is_none());
        let mut answer = answers.pop().expect("at least one");
        if refused {
            answer = self.look().await;
        }
        // An express checkout has been told its one card.
        let mut tried = usize::from(!self.plan.interactive);
        let (mut pause, mut asked) = (LOOK_AFTER, false);
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            if let Some(end) = end(&answer) {
                break end;
            }
            assert!(Instant::now() < deadline, "no end: {:#}", answer.body);
            answer = match answer.state() {
                Some("awaiting_payment") if tried < self.plan.cards.len() => {
                    let card = self.plan.cards[tried];
                    tried += 1;
                    if tried == 2 {
                        self.note("card: tried a second one");
                    }
                    (pause, asked) = (LOOK_AFTER, false);
                    self.pay(card, tried).await
                }
                // Where to is said by a worker, if there is one.
                Some("action_required")
                    if !asked && answer.body["next_action"]["url"].is_string() =>
                {
                    asked = true;
                    self.go_to_bank(&answer).await;
                    self.look().await
                }
                _ => {
                    sleep(pause).await;
                    pause = (pause * 3 / 2).min(LOOK_AFTER_MAX);
                    self.look().await
                }
            };
        };
        self.over.store(true, Ordering::Relaxed);
        end
    }

    async fn pay(&self, card: &str, attempt: usize) -> Answer {
        let request = Request::post(format!("/v1/checkouts/{}/payment", self.checkout))
            .header("Idempotency-Key", format!("{}-pay-{attempt}", self.key))
            .header("Prefer", self.plan.wait)
            .json(&json!({ "method": card }));
        let paid = join_all((0..self.plan.at_once).map(|_| self.ask(request.clone()))).await;
        for answer in &paid {
            self.hear(answer);
        }
        self.look().await
    }

    pub(crate) async fn look(&self) -> Answer {
        let answer = self.ask(Request::get(format!("/v1/checkouts/{}", self.checkout))).await;
        self.hear(&answer);
        answer
    }

    /// Takes in what an answer says of the end.
    pub(crate) fn hear(&self, answer: &Answer) {
        let id = answer.body["id"].as_str().or_else(|| answer.body["checkout_id"].as_str());
        if let Some(id) = id {
            assert_eq!(id, self.checkout.to_string(), "{:#}", answer.body);
        }
        let Some(state) = answer.state().filter(|state| finished(state)) else { return };
        let mut told = self.told.lock().expect("unpoisoned");
        let first = told.get_or_insert_with(|| state.to_owned());
        assert_eq!(first, state, "told one end, and then another: {:#}", answer.body);
    }

    /// The customer answers their bank, or does not, and comes back or does not.
    async fn go_to_bank(&self, asked: &Answer) {
        let url = asked.body["next_action"]["url"].as_str().expect("a redirect");
        let intent = url.rsplit('/').next().expect("an intent");
        let back = format!("/v1/payments/return?payment_intent={intent}");
        if self.plan.back == Back::Before {
            self.come_back(&back, "succeeded").await;
            self.note("browser: came back before the bank was answered");
        }
        let (result, status) = match self.plan.bank {
            Bank::Approve => ("approve", "succeeded"),
            Bank::Decline => ("decline", "failed"),
            Bank::Ignore => return self.note("bank: never answered"),
        };
        if !self.world.answer_bank(url, result).await {
            return self.note("bank: nothing was asked any more");
        }
        self.note(&format!("bank: {result}"));
        match self.plan.back {
            Back::Never | Back::Before => {}
            Back::After => {
                self.come_back(&back, status).await;
                self.note("browser: came back after it");
            }
            Back::Lying => {
                let lie = if status == "failed" { "succeeded" } else { "failed" };
                self.come_back(&back, lie).await;
                self.note("browser: came back lying");
            }
        }
    }

    async fn come_back(&self, back: &str, status: &str) {
        let page = Request::get(format!("{back}&redirect_status={status}"));
        let page = self.world.ask(&self.journal, &self.customer.anonymous(), page).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    }

    /// Calls it off at the moment that the plan says, if it comes.
    async fn call_off(&self) {
        let Some(moment) = self.plan.cancel.filter(|moment| *moment != Moment::Sold) else {
            return;
        };
        while !self.reached(moment).await {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            sleep(LOOK_FOR_MOMENT_AFTER).await;
        }
        self.cancel(match moment {
            Moment::BeforePaying => "called off before paying",
            Moment::Authorizing => "called off while authorizing",
            Moment::AtBank => "called off at the bank",
            Moment::Capturing => "called off while the money is taken",
            Moment::Sold => "called off after the sale",
        })
        .await;
    }

    /// Asks to call it off, and hears whether that was taken in.
    pub(crate) async fn cancel(&self, when: &str) {
        let request = Request::post(format!("/v1/checkouts/{}/cancel", self.checkout));
        let answer = self.ask(request.header("Prefer", self.plan.wait)).await;
        self.hear(&answer);
        match answer.status {
            // It may have ended without a sale by itself before the word came through.
            StatusCode::OK => assert_ne!(answer.state(), Some("completed"), "{:#}", answer.body),
            StatusCode::ACCEPTED => {}
            _ => assert_eq!(answer.code(), Some("invalid_state"), "{:#}", answer.body),
        }
        let taken_in = if answer.status.is_success() { "taken in" } else { "refused" };
        self.note(&format!("{when}: {taken_in}"));
    }

    /// Whether the books show that it is that far now.
    async fn reached(&self, moment: Moment) -> bool {
        let row: Option<(String, [Option<String>; 3])> = sqlx::query_as(
            "SELECT o.state, ARRAY[r.state, a.state, a.provider_ref]
                 FROM customer_order o
                     LEFT JOIN reservation r ON r.checkout_id = o.id
                     LEFT JOIN LATERAL (
                         SELECT state, provider_ref FROM payment_attempt
                         WHERE payment_id = o.id ORDER BY attempt DESC LIMIT 1
                     ) a ON true
                 WHERE o.id = $1",
        )
        .bind(self.checkout.uuid())
        .fetch_optional(&self.world.shop.db)
        .await
        .expect("a row");
        let Some((order, [hold, attempt, intent])) = row else { return false };
        let (hold, attempt) = (hold.as_deref(), attempt.as_deref());
        match moment {
            Moment::BeforePaying => hold == Some("held") && attempt.is_none(),
            Moment::Authorizing => attempt == Some("started") && intent.is_some(),
            Moment::AtBank => attempt == Some("action_required"),
            Moment::Capturing => order == "placed" && attempt == Some("approved"),
            Moment::Sold => order == "paid",
        }
    }

    /// Tells the shop's webhook of the payment what nobody should rely on.
    async fn tell_strays(&self) {
        if self.plan.strays.is_empty() {
            return;
        }
        // Nobody can tell of a payment that is not there.
        let intent = loop {
            let noted: Option<String> = sqlx::query_scalar(
                "SELECT provider_ref FROM payment_attempt
                 WHERE payment_id = $1 AND provider_ref IS NOT NULL ORDER BY attempt DESC LIMIT 1",
            )
            .bind(self.checkout.uuid())
            .fetch_optional(&self.world.shop.db)
            .await
            .expect("a row");
            match noted {
                Some(intent) => break intent,
                None if self.over.load(Ordering::Relaxed) => return,
                None => sleep(LOOK_FOR_MOMENT_AFTER).await,
            }
        };
        for (number, stray) in self.plan.strays.iter().enumerate() {
            self.tell(*stray, &format!("evt_life_{}_{number}", self.plan.number), &intent).await;
        }
    }

    async fn tell(&self, stray: Stray, id: &str, intent: &str) {
        const CAPTURABLE: &str = "payment_intent.amount_capturable_updated";
        const FAILED: &str = "payment_intent.payment_failed";

        let (what, kind, intent, attempt, times, taken) = match stray {
            Stray::OtherAttempt => ("word: of another attempt", FAILED, "pi_of_nobody", 3, 1, true),
            Stray::ManyTimes => ("word: many times at once", CAPTURABLE, intent, 1, 5, true),
            Stray::Forged => ("word: forged", CAPTURABLE, intent, 1, 1, false),
            Stray::Stale => ("word: stale", CAPTURABLE, intent, 1, 1, false),
        };
        let body = event(id, kind, intent, self.checkout, attempt).to_string();
        let (secret, ago) = match stray {
            Stray::OtherAttempt | Stray::ManyTimes => (WEBHOOK_SECRET, 0),
            Stray::Forged => ("whsec_of_a_forger", 0),
            Stray::Stale => (WEBHOOK_SECRET, 600),
        };
        let signature = signature(secret, Duration::from_secs(ago), &body);
        let request =
            Request::post("/v1/webhooks/stripe").header("Stripe-Signature", signature).text(body);
        let nobody = self.customer.anonymous();
        let told = (0..times).map(|_| self.world.ask(&self.journal, &nobody, request.clone()));
        for answer in join_all(told).await {
            assert_eq!(answer.status.is_success(), taken, "{stray:?}: {}", answer.text);
        }
        self.note(what);
    }
}

impl World {
    /// Answers on the bank's page. Whether it was still asking.
    async fn answer_bank(&self, url: &str, result: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = self.browser.post(url).form(&[("result", result)]).send().await;
            match sent.map(|answer| answer.status()) {
                Ok(status) if status.is_redirection() => return true,
                Ok(StatusCode::CONFLICT) => return false,
                Ok(status) => assert!(status.is_server_error(), "the bank says {status}"),
                Err(_) => {}
            }
            assert!(Instant::now() < deadline, "the bank does not answer");
            sleep(LOOK_AFTER).await;
        }
    }
}

/// How it ended, if it did.
fn end(answer: &Answer) -> Option<End> {
    if answer.status == StatusCode::NOT_FOUND {
        return Some(End::NotLetIn);
    }
    let code = answer.body["problem"]["code"].as_str().or_else(|| answer.code());
    Some(match (answer.state()?, code) {
        ("completed", None) => End::Sold,
        ("failed", Some("payment_declined")) => End::Declined,
        ("failed", Some("out_of_stock")) => End::SoldOut,
        ("failed", Some("quote_changed")) => End::QuoteChanged,
        ("cancelled", Some("cancelled")) => End::CalledOff,
        ("expired", Some("hold_expired")) => End::RanOut,
        (state, _) => {
            assert!(!finished(state), "an end for no reason we know: {:#}", answer.body);
            return None;
        }
    })
}

pub(crate) fn finished(state: &str) -> bool {
    ["completed", "failed", "cancelled", "expired"].contains(&state)
}

pub(crate) fn euros(minor: i64) -> serde_json::Value {
    json!({ "minor": minor, "currency": "EUR" })
}
