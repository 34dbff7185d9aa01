//! Which events a change is, in order. Pure; how they look is in `view`, where they are kept and to
//! whom they are sent is decided elsewhere.

use crate::{
    intent::{Change, EntryKind, Intent, Status},
    refund::{Refund, RefundStatus},
    words::words,
};

words! {
    /// The types of events, in Stripe's spelling.
    enum EventKind {
        IntentCreated = "payment_intent.created",
        IntentRequiresAction = "payment_intent.requires_action",
        IntentAmountCapturableUpdated = "payment_intent.amount_capturable_updated",
        IntentSucceeded = "payment_intent.succeeded",
        IntentPaymentFailed = "payment_intent.payment_failed",
        IntentCanceled = "payment_intent.canceled",
        ChargeRefunded = "charge.refunded",
        RefundCreated = "refund.created",
        RefundUpdated = "refund.updated",
        RefundFailed = "refund.failed",
    }
}

/// What an event is about, as of then.
#[derive(Debug)]
pub(crate) enum Subject<'a> {
    /// The intent before its first confirmation.
    New(Box<Intent>),
    Intent(&'a Intent),
    Charge(&'a Intent, &'a str),
    Refund(&'a Refund),
}

/// The request behind a change; both are `None` when no API request made it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cause<'a> {
    pub(crate) request_id: Option<&'a str>,
    pub(crate) idempotency_key: Option<&'a str>,
}

/// The events of a change, in the order in which they are told.
pub(crate) fn events(change: &Change) -> Vec<(EventKind, Subject<'_>)> {
    let Change { intent, refund, .. } = change;
    if let Some(refund) = refund {
        if !recorded(change, EntryKind::Refunded) {
            return settled(refund);
        }
        let mut events = vec![(EventKind::RefundCreated, Subject::Refund(refund))];
        if let Some(charge) = &intent.charge {
            events.push((EventKind::ChargeRefunded, Subject::Charge(intent, charge)));
        }
        return events;
    }
    let mut events = Vec::new();
    if intent.version == 0 {
        events.push((EventKind::IntentCreated, Subject::New(Box::new(intent.unconfirmed()))));
    }
    events.extend(confirmed_or_ended(change).map(|kind| (kind, Subject::Intent(intent))));
    events
}

/// A refund that was made before and has got its last word.
fn settled(refund: &Refund) -> Vec<(EventKind, Subject<'_>)> {
    let mut events = vec![(EventKind::RefundUpdated, Subject::Refund(refund))];
    if refund.status == RefundStatus::Failed {
        events.push((EventKind::RefundFailed, Subject::Refund(refund)));
    }
    events
}

fn recorded(change: &Change, kind: EntryKind) -> bool {
    change.entries.iter().any(|(recorded, _)| *recorded == kind)
}

fn confirmed_or_ended(change: &Change) -> Option<EventKind> {
    match change.intent.status {
        Status::RequiresAction => Some(EventKind::IntentRequiresAction),
        Status::RequiresCapture => Some(EventKind::IntentAmountCapturableUpdated),
        Status::Succeeded => Some(EventKind::IntentSucceeded),
        Status::Canceled => Some(EventKind::IntentCanceled),
        Status::RequiresPaymentMethod => {
            recorded(change, EntryKind::Declined).then_some(EventKind::IntentPaymentFailed)
        }
        Status::RequiresConfirmation | Status::Processing => None,
    }
}
