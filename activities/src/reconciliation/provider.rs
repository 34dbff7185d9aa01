//! Our books of payments held against the provider's, both ways.

use std::ops::Range;

use ::payments::{
    Doubt, Error as ProviderError, Intent, IntentId, IntentStatus, ListedRefund, Whose,
};
use chrono::Utc;
use domain::{
    Difference, Money, PaymentId,
    reconciliation::{Booked, Held, Verdict, judge},
};
use serde_json::json;
use store::reconciliation::{self, PaidBack, Taken};
use workflows::contract::reconciling::{PageInput, PageOutcome, Tally};

use super::{ROWS, Reconciler, about};
use crate::payments::{Trouble, intent_id};

/// What the provider answers about something it does not have.
const MISSING: &str = "resource_missing";

impl Reconciler {
    /// A page of the provider's payments, and of the time that it spans our books and the provider's refunds.
    pub(super) async fn compare_page(&self, input: PageInput) -> Result<PageOutcome, Trouble> {
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
            let undone = page.items.iter().filter(|refund| refund.undone);
            let undone: Vec<String> =
                undone.filter_map(|refund| Some(refund.intent.as_ref()?.to_string())).collect();
            let returned = {
                let mut conn = self.pool.acquire().await?;
                reconciliation::returned(&mut conn, &undone).await?
            };
            for (payment_id, intent) in returned {
                let opened =
                    self.payments.check_paid_back(payment_id, &intent_id(&intent)?).await?;
                tally.opened += u64::from(opened);
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
                // Another number each hour, so that an answer which the provider keeps with a key does not stand
                // for good.
                let hours = u32::try_from(Utc::now().timestamp() / 3600).unwrap_or_default();
                let given = self.payments.return_late(payment_id, Some(id.as_str()), hours).await;
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
