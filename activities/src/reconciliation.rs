//! Reconciling: our books held against the provider's, counters against their ledgers, and promises against
//! the time.
//!
//! Each step may be run again at will: what was mended is found right, and what was made a case is the same
//! case. Our books are read before the provider is asked about a payment, for what is judged of ours can
//! never change again; see `domain::reconciliation`.

use std::{ops::Range, sync::Arc};

use ::payments::{
    Doubt, Error as ProviderError, Intent, IntentId, IntentStatus, ListedRefund, Stripe, Whose,
};
use domain::{
    CheckoutId, Difference, Money, PaymentId,
    reconciliation::{Booked, Held, Verdict, judge},
};
use serde_json::json;
use store::{
    PgPool,
    case::{self, Finding},
    inventory::{self, Inventory, Level, Part, Places, Recounted, Resolution},
    payment::{self, Resummed},
    reconciliation::{self, Fate, Overdue, PaidBack, Taken},
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::reconciling::{
    self, OverdueInput, PageInput, PageOutcome, Tally, WholeInput,
};

use crate::{
    failure, heartbeat,
    payments::{Payments, Trouble, intent_id},
};

/// How many rows of ours are read at once.
const ROWS: u32 = 500;
/// How long a checkout has to be over before stock that is held for it is an orphan: its stock is sold, or
/// given back, just after it ends.
const ORPHAN_AFTER_MS: u64 = 60_000;
/// How long a refund may be pending at the provider's.
const PENDING_MAX_MS: u64 = 7 * 24 * 3600 * 1000;
/// What the provider answers about something it does not have.
const MISSING: &str = "resource_missing";

/// Our books, and those who can mend them.
pub struct Reconciler {
    pool: PgPool,
    stock: Inventory,
    payments: Payments,
    provider: Stripe,
}

impl Reconciler {
    /// The books of this shop, whose money is at this provider.
    pub fn new(pool: PgPool, stock: Inventory, payments: Payments, provider: Stripe) -> Self {
        Self { pool, stock, payments, provider }
    }

    /// A page of the provider's payments, and of the time that it spans our books and the provider's refunds.
    async fn compare_page(&self, input: PageInput) -> Result<PageOutcome, Trouble> {
        let after = input.after.as_deref().map(intent_id).transpose()?;
        let page = self.provider.list(input.from_unix_s..input.to_unix_s, after.as_ref()).await?;
        let mut tally = Tally::default();
        let mut listed: Vec<(PaymentId, String)> = Vec::new();
        for entry in &page.items {
            tally.looked_at += 1;
            match &entry.whose {
                Whose::Ours(intent) => listed.push((intent.charge.payment, entry.id.to_string())),
                Whose::Odd { payment, why } => {
                    let facts = json!({ "intent": entry.id.as_str(), "why": why });
                    let odd = about(Difference::OddIntent, *payment, facts);
                    tally = tally.and(self.open(odd).await?);
                }
                Whose::Foreign => {}
            }
        }
        let next_after = page.next_after().map(|last| last.id.to_string());
        let reached = match page.items.last() {
            Some(last) if next_after.is_some() => last.created_unix_s,
            _ => input.from_unix_s,
        };
        let booked = {
            let mut conn = self.pool.acquire().await?;
            reconciliation::booked(&mut conn, &listed).await?
        };
        let ours = page.items.iter().filter_map(|entry| match &entry.whose {
            Whose::Ours(intent) => Some(intent),
            Whose::Odd { .. } | Whose::Foreign => None,
        });
        for (intent, booked) in ours.zip(&booked) {
            tally = tally.and(self.compare_listed(intent, booked.as_ref()).await?);
        }
        let here = |taken: &Taken| listed.iter().any(|(_, id)| *id == taken.provider_ref);
        let time = reached..input.compared_to_unix_s;
        tally = tally.and(self.compare_taken(time.clone(), here).await?);
        tally = tally.and(self.compare_refunds(time).await?);
        Ok(PageOutcome { tally, next_after, compared_to_unix_s: reached })
    }

    /// What the list shows may be older than our books, so a difference is looked at again.
    async fn compare_listed(
        &self,
        intent: &Intent,
        booked: Option<&Booked>,
    ) -> Result<Tally, Trouble> {
        match judge(held(intent), booked) {
            Verdict::Agreed => Ok(Tally::default()),
            Verdict::TooEarly => Ok(Tally { under_way: 1, ..Tally::default() }),
            Verdict::GiveBack(_) | Verdict::Case(_) => {
                let payment_id = intent.charge.payment;
                self.compare_now(payment_id, &intent.id, booked).await
            }
        }
    }

    /// What our books say was taken in a time, and the list did not show.
    async fn compare_taken(
        &self,
        started_unix_s: Range<i64>,
        listed: impl Fn(&Taken) -> bool,
    ) -> Result<Tally, Trouble> {
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let taken = {
                let mut conn = self.pool.acquire().await?;
                reconciliation::taken(&mut conn, &started_unix_s, after, ROWS).await?
            };
            for row in taken.iter().filter(|row| !listed(row)) {
                tally.looked_at += 1;
                let asked = [(row.payment_id, row.provider_ref.clone())];
                let booked = {
                    let mut conn = self.pool.acquire().await?;
                    reconciliation::booked(&mut conn, &asked).await?.pop().flatten()
                };
                let id = intent_id(&row.provider_ref)?;
                tally = tally.and(self.compare_now(row.payment_id, &id, booked.as_ref()).await?);
            }
            match taken.last() {
                Some(last) if taken.len() >= ROWS as usize => after = Some(last.payment_id),
                _ => return Ok(tally),
            }
        }
    }

    /// What the provider says was paid back in a time, and our books do not.
    async fn compare_refunds(&self, created_unix_s: Range<i64>) -> Result<Tally, Trouble> {
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let page = self.provider.list_refunds(created_unix_s.clone(), after.as_ref()).await?;
            tally.looked_at += page.items.len() as u64;
            let paid_back: Vec<PaidBack> = page.items.iter().filter_map(paid_back).collect();
            let unrecorded = {
                let mut conn = self.pool.acquire().await?;
                reconciliation::unrecorded(&mut conn, &paid_back).await?
            };
            for refund in &page.items {
                let Some(payment_id) = unrecorded.get(refund.id.as_str()) else { continue };
                let facts = json!({
                    "refund": refund.id.as_str(),
                    "intent": refund.intent.as_ref().map(IntentId::as_str),
                    "amount_minor": refund.amount_minor,
                    "currency": refund.currency,
                });
                let stray = about(Difference::UnrecordedRefund, *payment_id, facts);
                tally = tally.and(self.open(stray).await?);
            }
            match page.next_after() {
                Some(last) => after = Some(last.id.clone()),
                None => return Ok(tally),
            }
        }
    }

    /// Looks at an intent and deals with what it comes to beside what was read before.
    async fn compare_now(
        &self,
        payment_id: PaymentId,
        id: &IntentId,
        booked: Option<&Booked>,
    ) -> Result<Tally, Trouble> {
        let intent = match self.provider.retrieve(id).await {
            Ok(intent) if intent.charge.payment == payment_id => intent,
            Ok(intent) => {
                let facts = json!({ "intent": id.as_str(), "is_for": intent.charge.payment });
                return Ok(self.open(about(Difference::OddIntent, payment_id, facts)).await?);
            }
            Err(ProviderError::Refused { code, .. }) if code == MISSING => {
                return self.open_missing(payment_id, id, booked).await;
            }
            // What cannot be understood today, another look will not make clear, and the rest must not wait.
            Err(ProviderError::Unknown {
                doubt: doubt @ (Doubt::Unreadable(_) | Doubt::Mismatch(_)),
                ..
            }) => {
                tracing::error!(%doubt, "{id} cannot be held against our books");
                return Ok(Tally { left: 1, ..Tally::default() });
            }
            Err(error) => return Err(error.into()),
        };
        let facts = facts(&intent, booked);
        match judge(held(&intent), booked) {
            Verdict::Agreed => Ok(Tally::default()),
            Verdict::TooEarly => Ok(Tally { under_way: 1, ..Tally::default() }),
            Verdict::Case(difference) => {
                Ok(self.open(about(difference, payment_id, facts)).await?)
            }
            Verdict::GiveBack(difference) => {
                let given = self.payments.return_late(payment_id, Some(id.as_str()), 0).await;
                match given {
                    Ok(Some(_)) => Ok(self.mended(about(difference, payment_id, facts)).await?),
                    // Somebody was quicker.
                    Ok(None) => Ok(Tally::default()),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::warn!(payment.id = %payment_id, error, "what {id} holds for {payment_id} cannot be given back now");
                        Ok(Tally { left: 1, ..Tally::default() })
                    }
                }
            }
        }
    }

    /// The provider does not know what our books have an id of.
    async fn open_missing(
        &self,
        payment_id: PaymentId,
        id: &IntentId,
        booked: Option<&Booked>,
    ) -> Result<Tally, Trouble> {
        if judge(Held::Nothing, booked) == Verdict::Agreed {
            return Ok(Tally::default());
        }
        let facts = json!({ "intent": id.as_str(), "provider": "missing" });
        Ok(self.open(about(Difference::OrderWithoutCharge, payment_id, facts)).await?)
    }

    /// Compares something in each database of the stock. One of several that is down is left for the next time.
    async fn in_each_part<F>(
        &self,
        what: &str,
        compare: impl Fn(Part) -> F,
    ) -> Result<Tally, store::Error>
    where
        F: Future<Output = Result<Tally, store::Error>>,
    {
        let mut tally = Tally::default();
        for part in self.stock.shards().parts() {
            match compare(part).await {
                Ok(found) => tally = tally.and(found),
                Err(error) if error.transient() && part.of_several() => {
                    let error = failure::chain(&error);
                    tracing::warn!(error, "the {what} of {} cannot be looked at now", part.name());
                    tally.left += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tally)
    }

    /// Every hold.
    async fn compare_holds(&self) -> Result<Tally, store::Error> {
        self.in_each_part("holds", |part| self.compare_holds_of(part)).await
    }

    async fn compare_holds_of(&self, part: Part) -> Result<Tally, store::Error> {
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let held = {
                let mut stock = self.stock.shards().acquire(part).await?;
                inventory::held(&mut stock, after, ROWS).await?
            };
            tally.looked_at += held.len() as u64;
            let over = {
                let mut conn = self.pool.acquire().await?;
                reconciliation::over(&mut conn, &held, ORPHAN_AFTER_MS).await?
            };
            for (checkout_id, fate) in over {
                tally = tally.and(self.end_hold(part, checkout_id, fate).await?);
            }
            match held.last() {
                Some(last) if held.len() >= ROWS as usize => after = Some(*last),
                _ => return Ok(tally),
            }
        }
    }

    async fn end_hold(
        &self,
        part: Part,
        checkout_id: CheckoutId,
        fate: Fate,
    ) -> Result<Tally, store::Error> {
        let places = Places::from(part);
        let came_to = match fate {
            Fate::Sold => {
                self.stock.sell(checkout_id, &places).await?;
                "sold"
            }
            Fate::Unsold | Fate::Unknown => {
                match self.stock.give_back(checkout_id, &places, Resolution::Released).await? {
                    Resolution::Released => "released",
                    // Somebody was quicker.
                    Resolution::Committed | Resolution::Expired => return Ok(Tally::default()),
                }
            }
        };
        self.mended(Finding {
            difference: Difference::OrphanHold,
            subject: checkout_id.to_string(),
            order_id: Some(checkout_id.order()),
            facts: json!({ "came_to": came_to, "known": fate != Fate::Unknown }),
        })
        .await
    }

    /// Every counter, beside its ledgers.
    async fn compare_counters(&self) -> Result<Tally, store::Error> {
        let mut tally = self.in_each_part("counters", |part| self.recount_part(part)).await?;
        let suspects = payment::missummed(&mut *self.pool.acquire().await?).await?;
        for payment_id in suspects {
            tally.looked_at += 1;
            tally = tally.and(self.resum(payment_id).await?);
        }
        Ok(tally)
    }

    async fn recount_part(&self, part: Part) -> Result<Tally, store::Error> {
        let mut tally = Tally::default();
        let mut stock = self.stock.shards().acquire(part).await?;
        for sku in inventory::miscounted(&mut stock).await? {
            tally.looked_at += 1;
            let finding = |facts| Finding {
                difference: Difference::CounterMismatch,
                subject: sku.to_string(),
                order_id: None,
                facts,
            };
            tally = tally.and(match inventory::recount(&mut stock, &sku).await? {
                Recounted::Right => Tally::default(),
                Recounted::Mended { before, after } => {
                    let facts = json!({ "before": counters(before), "after": counters(after) });
                    self.mended(finding(facts)).await?
                }
                Recounted::Impossible { before, ledgers } => {
                    let facts =
                        json!({ "counters": counters(before), "ledgers": counters(ledgers) });
                    self.open(finding(facts)).await?
                }
            });
        }
        Ok(tally)
    }

    async fn resum(&self, payment_id: PaymentId) -> Result<Tally, store::Error> {
        let finding = |facts| about(Difference::CounterMismatch, payment_id, facts);
        let mut tx = self.pool.begin().await?;
        match payment::resum(&mut tx, payment_id).await {
            Ok(Resummed::Right) => Ok(Tally::default()),
            Ok(Resummed::Mended { before, after }) => {
                let finding = finding(json!({ "before": before, "after": after }));
                case::note_mended(&mut tx, &finding).await?;
                tx.commit().await?;
                tell(&finding, "mended");
                Ok(Tally { mended: 1, ..Tally::default() })
            }
            // The ledger says what may not be, such as more paid back than was taken.
            Err(error) if !error.transient() => {
                tx.rollback().await?;
                self.open(finding(json!({ "why": "the ledger says what may not be" }))).await
            }
            Err(error) => Err(error),
        }
    }

    /// What was promised so long ago that people must look; when it is very much, such as after a long outage,
    /// not all of it at once.
    async fn compare_promises(&self, after_ms: u64) -> Result<Tally, store::Error> {
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let overdue = {
                let mut conn = self.pool.acquire().await?;
                reconciliation::overdue(&mut conn, after_ms, PENDING_MAX_MS, after, ROWS).await?
            };
            let last = overdue.last().map(|last| last.id);
            let full = overdue.len() >= ROWS as usize;
            for promise in overdue {
                tally.looked_at += 1;
                tally = tally.and(self.open(late(promise)).await?);
            }
            if !full {
                return Ok(tally);
            }
            if tally.opened >= u64::from(ROWS) {
                tally.left += 1;
                return Ok(tally);
            }
            after = last;
        }
    }

    async fn open(&self, finding: Finding) -> Result<Tally, store::Error> {
        let opened = async {
            let mut tx = self.pool.begin().await?;
            let opened = case::open(&mut tx, &finding).await?;
            tx.commit().await?;
            Ok::<_, store::Error>(opened)
        };
        if opened.await? {
            tell(&finding, "a case for people");
            return Ok(Tally { opened: 1, ..Tally::default() });
        }
        Ok(Tally::default())
    }

    async fn mended(&self, finding: Finding) -> Result<Tally, store::Error> {
        let noted = async {
            let mut conn = self.pool.acquire().await?;
            case::note_mended(&mut conn, &finding).await
        };
        noted.await?;
        tell(&finding, "mended");
        Ok(Tally { mended: 1, ..Tally::default() })
    }
}

