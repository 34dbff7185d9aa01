//! The payment intent and its state machine: pure transitions that say what changes, what the ledger
//! records and what is refused. No clock, no database, no JSON of the wire.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    card::{Behaviour, Card, Decline},
    error::ApiError,
    refund::Refund,
    words::words,
};

words! {
    /// Stripe's states of a payment intent. `processing` is what slow methods such as bank debits pass
    /// through; no test method here enters it, but what it forbids is the same.
    enum Status {
        RequiresPaymentMethod = "requires_payment_method",
        RequiresConfirmation = "requires_confirmation",
        RequiresAction = "requires_action",
        Processing = "processing",
        RequiresCapture = "requires_capture",
        Canceled = "canceled",
        Succeeded = "succeeded",
    }
}

words! {
    /// When the money moves: with the confirmation or by a call of its own.
    enum CaptureMethod {
        Automatic = "automatic",
        Manual = "manual",
    }
}

words! {
    /// What a card network would have recorded.
    enum EntryKind {
        Authorized = "authorized",
        Captured = "captured",
        Voided = "voided",
        Refunded = "refunded",
        RefundFailed = "refund_failed",
        Declined = "declined",
    }
}

const CONFIRMABLE: &[Status] =
    &[Status::RequiresPaymentMethod, Status::RequiresConfirmation, Status::RequiresAction];
const CAPTURABLE: &[Status] = &[Status::RequiresCapture];
const CANCELABLE: &[Status] = &[
    Status::RequiresPaymentMethod,
    Status::RequiresCapture,
    Status::RequiresConfirmation,
    Status::RequiresAction,
];

/// One payment intent as stored.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) capture_method: CaptureMethod,
    pub(crate) status: Status,
    pub(crate) payment_method: Option<String>,
    pub(crate) amount_authorized: i64,
    pub(crate) amount_captured: i64,
    pub(crate) amount_refunded: i64,
    pub(crate) charge: Option<String>,
    pub(crate) cancellation_reason: Option<String>,
    pub(crate) canceled_at: Option<DateTime<Utc>>,
    pub(crate) return_url: Option<String>,
    pub(crate) last_payment_error: Option<Value>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) created_at: DateTime<Utc>,
    /// The stored version this was read at; 0 for an intent not yet stored.
    pub(crate) version: i64,
}

/// What one operation changes; stored as a whole or not at all.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) intent: Intent,
    pub(crate) entries: Vec<(EntryKind, i64)>,
    pub(crate) refund: Option<Refund>,
}

/// How one operation ends. Each of the three is a definite answer.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Change),
    /// The answer is an error and yet something changed.
    Declined(Change, ApiError),
    /// Nothing changed.
    Refused(Box<Intent>, ApiError),
}

/// A fresh id: time-ordered, so that it also sorts by creation.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

impl Intent {
    /// An intent whose method is known but not confirmed, or that waits for one.
    pub(crate) fn start(self, card: Option<Card>) -> Outcome {
        let mut intent = self;
        if let Some(card) = card {
            intent.payment_method = Some(card.name.to_owned());
            intent.status = Status::RequiresConfirmation;
        }
        intent.done(Vec::new())
    }

    /// What a new intent was before anybody was asked for money.
    pub(crate) fn unconfirmed(&self) -> Self {
        if self.status == Status::RequiresConfirmation {
            return self.clone();
        }
        Self {
            status: Status::RequiresPaymentMethod,
            payment_method: None,
            amount_authorized: 0,
            amount_captured: 0,
            charge: None,
            last_payment_error: None,
            ..self.clone()
        }
    }

    /// Asks the issuer. `card` replaces the method set before; `declined_by` overrules the card.
    pub(crate) fn confirm(
        mut self,
        card: Option<Card>,
        return_url: Option<&str>,
        declined_by: Option<Decline>,
    ) -> Outcome {
        if !CONFIRMABLE.contains(&self.status) {
            let error = ApiError::unexpected_state(&self, "confirmed", CONFIRMABLE);
            return self.refused(error);
        }
        let kept = self.payment_method.as_deref().and_then(|name| Card::find(name).ok());
        let Some(card) = card.or(kept) else {
            let error = ApiError::unexpected_state_because(
                "You cannot confirm this PaymentIntent because it's missing a payment method. You can \
                 either update the PaymentIntent with a payment method and then confirm it again, or \
                 confirm it again directly with a payment method.",
            );
            return self.refused(error);
        };
        self.payment_method = Some(card.name.to_owned());
        if let Some(return_url) = return_url {
            self.return_url = Some(return_url.to_owned());
        }
        match declined_by.map_or(card.behaviour, Behaviour::Decline) {
            Behaviour::Approve => self.approve(),
            Behaviour::Decline(decline) => self.decline(decline.error()),
            Behaviour::Authenticate => {
                self.status = Status::RequiresAction;
                self.last_payment_error = None;
                self.done(Vec::new())
            }
        }
    }

