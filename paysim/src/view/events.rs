//! How events and the charges in them look as JSON.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{intent_view, refund_view};
use crate::{
    app::App,
    event::{Cause, EventKind, Subject},
    intent::{Intent, Status},
};

/// The version of Stripe's API whose shapes these views have.
const API_VERSION: &str = "2024-06-20";

pub(crate) fn event_body(
    id: &str,
    kind: EventKind,
    subject: &Subject<'_>,
    cause: Cause<'_>,
    at: DateTime<Utc>,
    app: &App,
) -> Value {
    let public_url = &app.public_url;
    let object = match subject {
        Subject::New(intent) => json!(intent_view(intent, public_url)),
        Subject::Intent(intent) => json!(intent_view(intent, public_url)),
        Subject::Charge(intent, charge) => charge_view(intent, charge),
        Subject::Refund(refund) => json!(refund_view(refund)),
    };
    json!({
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": at.timestamp(),
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": app.webhooks.urls.len(),
        "request": { "id": cause.request_id, "idempotency_key": cause.idempotency_key },
        "type": kind,
    })
}

/// The charge of an intent. The network keeps no time of the charge's own.
fn charge_view(intent: &Intent, charge: &str) -> Value {
    json!({
        "id": charge,
        "object": "charge",
        "amount": intent.amount,
        "amount_captured": intent.amount_captured,
        "amount_refunded": intent.amount_refunded,
        "captured": intent.amount_captured > 0,
        "created": intent.created_at.timestamp(),
        "currency": intent.currency,
        "livemode": false,
        "metadata": intent.metadata,
        "paid": intent.status == Status::Succeeded,
        "payment_intent": intent.id,
        "payment_method": intent.payment_method,
        "refunded": intent.amount_captured > 0 && intent.amount_refunded == intent.amount_captured,
        "status": "succeeded",
    })
}
