//! Refunds that are not done at once: pending, then paid; or paid, as it seemed, and then failed.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{Network, Reply, authorization, entries, id, types};

const FAILED: &[(&str, i64)] =
    &[("authorized", 1000), ("captured", 1000), ("refunded", 1000), ("refund_failed", 1000)];

#[tokio::test]
async fn a_pending_refund_succeeds_after_a_while() {
    let network = Network::start_with(|config| config.refund_settle_ms = 300).await;
    let intent = captured(&network, "pm_card_pendingRefund").await;
    let refund = refund(&network, &intent).await.ok();
    assert_eq!(refund["status"], "pending");
    let settled = status_becomes(&network, &id(&refund), "succeeded").await;
    assert_eq!(settled["amount"], 1000);
    let events = network.events().await;
    assert_eq!(types(&events)[3..], ["refund.created", "charge.refunded", "refund.updated"]);
    assert_eq!(events[3]["data"]["object"], refund);
    assert_eq!(events[5]["data"]["object"], settled);
    let expected = [("authorized", 1000), ("captured", 1000), ("refunded", 1000)];
    assert_eq!(network.ledger("pay_1").await, entries(&expected));
}

#[tokio::test]
async fn a_refund_that_fails_later_can_be_made_once_more() {
    let network = Network::start_with(|config| config.refund_settle_ms = 3_600_000).await;
    let intent = captured(&network, "pm_card_refundFail").await;
    let first = refund(&network, &intent).await.ok();
    assert_eq!(first["status"], "succeeded");
    let already = Some("charge_already_refunded");
    refund(&network, &intent).await.error(400, "invalid_request_error", already);

    let order = json!({ "refund": id(&first) });
    let failed = network.order("/refunds/settle", &order).await.ok();
    assert_eq!(failed["status"], "failed");
    assert!(failed["failure_reason"].is_string());
    assert_eq!(types(&network.events().await)[5..], ["refund.updated", "refund.failed"]);
    assert_eq!(network.ledger("pay_1").await, entries(FAILED));
    refund(&network, &intent).await.ok();
    let summary = network.get("/ledger/summary", &[]).await.ok();
    let payment = &summary["payments"][0];
    assert_eq!(payment["refunded_amount"], 2000);
    assert_eq!(payment["refund_failed_amount"], 1000);
    assert_eq!(payment["refund_failures"], 1);
}

#[tokio::test]
async fn a_refund_waits_for_its_last_word_across_a_restart() {
    let network = Network::start_with(|config| config.refund_settle_ms = 3_600_000).await;
    let intent = captured(&network, "pm_card_pendingRefund").await;
    let made = id(&refund(&network, &intent).await.ok());
    let database = network.stop().await;
    let url = database.url().to_owned();
    let network = Network::start_with(|config| {
        config.database_url = url;
        config.refund_settle_ms = 0;
    })
    .await;
    status_becomes(&network, &made, "succeeded").await;
    network.stop().await;
    drop(database);
}

#[tokio::test]
async fn an_operator_fails_any_refund_once() {
    let network = Network::start().await;
    let intent = captured(&network, "pm_card_visa").await;
    let made = id(&refund(&network, &intent).await.ok());
    let undecided = network.order("/refunds/settle", &json!({ "refund": made })).await;
    undecided.error(400, "invalid_request_error", None);
    let order = json!({ "refund": made, "status": "failed" });
    let orders = (0..5).map(|_| {
        let request = network.request(Method::POST, "/refunds/settle").json(&order);
        tokio::spawn(async move { request.send().await.expect("an answer").status().as_u16() })
    });
    let mut statuses = Vec::new();
    for order in orders.collect::<Vec<_>>() {
        statuses.push(order.await.expect("the order ends"));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400, 400, 400]);
    assert_eq!(network.ledger("pay_1").await, entries(FAILED));
    for senseless in [json!({}), json!({ "refund": made, "status": "melted" })] {
        assert_eq!(network.order("/refunds/settle", &senseless).await.status, 400);
    }
    let missing = network.order("/refunds/settle", &json!({ "refund": "re_nope" })).await;
    missing.error(404, "invalid_request_error", Some("resource_missing"));
}

#[tokio::test]
async fn refunds_are_found_by_id_by_intent_and_by_charge_with_their_metadata() {
    let network = Network::start().await;
    let mine = captured(&network, "pm_card_visa").await;
    let other = captured(&network, "pm_card_visa").await;
    refund(&network, &other).await.ok();
    let fields = [
        ("payment_intent", &*mine),
        ("amount", "300"),
        ("reason", "requested_by_customer"),
        ("metadata[return]", "ret_1"),
    ];
    let made = network.post("/v1/refunds", &fields).await.ok();
    assert_eq!(made["metadata"], json!({ "return": "ret_1" }));
    let found = network.get(&format!("/v1/refunds/{}", id(&made)), &[]).await.ok();
    assert_eq!(found, made);
    let charge = made["charge"].as_str().expect("a refund has a charge");
    for filter in [("payment_intent", &*mine), ("charge", charge)] {
        let list = network.get("/v1/refunds", &[filter]).await.ok();
        assert_eq!(list["data"], json!([made]));
    }
    let missing = network.get("/v1/refunds/re_nope", &[]).await;
    missing.error(404, "invalid_request_error", Some("resource_missing"));
}

async fn captured(network: &Network, card: &str) -> String {
    let intent = network.post("/v1/payment_intents", &authorization(card, "pay_1")).await.ok();
    network.post(&format!("/v1/payment_intents/{}/capture", id(&intent)), &[]).await.ok();
    id(&intent)
}

async fn refund(network: &Network, intent: &str) -> Reply {
    network.post("/v1/refunds", &[("payment_intent", intent)]).await
}

async fn status_becomes(network: &Network, refund: &str, status: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = network.get(&format!("/v1/refunds/{refund}"), &[]).await.ok();
        if found["status"] == status {
            return found;
        }
        assert!(Instant::now() < deadline, "it never becomes {status}: {found}");
        sleep(Duration::from_millis(10)).await;
    }
}