    /// Ends 3-D Secure. `None` when the intent does not wait for it.
    pub(crate) fn authenticate(self, passed: bool) -> Option<Outcome> {
        (self.status == Status::RequiresAction).then(|| {
            if passed { self.approve() } else { self.decline(ApiError::authentication_failed()) }
        })
    }

    /// Takes the money. What is not captured goes back to the buyer with the same step.
    pub(crate) fn capture(mut self, amount: Option<i64>) -> Outcome {
        if !CAPTURABLE.contains(&self.status) {
            let error = ApiError::unexpected_state(&self, "captured", CAPTURABLE);
            return self.refused(error);
        }
        let amount = amount.unwrap_or(self.amount_authorized);
        if amount > self.amount_authorized {
            let message = format!(
                "The amount to capture ({amount}) is greater than the remaining capturable amount ({}).",
                self.amount_authorized,
            );
            let error = ApiError::invalid_param("amount_to_capture", "amount_too_large", message);
            return self.refused(error);
        }
        self.amount_captured = amount;
        self.status = Status::Succeeded;
        self.done(vec![(EntryKind::Captured, amount)])
    }

    /// The network refuses the capture for good: the authorization has lapsed and is void.
    pub(crate) fn refuse_capture(mut self, at: DateTime<Utc>) -> Outcome {
        if !CAPTURABLE.contains(&self.status) {
            return self.capture(None);
        }
        let entries = self.close("expired", at);
        let error = ApiError::invalid(
            Some("charge_expired_for_capture"),
            "The charge cannot be captured because its authorization has expired.",
        );
        Outcome::Declined(self.changed(entries), error)
    }

    /// The issuer takes its authorization back, as it does after some days without a capture.
    pub(crate) fn lapse(mut self, at: DateTime<Utc>) -> Outcome {
        if !CAPTURABLE.contains(&self.status) {
            let error = ApiError::unexpected_state(&self, "expired", CAPTURABLE);
            return self.refused(error);
        }
        let entries = self.close("automatic", at);
        self.done(entries)
    }

    /// Gives the authorization back, or closes an intent that never got one.
    pub(crate) fn cancel(mut self, reason: Option<&str>, at: DateTime<Utc>) -> Outcome {
        if !CANCELABLE.contains(&self.status) {
            let error = ApiError::unexpected_state(&self, "canceled", CANCELABLE);
            return self.refused(error);
        }
        let entries = self.close(reason.unwrap_or_default(), at);
        self.done(entries)
    }

    pub(crate) fn refused(self, error: ApiError) -> Outcome {
        Outcome::Refused(Box::new(self), error)
    }

    fn approve(mut self) -> Outcome {
        self.charge = Some(new_id("ch"));
        self.last_payment_error = None;
        self.amount_authorized = self.amount;
        let mut entries = vec![(EntryKind::Authorized, self.amount)];
        match self.capture_method {
            CaptureMethod::Manual => self.status = Status::RequiresCapture,
            CaptureMethod::Automatic => {
                self.status = Status::Succeeded;
                self.amount_captured = self.amount;
                entries.push((EntryKind::Captured, self.amount));
            }
        }
        self.done(entries)
    }

    /// Back to the start, with another method welcome.
    fn decline(mut self, error: ApiError) -> Outcome {
        let charge = new_id("ch");
        self.last_payment_error = Some(json!({
            "type": error.kind,
            "code": error.code,
            "decline_code": error.decline_code,
            "message": error.message,
            "charge": charge,
            "payment_method": { "id": self.payment_method, "object": "payment_method", "type": "card" },
        }));
        self.charge = Some(charge);
        self.payment_method = None;
        self.status = Status::RequiresPaymentMethod;
        let amount = self.amount;
        Outcome::Declined(self.changed(vec![(EntryKind::Declined, amount)]), error)
    }

    fn close(&mut self, reason: &str, at: DateTime<Utc>) -> Vec<(EntryKind, i64)> {
        self.status = Status::Canceled;
        self.canceled_at = Some(at);
        self.cancellation_reason = (!reason.is_empty()).then(|| reason.to_owned());
        if self.amount_authorized > 0 {
            vec![(EntryKind::Voided, self.amount_authorized)]
        } else {
            Vec::new()
        }
    }

    fn done(self, entries: Vec<(EntryKind, i64)>) -> Outcome {
        Outcome::Done(self.changed(entries))
    }

    pub(crate) fn changed(self, entries: Vec<(EntryKind, i64)>) -> Change {
        Change { intent: self, entries, refund: None }
    }
}

#[cfg(test)]
mod tests;
