//! `Idempotency-Key` by Stripe's rules.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::{Network, Reply, authorization, entries, id};

#[tokio::test]
async fn the_same_request_twice_is_one_payment_and_one_answer() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let first = network.post_with_key("k1", "/v1/payment_intents", &fields).await;
    let again = network.post_with_key("k1", "/v1/payment_intents", &fields).await;
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.json, again.json);
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));

    let path = format!("/v1/payment_intents/{}/capture", id(&first.json));
    let captured = network.post_with_key("k2", &path, &[]).await.ok();
    let again = network.post_with_key("k2", &path, &[]).await;
    assert!(again.replayed);
    assert_eq!(again.ok(), captured);
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("captured", 1000)]));
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let intent = network.post_with_key("k", "/v1/payment_intents", &fields).await.ok();
    let other = authorization("pm_card_visa", "pay_2");
    network.post_with_key("k", "/v1/payment_intents", &other).await.error(
        400,
        "idempotency_error",
        None,
    );
    let capture = format!("/v1/payment_intents/{}/capture", id(&intent));
    network.post_with_key("k", &capture, &[]).await.error(400, "idempotency_error", None);
    assert!(network.ledger("pay_2").await.is_empty());
}

#[tokio::test]
async fn declines_and_refusals_are_kept_too() {
    let network = Network::start().await;
    let declined = authorization("pm_card_chargeDeclined", "pay_1");
    for replayed in [false, true] {
        let reply = network.post_with_key("k1", "/v1/payment_intents", &declined).await;
        assert_eq!(reply.replayed, replayed);
        reply.error(402, "card_error", Some("card_declined"));
    }
    assert_eq!(network.ledger("pay_1").await, entries(&[("declined", 1000)]));

    let intent = network.authorize("pay_2").await;
    let capture = format!("/v1/payment_intents/{intent}/capture");
    let fields = [("amount_to_capture", "2000")];
    for replayed in [false, true] {
        let reply = network.post_with_key("k2", &capture, &fields).await;
        assert_eq!(reply.replayed, replayed);
        reply.error(400, "invalid_request_error", Some("amount_too_large"));
    }
}

#[tokio::test]
async fn what_was_refused_before_it_ran_is_not_remembered() {
    let network = Network::start().await;
    let unusable = [("amount", "-5"), ("currency", "eur")];
    network.post_with_key("k", "/v1/payment_intents", &unusable).await.error(
        400,
        "invalid_request_error",
        Some("parameter_invalid_integer"),
    );
    let fields = authorization("pm_card_visa", "pay_1");
    let reply = network.post_with_key("k", "/v1/payment_intents", &fields).await;
    assert!(!reply.replayed);
    reply.ok();
}

#[tokio::test]
async fn a_key_in_use_is_a_conflict_until_its_request_ends() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let order = json!({ "operation": "confirm", "kind": "slow", "delay_ms": 1_000 });
    let arm = network.request(Method::POST, "/faults").json(&order);
    Reply::read(arm.send().await.expect("an answer")).await.ok();
    let slow = network.post_request("/v1/payment_intents", &fields).header("Idempotency-Key", "k");
    let slow =
        tokio::spawn(async move { Reply::read(slow.send().await.expect("an answer")).await });
    // The fault is used up as soon as the slow request is at work.
    let deadline = Instant::now() + Duration::from_secs(5);
    while network.get("/faults", &[]).await.ok()["armed"] != json!([]) {
        assert!(Instant::now() < deadline, "the slow request never starts");
        sleep(Duration::from_millis(5)).await;
    }
    network.post_with_key("k", "/v1/payment_intents", &fields).await.error(
        409,
        "invalid_request_error",
        Some("idempotency_key_in_use"),
    );
    let answer = slow.await.expect("the slow request ends").ok();
    let reply = network.post_with_key("k", "/v1/payment_intents", &fields).await;
    assert!(reply.replayed);
    assert_eq!(reply.ok(), answer);
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));
}

#[tokio::test]
async fn twenty_at_once_with_one_key_are_one_payment() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let requests = (0..20).map(|_| {
        let request =
            network.post_request("/v1/payment_intents", &fields).header("Idempotency-Key", "k");
        tokio::spawn(async move { Reply::read(request.send().await.expect("an answer")).await })
    });
    for task in requests.collect::<Vec<_>>() {
        let reply = task.await.expect("the request ends");
        assert!([200, 409].contains(&reply.status), "{reply:?}");
    }
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_lifetime() {
    let network = Network::start_with(|config| config.idempotency_key_lifetime_s = 1).await;
    let fields = authorization("pm_card_visa", "pay_1");
    let first = network.post_with_key("k", "/v1/payment_intents", &fields).await.ok();
    let deadline = Instant::now() + Duration::from_secs(10);
    let second = loop {
        let reply = network.post_with_key("k", "/v1/payment_intents", &fields).await;
        if !reply.replayed {
            break reply.ok();
        }
        assert!(Instant::now() < deadline, "the key is never forgotten");
        sleep(Duration::from_millis(50)).await;
    };
    assert_ne!(id(&first), id(&second));
}

#[tokio::test]
async fn a_key_outlives_a_restart() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let first = network.post_with_key("k", "/v1/payment_intents", &fields).await.ok();
    let database = network.stop().await;
    let url = database.url().to_owned();
    let network = Network::start_with(|config| config.database_url = url).await;
    let reply = network.post_with_key("k", "/v1/payment_intents", &fields).await;
    assert!(reply.replayed);
    assert_eq!(reply.ok(), first);
    let too_long = "k".repeat(256);
    let request = network.request(Method::POST, "/v1/refunds").header("Idempotency-Key", too_long);
    assert_eq!(request.send().await.expect("an answer").status(), 400);
    network.stop().await;
    drop(database);
}
