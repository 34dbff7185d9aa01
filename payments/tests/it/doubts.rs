//! The line between a definite no and not knowing, one case for each side of it.

use domain::Money;
use payments::{ANSWER_BYTES_MAX, Charge, Doubt, Error, Intent, Stripe};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    fixtures::{
        INTENT, bent, charge, client, config, decline_with, declined, error, eur, found, id,
        intent, method, payment, refund,
    },
    provider::{Answer, Provider},
};

/// What a confirmation that is answered so ends in. The one request is checked to be the only one.
async fn confirm(answer: Answer) -> Result<Intent, Error> {
    let provider = Provider::start([answer]).await;
    let result = client(&provider).confirm(&id(), &charge(), 0).await;
    assert_eq!(provider.requests().len(), 1);
    result
}

#[track_caller]
fn doubt<T: std::fmt::Debug>(result: Result<T, Error>) -> Doubt {
    match result {
        Err(Error::Unknown { doubt, .. }) => doubt,
        other => panic!("not unknown: {other:?}"),
    }
}

#[track_caller]
fn unreadable(result: Result<Intent, Error>, case: &str) {
    let doubt = doubt(result);
    assert!(matches!(doubt, Doubt::Unreadable(_)), "{case}: {doubt:?}");
}

#[tokio::test]
async fn no_connection_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let url = format!("http://{address}").parse().expect("a URL");
    let stripe = Stripe::new(config(url)).expect("a client");
    assert_eq!(doubt(stripe.confirm(&id(), &charge(), 0).await), Doubt::Unreachable);
}

#[tokio::test]
async fn silence_is_unknown_also_in_the_middle_of_an_answer() {
    assert_eq!(doubt(confirm(Answer::silence()).await), Doubt::TimedOut);
    let stuck = Answer::json(200, &intent("requires_capture")).stuck_before_the_last(1);
    assert_eq!(doubt(confirm(stuck).await), Doubt::TimedOut);
}

#[tokio::test]
async fn a_broken_connection_is_unknown_wherever_it_breaks() {
    assert_eq!(doubt(confirm(Answer::reset()).await), Doubt::Interrupted);
    let whole = Answer::json(200, &intent("requires_capture"));
    for bytes in (1..600).step_by(37) {
        assert_eq!(doubt(confirm(whole.clone().cut_short_by(bytes)).await), Doubt::Interrupted);
    }
    // A refusal, too, counts only when it is complete.
    let refusal = Answer::json(400, &error("invalid_request_error", "resource_missing"));
    assert_eq!(doubt(confirm(refusal.cut_short_by(1)).await), Doubt::Interrupted);
}

#[tokio::test]
async fn trouble_conflicts_limits_redirects_and_odd_successes_are_unknown() {
    // With the body of a definite refusal, so that the status alone must decide.
    let body = error("invalid_request_error", "resource_missing");
    for status in [
        201, 202, 304, 401, 403, 405, 407, 408, 409, 410, 413, 422, 424, 425, 429, 451, 500, 501,
        502, 503, 504, 599,
    ] {
        let answer =
            if status == 304 { Answer::with(304, &[], "") } else { Answer::json(status, &body) };
        assert_eq!(doubt(confirm(answer).await), Doubt::Status(status));
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let answer = Answer::with(status, &[("location", "/v1/payment_intents/pi_other")], "");
        assert_eq!(doubt(confirm(answer).await), Doubt::Status(status));
    }
}

