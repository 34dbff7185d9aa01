//! How intents, refunds, lists and errors look as JSON: Stripe's field names and shapes. It decides
//! nothing; it only shows.

mod events;

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) use self::events::event_body;
use crate::{
    error::ApiError,
    intent::{Change, Intent, Outcome, Status},
    refund::{Refund, RefundStatus},
};

/// A finished answer: what is sent, and what is kept under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn ok(body: &impl Serialize) -> Self {
        Self { status: 200, body: to_json(body) }
    }

    pub(crate) fn error(error: &ApiError, intent: Option<&Intent>, public_url: &str) -> Self {
        let mut object = json!({ "type": error.kind, "message": error.message });
        let optional = [
            ("code", error.code.map(Value::from)),
            ("decline_code", error.decline_code.map(Value::from)),
            ("param", error.param.as_deref().map(Value::from)),
            (
                "charge",
                intent
                    .filter(|_| error.kind == "card_error")
                    .and_then(|intent| intent.charge.as_deref().map(Value::from)),
            ),
            ("payment_intent", intent.map(|intent| json!(intent_view(intent, public_url)))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                object[name] = value;
            }
        }
        Self { status: error.status, body: to_json(&json!({ "error": object })) }
    }

    pub(crate) fn outcome(outcome: &Outcome, public_url: &str) -> Self {
        match outcome {
            Outcome::Done(Change { refund: Some(refund), .. }) => Self::ok(&refund_view(refund)),
            Outcome::Done(Change { intent, .. }) => Self::ok(&intent_view(intent, public_url)),
            Outcome::Declined(Change { intent, .. }, error) => {
                Self::error(error, Some(intent), public_url)
            }
            Outcome::Refused(intent, error) => Self::error(error, Some(intent), public_url),
        }
    }
}

fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("views have text keys and no fallible serializers")
}

/// A page of objects. `object` is `list` or `search_result`.
pub(crate) fn page<T: Serialize>(object: &str, url: &str, data: &[T], has_more: bool) -> Value {
    json!({ "object": object, "url": url, "has_more": has_more, "data": data })
}

#[derive(Serialize)]
pub(crate) struct IntentView<'a> {
    id: &'a str,
    object: &'static str,
    amount: i64,
    amount_capturable: i64,
    amount_received: i64,
    canceled_at: Option<i64>,
    cancellation_reason: Option<&'a str>,
    capture_method: &'static str,
    client_secret: String,
    confirmation_method: &'static str,
    created: i64,
    currency: &'a str,
    customer: Option<&'a str>,
    last_payment_error: Option<&'a Value>,
    latest_charge: Option<&'a str>,
    livemode: bool,
    metadata: &'a BTreeMap<String, String>,
    next_action: Option<NextAction<'a>>,
    payment_method: Option<&'a str>,
    payment_method_types: [&'static str; 1],
    status: Status,
}

#[derive(Serialize)]
struct NextAction<'a> {
    r#type: &'static str,
    redirect_to_url: Redirect<'a>,
}

#[derive(Serialize)]
struct Redirect<'a> {
    url: String,
    return_url: Option<&'a str>,
}

pub(crate) fn intent_view<'a>(intent: &'a Intent, public_url: &str) -> IntentView<'a> {
    let capturable = intent.status == Status::RequiresCapture;
    let next_action = (intent.status == Status::RequiresAction).then(|| NextAction {
        r#type: "redirect_to_url",
        redirect_to_url: Redirect {
            url: format!("{public_url}/3ds/{}", intent.id),
            return_url: intent.return_url.as_deref(),
        },
    });
    IntentView {
        id: &intent.id,
        object: "payment_intent",
        amount: intent.amount,
        amount_capturable: if capturable { intent.amount_authorized } else { 0 },
        amount_received: intent.amount_captured,
        canceled_at: intent.canceled_at.map(|at| at.timestamp()),
        cancellation_reason: intent.cancellation_reason.as_deref(),
        capture_method: intent.capture_method.as_str(),
        client_secret: client_secret(&intent.id),
        confirmation_method: "automatic",
        created: intent.created_at.timestamp(),
        currency: &intent.currency,
        customer: None,
        last_payment_error: intent.last_payment_error.as_ref(),
        latest_charge: intent.charge.as_deref(),
        livemode: false,
        metadata: &intent.metadata,
        next_action,
        payment_method: intent.payment_method.as_deref(),
        payment_method_types: ["card"],
        status: intent.status,
    }
}

#[derive(Serialize)]
pub(crate) struct RefundView<'a> {
    id: &'a str,
    object: &'static str,
    amount: i64,
    balance_transaction: Option<&'a str>,
    charge: &'a str,
    created: i64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'a str>,
    metadata: &'a BTreeMap<String, String>,
    payment_intent: &'a str,
    reason: Option<&'a str>,
    status: RefundStatus,
}

pub(crate) fn refund_view(refund: &Refund) -> RefundView<'_> {
    RefundView {
        id: &refund.id,
        object: "refund",
        amount: refund.amount,
        balance_transaction: None,
        charge: &refund.charge,
        created: refund.created_at.timestamp(),
        currency: &refund.currency,
        failure_reason: refund.failure_reason.as_deref(),
        metadata: &refund.metadata,
        payment_intent: &refund.payment_intent,
        reason: refund.reason.as_deref(),
        status: refund.status,
    }
}

/// The secret a browser would hold. Derived, not stored: nothing here is worth protecting, and the
/// field only has to be present and stable.
fn client_secret(id: &str) -> String {
    let mut secret = format!("{id}_secret_");
    for byte in &Sha256::digest(id)[..12] {
        write!(secret, "{byte:02x}").expect("writing to a String cannot fail");
    }
    secret
}