/// Nothing where no money went, or where it is not one of our intents.
fn paid_back(refund: &ListedRefund) -> Option<PaidBack> {
    let intent = refund.intent.as_ref().filter(|_| !refund.undone)?;
    Some(PaidBack {
        intent: intent.to_string(),
        refund: refund.id.to_string(),
        named: refund.reference.as_deref().and_then(|name| name.parse().ok()),
    })
}

fn held(intent: &Intent) -> Held {
    match intent.status {
        IntentStatus::RequiresPaymentMethod { .. }
        | IntentStatus::RequiresConfirmation
        | IntentStatus::Canceled => Held::Nothing,
        IntentStatus::RequiresAction { .. } | IntentStatus::Processing => Held::Coming,
        IntentStatus::RequiresCapture => Held::Authorized,
        IntentStatus::Succeeded => Held::Captured(
            Money::new(intent.captured_minor, intent.charge.amount.currency())
                .expect("a captured amount lies within its intent's"),
        ),
    }
}

/// Nothing that changes by itself: the same difference is the same case.
fn facts(intent: &Intent, booked: Option<&Booked>) -> serde_json::Value {
    json!({
        "intent": intent.id.as_str(),
        "attempt": intent.charge.attempt,
        "provider": intent.status.as_str(),
        "intent_amount": intent.charge.amount,
        "captured_minor": intent.captured_minor,
        "known": booked.is_some(),
        "sold": booked.map(|booked| booked.order.sold()),
        "order_total": booked.map(|booked| booked.amount),
    })
}