#[tokio::test]
async fn a_refusal_in_the_providers_own_words_is_definite() {
    for (status, kind, code) in [
        (400, "invalid_request_error", "parameter_invalid_integer"),
        (400, "invalid_request_error", "payment_intent_unexpected_state"),
        (402, "card_error", "card_declined"),
        (404, "invalid_request_error", "resource_missing"),
    ] {
        match confirm(Answer::json(status, &error(kind, code))).await {
            Err(Error::Refused {
                call: "confirm",
                code: got,
                message,
                card_error,
                intent: None,
            }) => {
                assert_eq!((&*got, &*message), (code, "No, said the provider."));
                assert_eq!(card_error, status == 402);
            }
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_about_the_moment_is_unknown_whatever_its_status() {
    for (kind, code) in [
        ("invalid_request_error", "lock_timeout"),
        ("invalid_request_error", "rate_limit"),
        ("invalid_request_error", "idempotency_key_in_use"),
        ("api_error", "whatever"),
        ("some_new_error", "whatever"),
    ] {
        let result = confirm(Answer::json(400, &error(kind, code))).await;
        assert_eq!(doubt(result), Doubt::Status(400), "{kind} {code}");
    }
    let reused = confirm(Answer::json(400, &json!({"error": {"type": "idempotency_error"}}))).await;
    assert_eq!(doubt(reused), Doubt::KeyReused);
}

#[tokio::test]
async fn a_refusal_from_somebody_else_is_unknown() {
    for status in [400, 402, 404] {
        for body in ["", "<html>Not Found</html>", "{}", r#"{"error":"no"}"#, r#"{"error":{}}"#] {
            unreadable(confirm(Answer::with(status, &[], body)).await, body);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_an_intent_is_unknown() {
    for body in ["", "OK", "{", "null", "[]", "{}", "\u{0}", r#"{"object":"payment_intent"}"#] {
        unreadable(confirm(Answer::with(200, &[], body)).await, body);
    }
    unreadable(confirm(Answer::json(200, &refund("succeeded"))).await, "a refund");
}

#[tokio::test]
async fn an_intent_with_an_impossible_field_is_unknown() {
    for (pointer, value) in [
        ("/object", json!("charge")),
        ("/id", json!("ch_1")),
        ("/id", json!("pi_1/../../refunds")),
        ("/status", json!("partly_captured")),
        ("/amount", json!(-1)),
        ("/amount", json!(19.99)),
        ("/amount", json!("1999")),
        ("/amount", json!(9_223_372_036_854_775_807_i64)),
        ("/amount_received", json!(2000)),
        ("/amount_received", json!(-1)),
        ("/currency", json!("EUR")),
        ("/currency", json!("zzz")),
        ("/capture_method", json!("automatic")),
        ("/metadata", json!({})),
        ("/metadata/payment_id", json!("ord_01h455vb4pex5vsknk084sn02q")),
        ("/metadata/attempt", json!("0")),
        ("/metadata/attempt", json!("first")),
    ] {
        let case = format!("{pointer} {value}");
        let answer = Answer::json(200, &bent("requires_capture", pointer, value));
        unreadable(confirm(answer).await, &case);
    }
    let nothing_captured = bent("succeeded", "/amount_received", json!(0));
    unreadable(confirm(Answer::json(200, &nothing_captured)).await, "nothing captured");
}

fn other_intents() -> Vec<(Value, &'static str)> {
    [
        ("/id", json!("pi_other"), "id"),
        ("/amount", json!(1998), "amount"),
        ("/currency", json!("usd"), "amount"),
        ("/metadata/attempt", json!("2"), "attempt"),
        ("/metadata/payment_id", json!("pay_01h455vb4pex5vsknk084sn02r"), "payment"),
    ]
    .map(|(pointer, value, what)| (bent("requires_capture", pointer, value), what))
    .into()
}

#[tokio::test]
async fn an_answer_about_other_money_is_unknown() {
    for (intent, what) in other_intents() {
        let answer = Answer::json(200, &intent);
        let provider = Provider::start([answer.clone()]).await;
        let looked_up = client(&provider).look_up(&id(), &charge()).await;
        assert_eq!(doubt(confirm(answer).await), Doubt::Mismatch(what));
        assert_eq!(doubt(looked_up), Doubt::Mismatch(what));
    }
}

#[tokio::test]
async fn a_refusal_that_encloses_other_money_is_unknown() {
    for (intent, what) in other_intents() {
        let answer = Answer::json(402, &decline_with(&intent));
        assert_eq!(doubt(confirm(answer).await), Doubt::Mismatch(what));
    }
    let undeclined = Answer::json(402, &decline_with(&intent("requires_capture")));
    assert_eq!(doubt(confirm(undeclined).await), Doubt::Mismatch("enclosed intent"));
    let broken = bent("requires_payment_method", "/amount", json!(null));
    unreadable(confirm(Answer::json(402, &decline_with(&broken))).await, "a broken intent");
}

#[tokio::test]
async fn a_repeated_answer_that_cannot_be_looked_up_is_unknown() {
    let replay = Answer::replay(200, &intent("requires_capture"));
    let provider = Provider::start([replay, Answer::json(503, &json!({}))]).await;
    let result = client(&provider).capture(&id(), &charge(), 0).await;
    assert_eq!(doubt(result), Doubt::Status(503));
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit_and_no_further() {
    let mut large = intent("requires_capture");
    let empty = {
        large["description"] = json!("");
        large.to_string().len()
    };
    for (bytes, fits) in [(ANSWER_BYTES_MAX, true), (ANSWER_BYTES_MAX + 1, false)] {
        large["description"] = json!("x".repeat(bytes - empty));
        let result = confirm(Answer::json(200, &large)).await;
        if fits {
            result.expect("an intent");
        } else {
            assert_eq!(doubt(result), Doubt::TooLarge);
        }
    }
}

#[tokio::test]
async fn a_refund_of_something_else_is_unknown() {
    for (pointer, value, what) in [
        ("/amount", json!(1), Some("amount")),
        ("/currency", json!("usd"), Some("amount")),
        ("/payment_intent", json!("pi_other"), Some("intent")),
        ("/payment_intent", json!(null), None),
        ("/status", json!("lost"), None),
        ("/object", json!("charge"), None),
    ] {
        let mut body = refund("succeeded");
        *body.pointer_mut(pointer).expect("the field exists") = value;
        let provider = Provider::start([Answer::json(200, &body)]).await;
        let result = client(&provider).refund(&id(), &charge(), eur(1999), "r1").await;
        match (doubt(result), what) {
            (Doubt::Mismatch(found), Some(what)) => assert_eq!(found, what),
            (Doubt::Unreadable(_), None) => {}
            (doubt, _) => panic!("{pointer}: {doubt:?}"),
        }
    }
}

#[tokio::test]
async fn a_search_with_a_stranger_or_a_second_page_is_unknown() {
    let stranger =
        bent("canceled", "/metadata/payment_id", json!("pay_01h455vb4pex5vsknk084sn02r"));
    let mut endless = found(&[intent("canceled")]);
    endless["has_more"] = json!(true);
    let broken = found(&[json!({"id": INTENT})]);
    let lists = [found(&[intent("canceled"), stranger]), endless, broken, json!([])];
    let provider = Provider::start(lists.map(|list| Answer::json(200, &list))).await;
    let stripe = client(&provider);
    assert_eq!(doubt(stripe.find(payment()).await), Doubt::Mismatch("payment"));
    for _ in 0..3 {
        assert!(matches!(doubt(stripe.find(payment()).await), Doubt::Unreadable(_)));
    }
}

#[tokio::test]
async fn a_retrieved_intent_must_be_the_one_asked_for() {
    let other = bent("canceled", "/id", json!("pi_other"));
    let provider = Provider::start([Answer::json(200, &other)]).await;
    assert_eq!(doubt(client(&provider).retrieve(&id()).await), Doubt::Mismatch("id"));
}

#[tokio::test]
async fn a_currency_that_the_provider_counts_otherwise_is_refused_unasked() {
    let provider = Provider::start([]).await;
    for code in ["ISK", "UGX", "MGA"] {
        let amount = Money::new(500, code.parse().expect("a currency")).expect("an amount");
        let result = client(&provider).create(&Charge { amount, ..charge() }, &method()).await;
        assert!(
            matches!(&result, Err(Error::Refused { code, .. }) if code == "currency_unsupported"),
            "{result:?}"
        );
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn a_decline_is_not_an_intent_for_other_calls() {
    let provider = Provider::start([Answer::json(402, &decline_with(&declined()))]).await;
    let result = client(&provider).capture(&id(), &charge(), 0).await;
    assert!(
        matches!(&result, Err(Error::Refused { card_error: true, intent: Some(_), .. })),
        "{result:?}"
    );
}
