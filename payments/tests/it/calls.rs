//! What each call sends, to the byte that matters, and what it makes of the answer it hopes for.

use payments::{Doubt, Error, IntentStatus, RefundStatus};
use serde_json::json;

use crate::{
    fixtures::{
        API_KEY, INTENT, PAYMENT, action_required, bent, charge, client, config, decline_with,
        declined, eur, found, id, intent, known, method, payment, refund,
    },
    provider::{Answer, Provider, Request},
};

fn sent(request: &Request) -> Vec<(String, String)> {
    assert_eq!(request.header("authorization"), Some(&*format!("Bearer {API_KEY}")));
    assert_eq!(request.header("stripe-version"), Some(payments::API_VERSION));
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("holdfast/")));
    if request.line.starts_with("POST") {
        assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    }
    request.form()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn create_asks_for_a_card_intent_with_manual_capture_and_no_confirmation() {
    let provider = Provider::start([Answer::json(200, &intent("requires_confirmation"))]).await;
    let made = client(&provider).create(&charge(), &method()).await.expect("an intent");
    assert_eq!(made, known(IntentStatus::RequiresConfirmation));
    let [request] = &provider.requests()[..] else { panic!("one request") };
    assert_eq!(request.line, "POST /v1/payment_intents");
    assert_eq!(request.key(), format!("{PAYMENT}/1/create"));
    let expected = [
        ("amount", "1999"),
        ("currency", "eur"),
        ("payment_method", "pm_card_visa"),
        ("payment_method_types[]", "card"),
        ("capture_method", "manual"),
        ("confirm", "false"),
        ("metadata[payment_id]", PAYMENT),
        ("metadata[order_id]", "ord_01h455vb4pex5vsknk084sn02q"),
        ("metadata[attempt]", "1"),
    ];
    assert_eq!(sent(request), pairs(&expected));
}

#[tokio::test]
async fn a_repeated_create_uses_the_same_key_and_the_same_form() {
    let made = Answer::json(200, &intent("requires_confirmation"));
    let provider = Provider::start([Answer::json(500, &json!({})), made]).await;
    let stripe = client(&provider);
    assert!(stripe.create(&charge(), &method()).await.is_err());
    stripe.create(&charge(), &method()).await.expect("an intent");
    let [first, second] = &provider.requests()[..] else { panic!("two requests") };
    assert_eq!((first.key(), &first.body), (second.key(), &second.body));
}

#[tokio::test]
async fn create_leaves_a_key_behind_only_once_its_failure_is_stored() {
    let trouble = json!({"error": {"type": "api_error"}});
    let stored = Answer::replay(500, &trouble);
    let made = Answer::json(200, &intent("requires_confirmation"));
    let script = [Answer::json(500, &trouble), stored.clone(), stored, made];
    let provider = Provider::start(script).await;
    let stripe = client(&provider);
    assert!(stripe.create(&charge(), &method()).await.is_err());
    stripe.create(&charge(), &method()).await.expect("an intent");
    let keys = ["create", "create", "create/1", "create/2"];
    assert_eq!(provider.keys(), keys.map(|key| format!("{PAYMENT}/1/{key}")));
}

#[tokio::test]
async fn create_gives_up_when_every_key_has_a_stored_failure() {
    let stored = Answer::replay(500, &json!({"error": {"type": "api_error"}}));
    let provider = Provider::start([(); 4].map(|()| stored.clone())).await;
    let result = client(&provider).create(&charge(), &method()).await;
    assert!(matches!(&result, Err(Error::Unknown { doubt: Doubt::Stored(500), .. })), "{result:?}");
    assert_eq!(provider.requests().len(), 4);
}