fn about(difference: Difference, payment_id: PaymentId, facts: serde_json::Value) -> Finding {
    Finding {
        difference,
        subject: payment_id.to_string(),
        order_id: Some(payment_id.checkout().order()),
        facts,
    }
}

fn late(promise: Overdue) -> Finding {
    let Overdue { difference, id: _, subject, order_id, since } = promise;
    Finding { difference, subject, order_id: Some(order_id), facts: json!({ "since": since }) }
}

fn counters(level: Level) -> serde_json::Value {
    let Level { received, available, reserved, sold } = level;
    json!({ "received": received, "available": available, "reserved": reserved, "sold": sold })
}

fn tell(finding: &Finding, what: &str) {
    let Finding { difference, subject, facts, .. } = finding;
    tracing::warn!(difference = difference.as_str(), subject, %facts, "books differ: {} of {subject}: {what}", difference.as_str());
}

#[activities]
impl Reconciler {
    #[activity(definition = reconciling::Page)]
    pub async fn page(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PageInput,
    ) -> Result<PageOutcome, ActivityError> {
        Ok(heartbeat::during(&ctx, Box::pin(self.compare_page(input))).await?)
    }

    #[activity(definition = reconciling::Holds)]
    pub async fn holds(
        self: Arc<Self>,
        ctx: ActivityContext,
        _input: WholeInput,
    ) -> Result<Tally, ActivityError> {
        heartbeat::during(&ctx, self.compare_holds()).await.map_err(failure::database)
    }

    #[activity(definition = reconciling::Counters)]
    pub async fn counters(
        self: Arc<Self>,
        ctx: ActivityContext,
        _input: WholeInput,
    ) -> Result<Tally, ActivityError> {
        heartbeat::during(&ctx, self.compare_counters()).await.map_err(failure::database)
    }

    #[activity(definition = reconciling::Overdue)]
    pub async fn overdue(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: OverdueInput,
    ) -> Result<Tally, ActivityError> {
        let found = heartbeat::during(&ctx, self.compare_promises(input.after_ms)).await;
        found.map_err(failure::database)
    }
}
