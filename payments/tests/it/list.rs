//! Going through the intents and refunds of a time: what is asked, whose each is, and what no page may be.

use std::ops::Range;

use payments::{Doubt, Error, IntentStatus, Listed, ListedRefund, Page, Whose};
use serde_json::{Value, json};

use crate::{
    fixtures::{
        API_KEY, INTENT, bent, client, id, intent, known, listed, payment, referenced, refund,
    },
    provider::{Answer, Provider},
};

const FROM: i64 = 1_699_999_000;
const TO: i64 = 1_700_001_000;
const TIME: Range<i64> = FROM..TO;

async fn list(body: &Value) -> Result<Page<Listed>, Error> {
    let provider = Provider::start([Answer::json(200, body)]).await;
    client(&provider).list(TIME, None).await
}

async fn list_refunds(body: &Value) -> Result<Page<ListedRefund>, Error> {
    let provider = Provider::start([Answer::json(200, body)]).await;
    client(&provider).list_refunds(TIME, None).await
}

#[track_caller]
fn doubt<T: std::fmt::Debug>(result: Result<Page<T>, Error>) -> Doubt {
    match result {
        Err(Error::Unknown { doubt, .. }) => doubt,
        other => panic!("not unknown: {other:?}"),
    }
}

/// An intent with other fields, each named by its JSON pointer.
fn with(fields: &[(&str, Value)]) -> Value {
    let mut intent = intent("requires_capture");
    for (pointer, value) in fields {
        *intent.pointer_mut(pointer).expect("the field exists") = value.clone();
    }
    intent
}

#[tokio::test]
async fn a_page_is_asked_for_by_time_and_by_the_last_of_the_page_before() {
    let script = [
        listed(&[intent("requires_capture")], true),
        listed(&[with(&[("/id", json!("pi_older"))])], false),
    ];
    let provider = Provider::start(script.map(|page| Answer::json(200, &page))).await;
    let stripe = client(&provider);
    let first = stripe.list(TIME, None).await.expect("a page");
    let [listed] = &first.items[..] else { panic!("one intent") };
    assert_eq!((&listed.id, listed.created_unix_s), (&id(), 1_700_000_000));
    assert_eq!(listed.whose, Whose::Ours(known(IntentStatus::RequiresCapture)));
    let last = first.next_after().map(|last| &last.id);
    assert_eq!(last, Some(&id()));
    let second = stripe.list(TIME, last).await.expect("a page");
    assert_eq!(second.next_after(), None);
    let lines: Vec<_> = provider.requests().iter().map(|request| request.line.clone()).collect();
    let line =
        format!("GET /v1/payment_intents?created%5Bgte%5D={FROM}&created%5Blt%5D={TO}&limit=20");
    assert_eq!(lines, [line.clone(), format!("{line}&starting_after={INTENT}")]);
}

#[tokio::test]
async fn a_stranger_is_told_apart_and_fails_no_page() {
    let strangers = [
        json!({}),
        json!({"attempt": "1"}),
        json!({"payment_id": "7"}),
        json!({"payment_id": 7}),
        Value::Null,
    ]
    .map(|metadata| with(&[("/metadata", metadata), ("/capture_method", json!("automatic"))]));
    let mut page = strangers.to_vec();
    page.push(intent("requires_capture"));
    let page = list(&listed(&page, false)).await.expect("a page");
    let whose: Vec<_> = page.items.into_iter().map(|listed| listed.whose).collect();
    assert_eq!(whose[..5], [(); 5].map(|()| Whose::Foreign));
    assert_eq!(whose[5], Whose::Ours(known(IntentStatus::RequiresCapture)));
}

#[tokio::test]
async fn what_names_our_payment_and_is_none_of_ours_is_odd() {
    for (pointer, value, part) in [
        ("/capture_method", json!("automatic"), "capture"),
        ("/amount", json!(-1), ""),
        ("/status", json!("new"), "new"),
        ("/metadata/attempt", json!("0"), "attempt"),
        ("/status", json!(API_KEY), "[api key]"),
    ] {
        let odd = bent("requires_capture", pointer, value);
        let page = list(&listed(&[odd, intent("canceled")], false)).await.expect("a page");
        match &page.items[0].whose {
            Whose::Odd { payment: found, why } => {
                assert_eq!(*found, payment());
                assert!(why.contains(part) && !why.contains(API_KEY), "{why}");
            }
            other => panic!("{pointer}: {other:?}"),
        }
        assert_eq!(page.items[1].whose, Whose::Ours(known(IntentStatus::Canceled)));
    }
}

