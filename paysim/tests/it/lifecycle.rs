//! A payment's life: authorize, capture, void, refund, and what the ledger says of it.

use serde_json::json;

use crate::harness::{Network, authorization, entries, id, types};

#[tokio::test]
async fn an_authorized_payment_is_captured_once() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let capture = format!("/v1/payment_intents/{intent}/capture");
    let captured = network.post(&capture, &[]).await.ok();
    assert_eq!(captured["status"], "succeeded");
    assert_eq!(captured["amount_received"], 1000);
    assert_eq!(captured["amount_capturable"], 0);

    let error = network.post(&capture, &[]).await.error(
        400,
        "invalid_request_error",
        Some("payment_intent_unexpected_state"),
    );
    assert_eq!(error["payment_intent"]["status"], "succeeded");
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("captured", 1000)]));
}

#[tokio::test]
async fn a_voided_authorization_cannot_be_captured_and_a_capture_cannot_be_voided() {
    let network = Network::start().await;
    let voided = network.authorize("pay_void").await;
    let reason = [("cancellation_reason", "abandoned")];
    let canceled =
        network.post(&format!("/v1/payment_intents/{voided}/cancel"), &reason).await.ok();
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(canceled["cancellation_reason"], "abandoned");
    for operation in ["capture", "confirm", "cancel"] {
        let path = format!("/v1/payment_intents/{voided}/{operation}");
        let error = network.post(&path, &[]).await.error(
            400,
            "invalid_request_error",
            Some("payment_intent_unexpected_state"),
        );
        assert_eq!(error["payment_intent"]["status"], "canceled");
    }
    assert_eq!(
        network.ledger("pay_void").await,
        entries(&[("authorized", 1000), ("voided", 1000)])
    );

    let captured = network.authorize("pay_keep").await;
    network.post(&format!("/v1/payment_intents/{captured}/capture"), &[]).await.ok();
    network.post(&format!("/v1/payment_intents/{captured}/cancel"), &[]).await.error(
        400,
        "invalid_request_error",
        Some("payment_intent_unexpected_state"),
    );
    assert_eq!(
        network.ledger("pay_keep").await,
        entries(&[("authorized", 1000), ("captured", 1000)])
    );
}

#[tokio::test]
async fn no_more_is_captured_than_authorized_and_no_more_refunded_than_captured() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let capture = format!("/v1/payment_intents/{intent}/capture");
    let fields = [("amount_to_capture", "1001")];
    network.post(&capture, &fields).await.error(
        400,
        "invalid_request_error",
        Some("amount_too_large"),
    );
    network.post(&capture, &[("amount_to_capture", "700")]).await.ok();

    let refund = |amount| [("payment_intent", &*intent), ("amount", amount)];
    let first = network.post("/v1/refunds", &refund("300")).await.ok();
    assert_eq!(
        (first["amount"].as_i64(), first["status"].as_str()),
        (Some(300), Some("succeeded"))
    );
    network.post("/v1/refunds", &refund("401")).await.error(
        400,
        "invalid_request_error",
        Some("amount_too_large"),
    );
    network.post("/v1/refunds", &[("payment_intent", &intent)]).await.ok();
    network.post("/v1/refunds", &refund("1")).await.error(
        400,
        "invalid_request_error",
        Some("charge_already_refunded"),
    );

    let expected = [("authorized", 1000), ("captured", 700), ("refunded", 300), ("refunded", 400)];
    assert_eq!(network.ledger("pay_1").await, entries(&expected));
    let refunds = network.get("/v1/refunds", &[("payment_intent", &intent)]).await.ok();
    assert_eq!(refunds["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(refunds["data"][0]["amount"], 400);
}

#[tokio::test]
async fn a_declined_card_leaves_nothing_authorized_and_another_card_may_pay() {
    let network = Network::start().await;
    let declined = "pm_card_visa_chargeDeclinedInsufficientFunds";
    let error = network.post("/v1/payment_intents", &authorization(declined, "pay_1")).await.error(
        402,
        "card_error",
        Some("card_declined"),
    );
    assert_eq!(error["decline_code"], "insufficient_funds");
    let intent = &error["payment_intent"];
    assert_eq!(intent["status"], "requires_payment_method");
    assert_eq!(intent["last_payment_error"]["decline_code"], "insufficient_funds");

    let confirm = format!("/v1/payment_intents/{}/confirm", id(intent));
    let paid = network.post(&confirm, &[("payment_method", "pm_card_mastercard")]).await.ok();
    assert_eq!(paid["status"], "requires_capture");
    assert!(paid["last_payment_error"].is_null());
    assert_eq!(network.ledger("pay_1").await, entries(&[("declined", 1000), ("authorized", 1000)]));
}

#[tokio::test]
async fn an_intent_is_built_up_step_by_step() {
    let network = Network::start().await;
    let bare = [("amount", "500"), ("currency", "USD"), ("metadata[payment_id]", "pay_1")];
    let intent = network.post("/v1/payment_intents", &bare).await.ok();
    assert_eq!(intent["status"], "requires_payment_method");
    assert_eq!(intent["currency"], "usd");
    let confirm = format!("/v1/payment_intents/{}/confirm", id(&intent));
    network.post(&confirm, &[]).await.error(
        400,
        "invalid_request_error",
        Some("payment_intent_unexpected_state"),
    );
    let paid = network.post(&confirm, &[("payment_method", "pm_card_visa")]).await.ok();
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 500), ("captured", 500)]));

    let with_card = [("amount", "500"), ("currency", "usd"), ("payment_method", "pm_card_visa")];
    let intent = network.post("/v1/payment_intents", &with_card).await.ok();
    assert_eq!(intent["status"], "requires_confirmation");
}

