//! One payment, and the provider's ways of speaking about it.

use std::{sync::Once, time::Duration};

use domain::{Money, PaymentId, PaymentMethod};
use payments::{Charge, Config, Intent, IntentId, IntentStatus, Stripe};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::provider::Provider;

pub(crate) const API_KEY: &str = "sk_test_s3cr3t";
pub(crate) const INTENT: &str = "pi_3PyXbY";
pub(crate) const PAYMENT: &str = "pay_01h455vb4pex5vsknk084sn02q";

pub(crate) fn config(base_url: Url) -> Config {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("installed once");
    });
    Config {
        base_url,
        api_key: API_KEY.to_owned(),
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        return_url: None,
    }
}

pub(crate) fn client(provider: &Provider) -> Stripe {
    let config = Config { timeout: provider.timeout, ..config(provider.url.clone()) };
    Stripe::new(config).expect("a client")
}

pub(crate) fn payment() -> PaymentId {
    let uuid = Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").expect("a UUID");
    PaymentId::from(uuid)
}

pub(crate) fn eur(minor: i64) -> Money {
    Money::new(minor, "EUR".parse().expect("a currency")).expect("an amount")
}

pub(crate) fn charge() -> Charge {
    Charge { payment: payment(), attempt: 1, amount: eur(1999) }
}

pub(crate) fn method() -> PaymentMethod {
    PaymentMethod::try_from("pm_card_visa".to_owned()).expect("a method")
}

pub(crate) fn id() -> IntentId {
    IntentId::try_from(INTENT.to_owned()).expect("an id")
}

/// The intent as this shop knows it.
pub(crate) fn known(status: IntentStatus) -> Intent {
    let captured_minor = if status == IntentStatus::Succeeded { 1999 } else { 0 };
    let approved = matches!(status, IntentStatus::RequiresCapture | IntentStatus::Succeeded);
    Intent { id: id(), charge: charge(), status, approved, captured_minor }
}

/// The intent as the provider writes it.
pub(crate) fn intent(status: &str) -> Value {
    json!({
        "id": INTENT,
        "object": "payment_intent",
        "amount": 1999,
        "amount_capturable": if status == "requires_capture" { 1999 } else { 0 },
        "amount_received": if status == "succeeded" { 1999 } else { 0 },
        "capture_method": "manual",
        "created": 1_700_000_000,
        "currency": "eur",
        "last_payment_error": null,
        "livemode": false,
        "metadata": {"attempt": "1", "order_id": "ord_01h455vb4pex5vsknk084sn02q", "payment_id": PAYMENT},
        "next_action": null,
        "status": status,
    })
}

/// The intent with some of its fields replaced, each named by its JSON pointer.
pub(crate) fn bent(status: &str, pointer: &str, value: Value) -> Value {
    let mut intent = intent(status);
    *intent.pointer_mut(pointer).expect("the field exists") = value;
    intent
}

pub(crate) fn declined() -> Value {
    let reason = json!({
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "message": "Your card has insufficient funds.",
    });
    bent("requires_payment_method", "/last_payment_error", reason)
}

pub(crate) fn action_required(url: &str) -> Value {
    let next =
        json!({"type": "redirect_to_url", "redirect_to_url": {"url": url, "return_url": null}});
    bent("requires_action", "/next_action", next)
}

pub(crate) fn error(kind: &str, code: &str) -> Value {
    json!({"error": {"type": kind, "code": code, "message": "No, said the provider."}})
}

/// A decline as `confirm` answers it: 402, with the intent inside.
pub(crate) fn decline_with(intent: &Value) -> Value {
    json!({"error": {
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "message": "Your card has insufficient funds.", "payment_intent": intent,
    }})
}

pub(crate) fn refund(status: &str) -> Value {
    json!({
        "id": "re_1", "object": "refund", "amount": 1999, "currency": "eur", "created": 1_700_000_000,
        "payment_intent": INTENT, "status": status,
    })
}

/// A refund that carries a reference of ours.
pub(crate) fn referenced(id: &str, reference: &str, status: &str) -> Value {
    let mut refund = refund(status);
    refund["id"] = json!(id);
    refund["metadata"] = json!({"attempt": "1", "payment_id": PAYMENT, "reference": reference});
    refund
}

/// A page of a list.
pub(crate) fn listed(items: &[Value], has_more: bool) -> Value {
    json!({"object": "list", "data": items, "has_more": has_more, "url": "/v1/refunds"})
}

pub(crate) fn found(intents: &[Value]) -> Value {
    json!({"object": "search_result", "data": intents, "has_more": false, "url": "/v1/payment_intents/search"})
}
