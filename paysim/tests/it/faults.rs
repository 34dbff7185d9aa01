//! Faults on demand: what the client sees, and what the ledger says happened.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::harness::{Network, Reply, authorization, entries, id};

/// The connection ended without an answer.
async fn assert_cut(request: RequestBuilder) {
    let answer = request.send().await;
    assert!(answer.is_err(), "an answer came: {answer:?}");
}

async fn arm(network: &Network, order: Value) {
    let request = network.request(Method::POST, "/faults").json(&order);
    Reply::read(request.send().await.expect("an answer")).await.ok();
}

#[tokio::test]
async fn timeout_before_has_no_effect_and_the_retry_gets_through() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let request =
        network.post_request("/v1/payment_intents", &fields).header("Idempotency-Key", "k");
    assert_cut(request.header("Paysim-Fault", "timeout_before:20")).await;
    assert!(network.ledger("pay_1").await.is_empty());
    let reply = network.post_with_key("k", "/v1/payment_intents", &fields).await;
    assert!(!reply.replayed);
    reply.ok();
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));
}

#[tokio::test]
async fn timeout_after_has_its_effect_and_the_retry_learns_it() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let request =
        network.post_request("/v1/payment_intents", &fields).header("Idempotency-Key", "k");
    assert_cut(request.header("Paysim-Fault", "timeout_after:20")).await;
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));
    let reply = network.post_with_key("k", "/v1/payment_intents", &fields).await;
    assert!(reply.replayed);
    let found = network
        .get("/v1/payment_intents/search", &[("query", "metadata['payment_id']:'pay_1'")])
        .await
        .ok();
    assert_eq!(id(&found["data"][0]), id(&reply.ok()));
}

#[tokio::test]
async fn a_cut_connection_carries_not_one_byte_of_an_answer() {
    let network = Network::start().await;
    let body = "amount=5&currency=eur&metadata[payment_id]=pay_1";
    let request = format!(
        "POST /v1/payment_intents HTTP/1.1\r\nHost: paysim\r\nAuthorization: Bearer sk_test_it\r\n\
         Paysim-Fault: timeout_after:0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    let mut stream = TcpStream::connect(network.address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = Vec::new();
    // The end of the connection may come as an end of file or as a reset.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn error_before_is_kept_for_its_key_and_does_nothing() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let capture = format!("/v1/payment_intents/{intent}/capture");
    arm(&network, json!({ "operation": "capture", "kind": "error_before" })).await;
    for replayed in [false, true] {
        let reply = network.post_with_key("k1", &capture, &[]).await;
        assert_eq!(reply.replayed, replayed);
        reply.error(500, "api_error", None);
    }
    assert_eq!(network.intent(&intent).await["status"], "requires_capture");
    network.post_with_key("k2", &capture, &[]).await.ok();
}

#[tokio::test]
async fn error_after_is_kept_for_its_key_though_the_money_moved() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let capture = format!("/v1/payment_intents/{intent}/capture");
    arm(&network, json!({ "operation": "capture", "kind": "error_after" })).await;
    for _ in 0..2 {
        network.post_with_key("k1", &capture, &[]).await.error(500, "api_error", None);
    }
    assert_eq!(network.intent(&intent).await["status"], "succeeded");
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("captured", 1000)]));
}

#[tokio::test]
async fn a_slow_request_takes_its_effect_although_the_caller_hung_up() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let request = network
        .post_request("/v1/payment_intents", &fields)
        .header("Paysim-Fault", "slow:300")
        .timeout(Duration::from_millis(100));
    assert!(request.send().await.expect_err("the caller gave up").is_timeout());
    assert!(network.ledger("pay_1").await.is_empty());
    let deadline = Instant::now() + Duration::from_secs(5);
    while network.ledger("pay_1").await != entries(&[("authorized", 1000)]) {
        assert!(Instant::now() < deadline, "the effect never came");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_refused_capture_is_definite_and_voids_the_authorization() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let order = json!({ "operation": "capture", "kind": "refuse", "payment_id": "pay_1" });
    arm(&network, order).await;
    let capture = format!("/v1/payment_intents/{intent}/capture");
    let error = network.post(&capture, &[]).await.error(
        400,
        "invalid_request_error",
        Some("charge_expired_for_capture"),
    );
    assert_eq!(error["payment_intent"]["status"], "canceled");
    assert_eq!(error["payment_intent"]["cancellation_reason"], "expired");
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("voided", 1000)]));
}

#[tokio::test]
async fn a_fault_from_metadata_strikes_each_operation_once() {
    let network = Network::start().await;
    let mut fields = authorization("pm_card_visa", "pay_1");
    let plan =
        "confirm=timeout_after:0,capture=timeout_before:0,retrieve=error_before,cancel=slow:1";
    fields.push(("metadata[paysim_fault]", plan));
    let create =
        || network.post_request("/v1/payment_intents", &fields).header("Idempotency-Key", "k");
    assert_cut(create()).await;
    let intent = id(&Reply::read(create().send().await.expect("an answer")).await.ok());

    let path = format!("/v1/payment_intents/{intent}");
    network.get(&path, &[]).await.error(500, "api_error", None);
    network.get(&path, &[]).await.ok();
    let capture = format!("{path}/capture");
    assert_cut(network.post_request(&capture, &[])).await;
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));
    network.post(&capture, &[]).await.ok();
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("captured", 1000)]));
}

