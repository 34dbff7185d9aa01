//! Reads a verified event. Of the object in it only names are taken, never a state or an amount.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::{Event, EventKind, Rejected};

/// The longest word for what changed.
const TYPE_CHARS_MAX: usize = 100;
/// The longest reference of a refund that is passed on; the provider keeps no longer one.
const REFERENCE_CHARS_MAX: usize = 500;
/// What is shown of why an event cannot be read.
const REASON_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
struct RawEvent {
    object: String,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    created: i64,
    data: RawData,
}

#[derive(Deserialize)]
struct RawData {
    object: RawObject,
}

/// An intent, a refund, a charge, or anything else. Some objects have none of these.
#[derive(Deserialize)]
struct RawObject {
    object: Option<String>,
    id: Option<String>,
    payment_intent: Option<Value>,
    #[serde(default)]
    metadata: Value,
}

pub(super) fn read(body: &[u8]) -> Result<Event, Rejected> {
    let raw: RawEvent = serde_json::from_slice(body).map_err(unreadable)?;
    if raw.object != "event" {
        return Err(unreadable("it is no event"));
    }
    let id = raw.id.try_into().map_err(unreadable)?;
    let kind = kind(raw.kind)?;
    let RawObject { object, id: object_id, payment_intent, metadata } = raw.data.object;
    let is = |wanted| object.as_deref() == Some(wanted);
    let intent = match object_id.clone() {
        Some(id) if is("payment_intent") => Some(id),
        _ => payment_intent.as_ref().and_then(Value::as_str).map(str::to_owned),
    };
    let intent = intent.and_then(|id| id.try_into().ok());
    if intent.is_none() && matches!(kind, EventKind::Intent(_)) {
        return Err(unreadable("an intent without an id"));
    }
    let text = |name| metadata.get(name).and_then(Value::as_str);
    let attempt = text("attempt").and_then(|attempt| attempt.parse().ok());
    let refund = object_id.filter(|_| is("refund")).and_then(|id| id.try_into().ok());
    let reference = text("reference").filter(|_| is("refund"));
    Ok(Event {
        id,
        kind,
        created_unix_s: raw.created,
        intent,
        payment: text("payment_id").and_then(|payment| payment.parse().ok()),
        attempt: attempt.filter(|attempt| *attempt > 0),
        refund,
        reference: reference
            .filter(|text| text.chars().count() <= REFERENCE_CHARS_MAX)
            .map(str::to_owned),
    })
}

fn kind(word: String) -> Result<EventKind, Rejected> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if word.is_empty() || word.len() > TYPE_CHARS_MAX || !word.bytes().all(plain) {
        return Err(unreadable("a type that is no word"));
    }
    Ok(match word.split('.').next() {
        Some("payment_intent") => EventKind::Intent(word),
        Some("refund") => EventKind::Refund(word),
        Some("charge") if word.starts_with("charge.refund") => EventKind::Refund(word),
        Some("charge") => EventKind::Charge(word),
        _ => EventKind::Other(word),
    })
}

/// The provider wrote it, but what an unreadable text quotes need not fill a log.
fn unreadable(why: impl fmt::Display) -> Rejected {
    Rejected::UnreadableEvent(why.to_string().chars().take(REASON_CHARS_MAX).collect())
}