#[tokio::test]
async fn confirm_sends_the_way_back_only_when_there_is_one() {
    let answer = Answer::json(200, &intent("requires_capture"));
    let provider = Provider::start([answer.clone(), answer]).await;
    let got = client(&provider).confirm(&id(), &charge(), 0).await.expect("an intent");
    assert_eq!(got, known(IntentStatus::RequiresCapture));
    let mut with_way_back = config(provider.url.clone());
    with_way_back.return_url = Some("https://shop.example/back?x=1".parse().expect("a URL"));
    let stripe = payments::Stripe::new(with_way_back).expect("a client");
    stripe.confirm(&id(), &charge(), 2).await.expect("an intent");
    let [first, second] = &provider.requests()[..] else { panic!("two requests") };
    assert_eq!(first.line, format!("POST /v1/payment_intents/{INTENT}/confirm"));
    assert_eq!(first.key(), format!("{PAYMENT}/1/confirm"));
    assert_eq!(sent(first), []);
    assert_eq!(second.key(), format!("{PAYMENT}/1/confirm/2"));
    assert_eq!(sent(second), pairs(&[("return_url", "https://shop.example/back?x=1")]));
}

#[tokio::test]
async fn a_decline_is_an_answer_with_the_issuers_reason() {
    let provider = Provider::start([Answer::json(402, &decline_with(&declined()))]).await;
    let got = client(&provider).confirm(&id(), &charge(), 0).await.expect("an intent");
    let decline_code = Some("insufficient_funds".to_owned());
    assert_eq!(got, known(IntentStatus::RequiresPaymentMethod { decline_code }));
}

#[tokio::test]
async fn a_decline_without_a_decline_code_gives_the_error_code() {
    let reason = json!({"type": "card_error", "code": "expired_card"});
    let expired = bent("requires_payment_method", "/last_payment_error", reason);
    let provider = Provider::start([Answer::json(402, &decline_with(&expired))]).await;
    let got = client(&provider).confirm(&id(), &charge(), 0).await.expect("an intent");
    let decline_code = Some("expired_card".to_owned());
    assert_eq!(got.status, IntentStatus::RequiresPaymentMethod { decline_code });
}

#[tokio::test]
async fn an_action_has_a_page_only_if_it_is_a_web_page() {
    let answers = ["https://bank.example/3ds?a=b", "javascript:alert(1)"];
    let script = answers.map(|url| Answer::json(200, &action_required(url)));
    let provider = Provider::start(script).await;
    let stripe = client(&provider);
    for url in [Some("https://bank.example/3ds?a=b".to_owned()), None] {
        let got = stripe.confirm(&id(), &charge(), 0).await.expect("an intent");
        assert_eq!(got.status, IntentStatus::RequiresAction { url });
    }
}

#[tokio::test]
async fn capture_takes_the_whole_amount() {
    let provider = Provider::start([Answer::json(200, &intent("succeeded"))]).await;
    let got = client(&provider).capture(&id(), &charge(), 0).await.expect("an intent");
    assert_eq!(got, known(IntentStatus::Succeeded));
    let [request] = &provider.requests()[..] else { panic!("one request") };
    assert_eq!(request.line, format!("POST /v1/payment_intents/{INTENT}/capture"));
    assert_eq!(request.key(), format!("{PAYMENT}/1/capture"));
    assert_eq!(sent(request), pairs(&[("amount_to_capture", "1999")]));
}

#[tokio::test]
async fn cancel_sends_nothing_but_its_key() {
    let provider = Provider::start([Answer::json(200, &intent("canceled"))]).await;
    let got = client(&provider).cancel(&id(), &charge(), 0).await.expect("an intent");
    assert_eq!(got, known(IntentStatus::Canceled));
    let [request] = &provider.requests()[..] else { panic!("one request") };
    assert_eq!(request.line, format!("POST /v1/payment_intents/{INTENT}/cancel"));
    assert_eq!(request.key(), format!("{PAYMENT}/1/cancel"));
    assert_eq!(sent(request), []);
}