#[tokio::test]
async fn an_armed_fault_strikes_only_its_payment_and_only_its_number_of_times() {
    let network = Network::start().await;
    let order = json!({
        "operation": "confirm", "kind": "timeout_after", "delay_ms": 0, "times": 2, "payment_id": "pay_1",
    });
    arm(&network, order).await;
    network.authorize("pay_2").await;
    let fields = authorization("pm_card_visa", "pay_1");
    let create =
        || network.post_request("/v1/payment_intents", &fields).header("Idempotency-Key", "k");
    assert_cut(create()).await;
    // The second strikes the replay: the answer is lost once more.
    assert_cut(create()).await;
    let reply = Reply::read(create().send().await.expect("an answer")).await;
    assert!(reply.replayed);
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));
}

#[tokio::test]
async fn disarming_forgets_and_senseless_orders_are_refused() {
    let network = Network::start().await;
    arm(&network, json!({ "operation": "create", "kind": "error_before", "times": 5 })).await;
    let armed = network.get("/faults", &[]).await.ok();
    assert_eq!(armed["armed"][0]["times"], 5);
    let request = network.request(Method::DELETE, "/faults");
    Reply::read(request.send().await.expect("an answer")).await.ok();
    network.authorize("pay_1").await;

    for payment in ["pay_2", "pay_3"] {
        let fault = json!({ "operation": "create", "kind": "slow", "payment_id": payment });
        arm(&network, fault).await;
    }
    let request = network.request(Method::DELETE, "/faults?payment_id=pay_2");
    let left = Reply::read(request.send().await.expect("an answer")).await.ok();
    assert_eq!(left["armed"].as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(left["armed"][0]["payment_id"], "pay_3");

    for order in [
        json!({ "operation": "create" }),
        json!({ "operation": "melt", "kind": "slow" }),
        json!({ "operation": "cancel", "kind": "refuse" }),
        json!({ "operation": "create", "kind": "slow", "times": 0 }),
        json!({ "operation": "create", "kind": "slow", "delay_ms": 600_001 }),
        json!({ "operation": "create", "kind": "slow", "unknown": 1 }),
    ] {
        let request = network.request(Method::POST, "/faults").json(&order);
        assert_eq!(request.send().await.expect("an answer").status(), 400, "{order}");
    }
    for (name, value) in [("Paysim-Fault", "melt"), ("Paysim-Fault", "slow:x")] {
        let request = network.post_request("/v1/refunds", &[("payment_intent", "pi_1")]);
        assert_eq!(request.header(name, value).send().await.expect("an answer").status(), 400);
    }
    let fields = [("amount", "5"), ("currency", "eur"), ("metadata[paysim_fault]", "slow")];
    assert_eq!(network.post("/v1/payment_intents", &fields).await.status, 400);
}

#[tokio::test]
async fn reads_go_wrong_too() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let search = "/v1/payment_intents/search?query=metadata['payment_id']:'pay_1'";
    let one = format!("/v1/payment_intents/{intent}");
    for path in [search, &*one, "/v1/payment_intents", "/v1/refunds"] {
        let cut = network.request(Method::GET, path).header("Paysim-Fault", "timeout_after:0");
        assert_cut(cut).await;
        let wrong = network.request(Method::GET, path).header("Paysim-Fault", "error_before");
        Reply::read(wrong.send().await.expect("an answer")).await.error(500, "api_error", None);
        network.get(path, &[]).await.ok();
    }
    let order = json!({ "operation": "retrieve", "kind": "error_before", "payment_id": "pay_1" });
    arm(&network, order).await;
    network.get(search, &[]).await.error(500, "api_error", None);
    network.get(search, &[]).await.ok();
}

#[tokio::test]
async fn under_seeded_faults_a_patient_client_pays_exactly_once() {
    let network = Network::start_with(|config| {
        config.fault_seed = Some(7);
        config.fault_rate_percent = 50;
        config.fault_hold_ms = 0;
    })
    .await;
    for payment in 0..10 {
        let payment_id = format!("pay_{payment}");
        let fields = authorization("pm_card_visa", &payment_id);
        let mut attempt = 0;
        // A lost answer is asked for again under the same key; a 500 may hide an effect, so the
        // client looks before it tries another key.
        loop {
            let key = format!("{payment_id}_{attempt}");
            let request = network
                .post_request("/v1/payment_intents", &fields)
                .header("Idempotency-Key", &key);
            let Ok(response) = request.send().await else {
                continue;
            };
            if response.status() == 200 || !network.ledger(&payment_id).await.is_empty() {
                break;
            }
            attempt += 1;
            assert!(attempt < 20, "{payment_id} never gets through");
        }
        assert_eq!(network.ledger(&payment_id).await, entries(&[("authorized", 1000)]));
    }
}