#[tokio::test]
async fn a_lapsed_authorization_is_void_and_told_and_cannot_be_captured() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let order = json!({ "payment_intent": intent });
    let lapsed = network.order("/authorizations/expire", &order).await.ok();
    assert_eq!(lapsed["status"], "canceled");
    assert_eq!(lapsed["cancellation_reason"], "automatic");
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("voided", 1000)]));
    let events = network.events().await;
    assert_eq!(types(&events)[2..], ["payment_intent.canceled"]);
    assert_eq!(events[2]["data"]["object"], lapsed);

    let state = Some("payment_intent_unexpected_state");
    let capture = format!("/v1/payment_intents/{intent}/capture");
    network.post(&capture, &[]).await.error(400, "invalid_request_error", state);
    let again = network.order("/authorizations/expire", &order).await;
    again.error(400, "invalid_request_error", state);
    let missing = json!({ "payment_intent": "pi_nope" });
    let missing = network.order("/authorizations/expire", &missing).await;
    missing.error(404, "invalid_request_error", Some("resource_missing"));
}

#[tokio::test]
async fn concurrent_captures_take_the_money_once() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let path = format!("/v1/payment_intents/{intent}/capture");
    let attempts = (0..10).map(|_| network.post_request(&path, &[]).send());
    let answers = all_statuses(attempts).await;
    let taken = answers.iter().filter(|status| **status == 200).count();
    assert_eq!(taken, 1, "{answers:?}");
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("captured", 1000)]));
}

#[tokio::test]
async fn concurrent_refunds_never_exceed_the_capture() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    network.post(&format!("/v1/payment_intents/{intent}/capture"), &[]).await.ok();
    let fields = [("payment_intent", &*intent), ("amount", "300")];
    let answers =
        all_statuses((0..8).map(|_| network.post_request("/v1/refunds", &fields).send())).await;
    let paid_back = answers.iter().filter(|status| **status == 200).count();
    assert_eq!(paid_back, 3, "{answers:?}");
    let ledger = network.ledger("pay_1").await;
    let refunded: i64 =
        ledger.iter().filter(|(kind, _)| kind == "refunded").map(|(_, amount)| amount).sum();
    assert_eq!(refunded, 900);
}

#[tokio::test]
async fn the_summary_adds_up_a_payment_over_its_intents() {
    let network = Network::start().await;
    let first = network.authorize("pay_1").await;
    network.post(&format!("/v1/payment_intents/{first}/cancel"), &[]).await.ok();
    let second = network.authorize("pay_1").await;
    network.authorize("pay_2").await;
    let open =
        |summary: &serde_json::Value| (summary["open"].as_i64(), summary["open_amount"].as_i64());

    let summary = network.get("/ledger/summary", &[]).await.ok();
    let payments = summary["payments"].as_array().expect("payments");
    assert_eq!(payments.len(), 2);
    assert_eq!(payments[0]["payment_id"], "pay_1");
    assert_eq!(payments[0]["authorizations"], 2);
    assert_eq!(payments[0]["voids"], 1);
    assert_eq!(open(&payments[0]), (Some(1), Some(1000)));

    network.post(&format!("/v1/payment_intents/{second}/capture"), &[]).await.ok();
    let summary = network.get("/ledger/summary", &[("payment_id", "pay_1")]).await.ok();
    let payment = &summary["payments"][0];
    assert_eq!(payment["captured_amount"], 1000);
    assert_eq!(open(payment), (Some(0), Some(0)));
    let totals =
        network.get("/ledger", &[("payment_intent", &second)]).await.ok()["totals"].clone();
    assert_eq!(totals.as_array().map(Vec::len), Some(2));
}

async fn all_statuses(
    requests: impl Iterator<
        Item = impl Future<Output = reqwest::Result<reqwest::Response>> + Send + 'static,
    >,
) -> Vec<u16> {
    let tasks: Vec<_> = requests.map(tokio::spawn).collect();
    let mut statuses = Vec::new();
    for task in tasks {
        let answer = task.await.expect("the request's task ends").expect("an answer");
        statuses.push(answer.status().as_u16());
    }
    statuses
}