#[tokio::test]
async fn a_page_of_another_time_or_order_is_unknown() {
    for created in [FROM - 1, TO] {
        let other = with(&[("/created", json!(created))]);
        let result = list(&listed(&[other], false)).await;
        assert_eq!(doubt(result), Doubt::Mismatch("time"));
    }
    let newer = with(&[("/created", json!(1_700_000_001))]);
    let result = list(&listed(&[intent("canceled"), newer], false)).await;
    assert_eq!(doubt(result), Doubt::Mismatch("order"));
}

#[tokio::test]
async fn a_page_that_is_no_page_is_unknown() {
    for body in [
        json!([]),
        listed(&[json!({"object": "payment_intent"})], false),
        listed(&[with(&[("/id", json!("pi_1/x"))])], false),
        listed(&[with(&[("/object", json!("charge"))])], false),
        listed(&[], true),
    ] {
        assert!(matches!(doubt(list(&body).await), Doubt::Unreadable(_)), "{body}");
    }
    let empty = list(&listed(&[], false)).await.expect("a page");
    assert_eq!((empty.items.len(), empty.next_after()), (0, None));
}

/// A refund with other fields.
fn other_refund(fields: &[(&str, Value)]) -> Value {
    let mut refund = refund("succeeded");
    for (field, value) in fields {
        refund[field] = value.clone();
    }
    refund
}

#[tokio::test]
async fn refunds_of_a_time_are_asked_for_page_by_page() {
    let named = referenced("re_1", "ref_1", "succeeded");
    let script = [listed(&[named], true), listed(&[other_refund(&[("id", json!("re_0"))])], false)];
    let provider = Provider::start(script.map(|page| Answer::json(200, &page))).await;
    let stripe = client(&provider);
    let first = stripe.list_refunds(TIME, None).await.expect("a page");
    let expected = ListedRefund {
        id: "re_1".to_owned().try_into().expect("an id"),
        created_unix_s: 1_700_000_000,
        intent: Some(id()),
        amount_minor: 1999,
        currency: "eur".to_owned(),
        undone: false,
        reference: Some("ref_1".to_owned()),
    };
    assert_eq!(first.items, [expected]);
    let second = stripe.list_refunds(TIME, first.next_after().map(|last| &last.id)).await;
    assert_eq!(second.expect("a page").next_after(), None);
    let lines: Vec<_> = provider.requests().iter().map(|request| request.line.clone()).collect();
    let line = format!("GET /v1/refunds?created%5Bgte%5D={FROM}&created%5Blt%5D={TO}&limit=100");
    assert_eq!(lines, [line.clone(), format!("{line}&starting_after=re_1")]);
}

#[tokio::test]
async fn a_refund_of_anything_else_fails_no_page() {
    let others = [
        other_refund(&[("payment_intent", Value::Null)]),
        other_refund(&[("currency", json!("xxx")), ("amount", json!(-1))]),
        other_refund(&[("status", Value::Null), ("metadata", Value::Null)]),
        other_refund(&[("status", json!("failed"))]),
        other_refund(&[("status", json!("canceled"))]),
    ];
    let page = list_refunds(&listed(&others, false)).await.expect("a page");
    let found: Vec<_> =
        page.items.iter().map(|refund| (refund.intent.is_some(), refund.undone)).collect();
    assert_eq!(found, [(false, false), (true, false), (true, false), (true, true), (true, true)]);
}

#[tokio::test]
async fn a_page_of_refunds_that_is_none_or_of_another_time_is_unknown() {
    let other = list_refunds(&listed(&[other_refund(&[("created", json!(TO))])], false)).await;
    assert_eq!(doubt(other), Doubt::Mismatch("time"));
    for bad in
        [other_refund(&[("object", json!("charge"))]), other_refund(&[("id", json!("re_1/x"))])]
    {
        let result = list_refunds(&listed(&[bad], false)).await;
        assert!(matches!(doubt(result), Doubt::Unreadable(_)));
    }
}
