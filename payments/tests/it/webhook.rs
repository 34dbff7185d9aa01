//! Whose event it is: what is believed, and that a single other byte is not.

use hmac::{Hmac, KeyInit, Mac};
use payments::{
    EventId, RefundId,
    webhook::{
        EVENT_BYTES_MAX, Event, EventKind, HEADER_BYTES_MAX, InvalidSecret, InvalidSecrets,
        Rejected, Secrets, TOLERANCE_S, Unsigned,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::fixtures::{INTENT, bent, id, intent, payment, refund};

const SECRET: &str = "whsec_4eC39HqLyjWDarjtT1zdp7dc";
const OTHER_SECRET: &str = "whsec_tk8OZyRTfjWDarjtT1zdp7dd";
const NOW: i64 = 1_700_000_000;

fn secrets(text: &str) -> Secrets {
    text.parse().expect("secrets")
}

fn signature(secret: &str, time: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    let mac = mac.chain_update(time).chain_update(".").chain_update(body).finalize();
    let hex: Vec<String> = mac.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.concat()
}

fn signed(secret: &str, time: i64, body: &[u8]) -> String {
    format!("t={time},v1={}", signature(secret, &time.to_string(), body))
}

fn event(kind: &str, object: &Value) -> Vec<u8> {
    let event = json!({
        "id": "evt_1", "object": "event", "api_version": "2024-06-20", "created": NOW - 1,
        "data": {"object": object}, "livemode": false, "pending_webhooks": 1, "type": kind,
    });
    event.to_string().into_bytes()
}

fn succeeded() -> Vec<u8> {
    event("payment_intent.succeeded", &intent("succeeded"))
}

/// Reads an event that is signed as it should be.
fn read(body: &[u8]) -> Result<Event, Rejected> {
    secrets(SECRET).verify(&signed(SECRET, NOW, body), body, NOW)
}

#[test]
fn a_known_signature_is_accepted() {
    // printf '1700000000.%s' "$body" | openssl dgst -sha256 -hmac whsec_4eC39HqLyjWDarjtT1zdp7dc
    let body = br#"{"id":"evt_1","object":"event","type":"ping","created":1,"data":{"object":{}}}"#;
    let header = "t=1700000000,v1=15f91131f527533067acbb34948e92368ff69cfbc3fb55a40cce459e70d2ee1d";
    let event = secrets(SECRET).verify(header, body, NOW).expect("an event");
    assert_eq!(event.kind, EventKind::Other("ping".to_owned()));
}

#[test]
fn an_event_names_what_changed() {
    let event = read(&succeeded()).expect("an event");
    let expected = Event {
        id: EventId::try_from("evt_1".to_owned()).expect("an id"),
        kind: EventKind::Intent("payment_intent.succeeded".to_owned()),
        created_unix_s: NOW - 1,
        intent: Some(id()),
        payment: Some(payment()),
        attempt: Some(1),
        refund: None,
        reference: None,
    };
    assert_eq!(event, expected);
}

#[test]
fn an_event_of_a_refund_names_the_refund_and_its_intent() {
    let mut object = refund("failed");
    object["metadata"] =
        json!({"payment_id": payment().to_string(), "attempt": "2", "reference": "r1"});
    for word in ["refund.failed", "charge.refund.updated"] {
        let event = read(&event(word, &object)).expect("an event");
        assert_eq!(event.kind, EventKind::Refund(word.to_owned()));
        assert_eq!((event.intent, event.payment), (Some(id()), Some(payment())));
        assert_eq!(event.attempt, Some(2));
        assert_eq!(event.refund, RefundId::try_from("re_1".to_owned()).ok());
        assert_eq!(event.reference.as_deref(), Some("r1"));
    }
}

#[test]
fn an_event_of_a_charge_names_its_intent_and_no_refund() {
    let charge =
        json!({"id": "ch_1", "object": "charge", "payment_intent": INTENT, "metadata": {}});
    for (word, kind) in [
        ("charge.refunded", EventKind::Refund as fn(String) -> EventKind),
        ("charge.captured", EventKind::Charge),
        ("charge.dispute.created", EventKind::Charge),
    ] {
        let event = read(&event(word, &charge)).expect("an event");
        assert_eq!(event.kind, kind(word.to_owned()));
        assert_eq!((event.intent, event.payment, event.refund), (Some(id()), None, None));
    }
}

#[test]
fn a_strangers_event_is_read_and_names_nothing_of_ours() {
    for metadata in [json!({}), json!(null), json!({"payment_id": "7", "attempt": "0"})] {
        let body = event("payment_intent.created", &bent("succeeded", "/metadata", metadata));
        let event = read(&body).expect("an event");
        assert_eq!((event.intent, event.payment, event.attempt), (Some(id()), None, None));
    }
    let event = read(&event("customer.created", &json!({"id": "cus_1"}))).expect("an event");
    assert_eq!(event.kind.as_str(), "customer.created");
    assert_eq!((event.intent, event.refund), (None, None));
}

#[test]
fn any_of_several_secrets_and_signatures_will_do() {
    let body = succeeded();
    let both = secrets(&format!(" {OTHER_SECRET}, {SECRET}\n"));
    assert!(both.verify(&signed(SECRET, NOW, &body), &body, NOW).is_ok());
    assert!(both.verify(&signed(OTHER_SECRET, NOW, &body), &body, NOW).is_ok());
    let time = NOW.to_string();
    let (ours, others) = (signature(SECRET, &time, &body), signature(OTHER_SECRET, &time, &body));
    for header in [
        format!("t={NOW},v1={others},v1={ours}"),
        format!("v1={ours},t={NOW},v1={others}"),
        format!("t={NOW},v1=short,v1={ours},v0={others},v2="),
    ] {
        assert!(secrets(SECRET).verify(&header, &body, NOW).is_ok(), "{header}");
    }
}

#[test]
fn another_secret_or_scheme_is_no_match() {
    let body = succeeded();
    let ours = signature(SECRET, &NOW.to_string(), &body);
    for header in [
        signed(OTHER_SECRET, NOW, &body),
        format!("t={NOW},v0={ours}"),
        format!("t={NOW}"),
        format!("t={NOW},v1={}", ours.to_ascii_uppercase()),
        format!("t={NOW},v1={ours}00"),
        format!("t={NOW},v1={}", &ours[..62]),
        // The time is signed as it is written.
        format!("t=0{NOW},v1={ours}"),
    ] {
        let rejected = secrets(SECRET).verify(&header, &body, NOW);
        assert_eq!(rejected, Err(Rejected::Unsigned(Unsigned::NoMatchingSignature)), "{header}");
    }
}

#[test]
fn a_header_of_another_form_is_malformed() {
    let body = succeeded();
    let ours = signature(SECRET, &NOW.to_string(), &body);
    for header in [
        String::new(),
        "t".to_owned(),
        format!("v1={ours}"),
        format!("t=,v1={ours},"),
        format!("t=+{NOW},v1={ours}"),
        format!("t=-1,v1={ours}"),
        format!("t=9999999999999999999,v1={ours}"),
        format!("t={NOW},t={NOW},v1={ours}"),
        format!("t={NOW},v1={ours}{}", ",v0=".repeat(20)),
    ] {
        let rejected = secrets(SECRET).verify(&header, &body, NOW);
        assert!(
            matches!(rejected, Err(Rejected::Unsigned(Unsigned::MalformedHeader(_)))),
            "{header}: {rejected:?}"
        );
    }
}

#[test]
fn a_signature_is_good_for_five_minutes_either_way() {
    let body = succeeded();
    let at = |time| secrets(SECRET).verify(&signed(SECRET, time, &body), &body, NOW);
    assert!(at(NOW - TOLERANCE_S).is_ok());
    assert!(at(NOW + TOLERANCE_S).is_ok());
    assert_eq!(at(NOW - TOLERANCE_S - 1), Err(Rejected::Unsigned(Unsigned::TooOld)));
    assert_eq!(at(0), Err(Rejected::Unsigned(Unsigned::TooOld)));
    assert_eq!(at(NOW + TOLERANCE_S + 1), Err(Rejected::Unsigned(Unsigned::TooNew)));
    assert_eq!(at(999_999_999_999_999_999), Err(Rejected::Unsigned(Unsigned::TooNew)));
    // Who cannot sign learns nothing of our clock.
    let forged = signed(OTHER_SECRET, 0, &body);
    let rejected = secrets(SECRET).verify(&forged, &body, NOW);
    assert_eq!(rejected, Err(Rejected::Unsigned(Unsigned::NoMatchingSignature)));
}

#[test]
fn what_is_larger_than_an_event_is_not_read() {
    let body = vec![b' '; EVENT_BYTES_MAX + 1];
    assert_eq!(read(&body), Err(Rejected::TooLarge));
    let header = format!("t={NOW},v1={}", "0".repeat(HEADER_BYTES_MAX));
    let rejected = secrets(SECRET).verify(&header, b"", NOW);
    assert_eq!(rejected, Err(Rejected::Unsigned(Unsigned::TooLarge)));
}

#[test]
fn a_genuine_text_that_is_no_event_is_unreadable() {
    let odd = |pointer: &str, value: Value| {
        let mut event: Value = serde_json::from_slice(&succeeded()).expect("JSON");
        *event.pointer_mut(pointer).expect("the field exists") = value;
        event.to_string().into_bytes()
    };
    for body in [
        b"".to_vec(),
        b"{}".to_vec(),
        b"\xff".to_vec(),
        intent("succeeded").to_string().into_bytes(),
        odd("/object", json!("charge")),
        odd("/id", json!("evt_1/../x")),
        odd("/type", json!("")),
        odd("/type", json!("a b")),
        odd("/created", json!("now")),
        odd("/data", json!({})),
        odd("/data/object/id", json!("pi_1?x")),
    ] {
        let rejected = read(&body);
        assert!(matches!(rejected, Err(Rejected::UnreadableEvent(_))), "{rejected:?}");
    }
}

#[test]
fn secrets_are_one_to_eight_and_are_never_printed() {
    for (text, why) in [
        ("", InvalidSecrets::Count),
        (" , ", InvalidSecrets::Count),
        (&*[SECRET; 9].join(","), InvalidSecrets::Count),
        ("whsec_short", InvalidSecrets::Secret(InvalidSecret)),
        ("whsec_4eC39HqLyjWDarjtT1zdp7dü", InvalidSecrets::Secret(InvalidSecret)),
    ] {
        let invalid = text.parse::<Secrets>().expect_err("no secrets");
        assert_eq!(invalid, why);
        assert!(!format!("{invalid} {invalid:?}").contains("whsec_4eC39"));
    }
    let text = format!("{:?}", secrets(&[SECRET; 8].join(" ")));
    assert!(!text.contains("whsec"), "{text}");
}

proptest! {
    #[test]
    fn one_other_byte_anywhere_is_refused(
        place in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
        in_header in any::<bool>(),
    ) {
        let mut body = succeeded();
        let mut header = signed(SECRET, NOW, &body).into_bytes();
        let text = if in_header { &mut header } else { &mut body };
        let place = place.index(text.len());
        text[place] ^= flip;
        // A header that is not UTF-8 never gets as far as this.
        if let Ok(header) = String::from_utf8(header) {
            let rejected = secrets(SECRET).verify(&header, &body, NOW);
            prop_assert!(
                matches!(
                    rejected,
                    Err(Rejected::Unsigned(
                        Unsigned::NoMatchingSignature | Unsigned::MalformedHeader(_)
                    ))
                ),
                "{rejected:?}"
            );
        }
    }

    #[test]
    fn no_text_makes_it_panic(header in ".{0,200}", body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(secrets(SECRET).verify(&header, &body, NOW).is_err());
        let genuine = read(&body);
        prop_assert!(matches!(genuine, Err(Rejected::UnreadableEvent(_))));
    }
}