#[tokio::test]
async fn a_refund_is_keyed_by_its_reference_whatever_that_is_made_of() {
    let provider = Provider::start([Answer::json(200, &refund("succeeded"))]).await;
    let stripe = client(&provider);
    let got =
        stripe.refund(&id(), &charge(), eur(1999), "rückgabe\r\n1/2").await.expect("a refund");
    assert_eq!((got.amount, got.status), (eur(1999), RefundStatus::Succeeded));
    let [request] = &provider.requests()[..] else { panic!("one request") };
    assert_eq!(request.line, "POST /v1/refunds");
    assert_eq!(request.key(), format!("{PAYMENT}/1/refund/r%C3%BCckgabe%0D%0A1%2F2"));
    let expected = [
        ("payment_intent", INTENT),
        ("amount", "1999"),
        ("metadata[payment_id]", PAYMENT),
        ("metadata[attempt]", "1"),
        ("metadata[reference]", "rückgabe\r\n1/2"),
    ];
    assert_eq!(sent(request), pairs(&expected));
}

#[tokio::test]
async fn looking_needs_no_key() {
    let second = bent("canceled", "/metadata/attempt", json!("2"));
    let provider = Provider::start([
        Answer::json(200, &intent("processing")),
        Answer::json(200, &found(&[second, declined()])),
    ])
    .await;
    let stripe = client(&provider);
    let got = stripe.retrieve(&id()).await.expect("an intent");
    assert_eq!(got, known(IntentStatus::Processing));
    let all = stripe.find(payment()).await.expect("intents");
    let attempts: Vec<_> = all.iter().map(|intent| intent.charge.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    let [retrieve, find] = &provider.requests()[..] else { panic!("two requests") };
    assert_eq!(retrieve.line, format!("GET /v1/payment_intents/{INTENT}"));
    let query = format!("query=metadata%5B%27payment_id%27%5D%3A%27{PAYMENT}%27&limit=20");
    assert_eq!(find.line, format!("GET /v1/payment_intents/search?{query}"));
    for request in [retrieve, find] {
        assert_eq!((sent(request), request.header("idempotency-key")), (vec![], None));
    }
}

#[tokio::test]
async fn a_repeated_answer_is_replaced_by_the_intent_as_it_is_now() {
    let provider = Provider::start([
        Answer::replay(200, &intent("requires_capture")),
        Answer::json(200, &intent("canceled")),
    ])
    .await;
    let got = client(&provider).confirm(&id(), &charge(), 0).await.expect("an intent");
    assert_eq!(got.status, IntentStatus::Canceled);
    assert_eq!(provider.keys(), [format!("{PAYMENT}/1/confirm"), "none".to_owned()]);
}

#[tokio::test]
async fn calls_share_a_connection_and_keep_the_path_of_the_base_url() {
    let answer = Answer::json(200, &intent("requires_capture"));
    let provider = Provider::start([answer.clone(), answer]).await;
    let stripe = payments::Stripe::new(config(provider.url.join("/cards").expect("a path")));
    let stripe = stripe.expect("a client");
    for _ in 0..2 {
        stripe.clone().retrieve(&id()).await.expect("an intent");
    }
    assert_eq!(provider.connections(), 1);
    let line = format!("GET /cards/v1/payment_intents/{INTENT}");
    assert!(provider.requests().iter().all(|request| request.line == line));
}

/// An intent that was cancelled shows no other trace of money that was set aside for it.
#[tokio::test]
async fn a_cancelled_intent_tells_whether_its_issuer_had_approved_it() {
    let reached = json!("ch_1");
    for (charge, error, approved) in [
        (json!(null), json!(null), false),
        (reached.clone(), json!(null), true),
        (json!({ "id": "ch_1", "object": "charge" }), json!(null), true),
        (reached, json!({ "type": "card_error", "code": "card_declined" }), false),
    ] {
        let mut cancelled = intent("canceled");
        cancelled["latest_charge"] = charge;
        cancelled["last_payment_error"] = error;
        let provider = Provider::start([Answer::json(200, &cancelled)]).await;

        let seen = client(&provider).retrieve(&id()).await.expect("an intent");

        assert_eq!(seen.approved, approved, "{cancelled:#}");
    }
}
