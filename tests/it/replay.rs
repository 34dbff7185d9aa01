//! Histories of real runs, one of each path, that today's workflows must still agree with. What a
//! worker of an older version has begun, one of this version has to finish.
//!
//! `cargo test -p tests --test it -- --ignored record` records them anew. That is right when a path
//! is new; where a path changed, its old history stays beside the new one for as long as such a
//! checkout may be under way.

use std::{fs, path::PathBuf, time::Duration};

use devstack::workspace_root;
use domain::{CheckoutId, RefundId};
use reqwest::Method;
use serde_json::{Value, json};
use temporalio_client::{
    UntypedWorkflow, WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowFetchHistoryOptions,
    WorkflowHistory,
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use tests::{PATIENCE, Shop, Spec, eventually, within};
use uuid::Uuid;
use workflows::{
    CheckoutWorkflow, FulfilmentWorkflow, ReconciliationInput, ReconciliationWorkflow,
    RefundWorkflow, ReservationExpiryWorkflow, reservation_expiry,
};

use crate::{reconciling, shipping};

/// The paths that must be there; others may be, too.
const PATHS: [&str; 26] = [
    "cancelled",
    "cancelled_while_authorizing",
    "completed_after_attention",
    "completed_after_crash",
    "completed_by_webhook",
    "completed_express",
    "completed_interactive",
    "completed_on_slow_path",
    "completed_with_3ds",
    "declined",
    "expired",
    "fulfilment",
    "fulfilment_called_off",
    "fulfilment_continued",
    "fulfilment_delivered",
    "fulfilment_mended",
    "reconciliation",
    "reconciliation_continued",
    "reconciliation_without_promises",
    "refund_failed_later",
    "refund_not_taken",
    "refund_on_slow_path",
    "refused",
    "reservation_expiry",
    "sold_out",
    "undone_on_slow_path",
];

/// Tells whether today's workflows agree with a history.
pub(crate) fn replayer() -> WorkflowReplayer {
    WorkflowReplayer::new(
        WorkflowReplayerOptions::new()
            .register_workflow::<CheckoutWorkflow>()
            .expect("registered once")
            .register_workflow::<FulfilmentWorkflow>()
            .expect("registered once")
            .register_workflow::<ReconciliationWorkflow>()
            .expect("registered once")
            .register_workflow::<RefundWorkflow>()
            .expect("registered once")
            .register_workflow::<ReservationExpiryWorkflow>()
            .expect("registered once")
            .build(),
    )
    .expect("a replayer")
}

#[tokio::test]
async fn every_recorded_history_replays() {
    let replayer = replayer();
    let mut names = Vec::new();
    let mut broken = Vec::new();
    for entry in fs::read_dir(folder()).expect("recorded histories") {
        let path = entry.expect("a file").path();
        let name =
            path.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        let history =
            WorkflowHistory::from_json(&fs::read(&path).expect("a history")).expect("a history");
        if let Err(error) = replayer.replay_workflow(history).await {
            broken.push(format!("{name}: {error}"));
        }
        names.push(name);
    }
    assert!(broken.is_empty(), "do not replay any more:\n{}", broken.join("\n"));
    let missing: Vec<_> =
        PATHS.into_iter().filter(|path| !names.iter().any(|name| name == path)).collect();
    assert!(missing.is_empty(), "no history of {missing:?} among {names:?}");
}

#[tokio::test]
#[ignore = "writes tests/histories anew"]
async fn record_histories() {
    let shop =
        Shop::open_with(Spec { attention_after: Duration::from_secs(1), ..Spec::default() }).await;
    shop.stock("MUG-1", 100, 1299).await;
    shop.stock("MUG-2", 0, 1299).await;
    record_sales(&shop).await;
    record_failures(&shop).await;
    shop.assert_lawful().await;

    let patient =
        Shop::open_with(Spec { action_poll: Duration::from_secs(600), ..Spec::default() }).await;
    patient.stock("MUG-1", 1, 1299).await;
    record_webhook(&patient).await;
    patient.assert_lawful().await;

    let hasty = Shop::open_with(Spec { hold: Duration::from_secs(1), ..Spec::default() }).await;
    hasty.stock("MUG-1", 1, 1299).await;
    record_expiries(&hasty).await;
    hasty.assert_lawful().await;
}

#[tokio::test]
#[ignore = "writes the refunds among tests/histories anew"]
async fn record_refund_histories() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let operator = shop.operator("ada").await;
    let refund = async |sold: CheckoutId, minor: i64| {
        let amount = json!({ "minor": minor, "currency": "EUR" });
        let body = json!({ "amount": amount, "reason": "damaged", "reference": "r1" });
        let path = format!("/v1/admin/orders/{}/refunds", sold.order());
        operator.send(Method::POST, &path, &[("Prefer", "wait=20")], Some(body)).await
    };
    let ada = shop.customer().await;

    let sold = ada.clone().with("MUG-1", 1).await.buy("pm_card_refundFail").await.checkout();
    let made = refund(sold, 500).await;
    shop.settle_refund(made.body["provider_ref"].as_str().expect("it was made"), "failed").await;
    keep_refund(&shop, sold, "refund_failed_later").await;

    let sold = ada.clone().with("MUG-1", 1).await.buy("pm_card_visa").await.checkout();
    refund(sold, 2000).await;
    keep_refund(&shop, sold, "refund_not_taken").await;

    let sold = ada.with("MUG-1", 1).await.buy("pm_card_visa").await.checkout();
    shop.fault("refund", "error_before", Duration::ZERO).await;
    let made = refund(sold, 500).await;
    shop.settle_refund(made.body["provider_ref"].as_str().expect("it was made"), "failed").await;
    keep_refund(&shop, sold, "refund_on_slow_path").await;
    shop.assert_lawful().await;
}

#[tokio::test]
#[ignore = "writes the reconciliations among tests/histories anew"]
async fn record_reconciliation_histories() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 30, 1299).await;
    for _ in 0..25 {
        shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await;
    }
    let hour = ReconciliationInput::of_the_last(3_600_000);
    let run = reconciling::begin(&shop, ReconciliationInput { pages_per_run: 1, ..hour }).await;
    let id = run.info().workflow_id.clone();
    let first = run.describe(WorkflowDescribeOptions::default()).await.expect("a run");
    let first = first.run_id().to_owned();
    ended(&shop, &id).await;
    keep(&shop, &id, Some(first), "reconciliation_continued").await;
    keep(&shop, &id, None, "reconciliation").await;
    shop.assert_lawful().await;
}

async fn record_sales(shop: &Shop) {
    let ada = shop.customer().await.with("MUG-1", 2).await;
    let express = ada.buy("pm_card_visa").await.checkout();
    keep_checkout(shop, express, "completed_express").await;

    let ada = ada.with("MUG-1", 1).await;
    let interactive = ada.start(&key(), json!({})).await.checkout();
    ada.pay(interactive, "pm_card_visa_chargeDeclined").await;
    ada.pay(interactive, "pm_card_visa").await;
    keep_checkout(shop, interactive, "completed_interactive").await;

    let ada = ada.with("MUG-1", 1).await;
    let asked = ada.buy("pm_card_authenticationRequired").await;
    let url = asked.body["next_action"]["url"].as_str().expect("the bank's page").to_owned();
    let answered = reqwest::Client::new()
        .post(url)
        .form(&[("result", "approve")])
        .send()
        .await
        .expect("a page");
    assert!(!answered.status().is_server_error());
    keep_checkout(shop, asked.checkout(), "completed_with_3ds").await;

    let ada = ada.with("MUG-1", 1).await;
    shop.fault("confirm", "error_before", Duration::ZERO).await;
    let slow = ada.buy("pm_card_visa").await.checkout();
    keep_checkout(shop, slow, "completed_on_slow_path").await;

    let ada = ada.with("MUG-1", 1).await;
    shop.fault("confirm", "timeout_after", Duration::from_secs(60)).await;
    let buying = {
        let ada = ada.clone();
        tokio::spawn(async move { ada.buy("pm_card_visa").await })
    };
    let crashed = shop.under_way().await;
    eventually("the network has approved", || async {
        (shop.payment(crashed).await.authorizations == 1).then_some(())
    })
    .await;
    shop.kill_worker(0);
    shop.start_worker(0);
    buying.await.expect("an answer");
    keep_checkout(shop, crashed, "completed_after_crash").await;

    let ada = ada.with("MUG-1", 1).await;
    shop.kill_paysim();
    let attention = ada.buy("pm_card_visa").await;
    assert_eq!(attention.state(), Some("needs_attention"), "{:#}", attention.body);
    shop.start_paysim().await;
    keep_checkout(shop, attention.checkout(), "completed_after_attention").await;
}

/// Nobody asks for ten minutes, so only word from outside can explain that it completes.
async fn record_webhook(shop: &Shop) {
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let asked = ada.buy("pm_card_authenticationRequired").await;
    let url = asked.body["next_action"]["url"].as_str().expect("the bank's page");
    shop.answer_bank(url, "approve").await;
    keep_checkout(shop, asked.checkout(), "completed_by_webhook").await;
}

async fn record_failures(shop: &Shop) {
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let declined = ada.buy("pm_card_visa_chargeDeclined").await.checkout();
    keep_checkout(shop, declined, "declined").await;

    let wrong = json!({ "payment": { "method": "pm_card_visa" }, "expected_total": { "minor": 1, "currency": "EUR" } });
    let refused = ada.start(&key(), wrong).await.checkout();
    keep_checkout(shop, refused, "refused").await;

    let cancelled = ada.start(&key(), json!({})).await.checkout();
    ada.cancel(cancelled).await;
    keep_checkout(shop, cancelled, "cancelled").await;

    let authorizing = ada.start(&key(), json!({})).await.checkout();
    shop.fault("confirm", "slow", Duration::from_secs(3)).await;
    let paying = {
        let ada = ada.clone();
        tokio::spawn(async move { ada.pay(authorizing, "pm_card_visa").await })
    };
    eventually("the payment has begun", || async {
        sqlx::query_scalar::<_, String>(
            "SELECT provider_ref FROM payment_attempt WHERE payment_id = $1",
        )
        .bind(authorizing.uuid())
        .fetch_optional(&shop.db)
        .await
        .ok()
        .flatten()
    })
    .await;
    ada.cancel(authorizing).await;
    paying.await.expect("an answer");
    assert_eq!(shop.payment(authorizing).await.voids, 1);
    keep_checkout(shop, authorizing, "cancelled_while_authorizing").await;

    shop.fault("capture", "refuse", Duration::ZERO).await;
    shop.fault("cancel", "error_before", Duration::ZERO).await;
    let undone = ada.buy("pm_card_visa").await.checkout();
    keep_checkout(shop, undone, "undone_on_slow_path").await;

    let eve = shop.customer().await.with("MUG-2", 1).await;
    let sold_out = eve.buy("pm_card_visa").await.checkout();
    keep_checkout(shop, sold_out, "sold_out").await;
}

async fn record_expiries(shop: &Shop) {
    let handle = shop
        .engine
        .get_workflow_handle::<ReservationExpiryWorkflow>(reservation_expiry::WORKFLOW_ID);
    let run = || async {
        let described =
            handle.describe(WorkflowDescribeOptions::default()).await.expect("a sweeper");
        described.run_id().to_owned()
    };
    let first_run = run().await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let expired = ada.start(&key(), json!({})).await.checkout();
    ada.until(expired, "expired").await;
    keep_checkout(shop, expired, "expired").await;

    // A run ends after a hundred sweeps, a second apart.
    within(3 * PATIENCE, "the sweeper continues as a new run", || async {
        (run().await != first_run).then_some(())
    })
    .await;
    keep(shop, reservation_expiry::WORKFLOW_ID, Some(first_run), "reservation_expiry").await;
}

async fn keep_checkout(shop: &Shop, checkout: CheckoutId, name: &str) {
    let handle = shop.engine.get_workflow_handle::<CheckoutWorkflow>(checkout.to_string());
    eventually(&format!("{name} has ended"), || async {
        let described =
            handle.describe(WorkflowDescribeOptions::default()).await.expect("a workflow");
        described.close_time()
    })
    .await;
    keep(shop, &checkout.to_string(), None, name).await;
}

async fn keep_refund(shop: &Shop, sold: CheckoutId, name: &str) {
    let id = RefundId::derive(sold.order(), "r1").to_string();
    let handle = shop.engine.get_workflow_handle::<RefundWorkflow>(id.clone());
    eventually(&format!("{name} has ended"), || async {
        let described =
            handle.describe(WorkflowDescribeOptions::default()).await.expect("a workflow");
        described.close_time()
    })
    .await;
    keep(shop, &id, None, name).await;
}

/// Fulfilments alone. `fulfilment.json`, of a version that could not ship yet, is not recorded anew.
#[tokio::test]
#[ignore = "writes some of tests/histories anew"]
async fn record_fulfilments() {
    let shop = Shop::open_with(Spec {
        fulfilment_events_per_run: 3,
        deliver_within: Duration::from_secs(1),
        ..Spec::default()
    })
    .await;
    shop.stock("MUG-1", 100, 1299).await;
    let ops = shop.operator("ada").await;
    let ada = shop.customer().await.with("MUG-1", 2).await;

    let called_off = ada.buy("pm_card_visa").await.checkout();
    shipping::ship(&ops, called_off, "T-1", None).await;
    let id = called_off.order().to_string();
    let handle = shop.engine.get_workflow_handle::<FulfilmentWorkflow>(id.clone());
    handle.cancel(WorkflowCancelOptions::default()).await.expect("it is running");
    ended(&shop, &id).await;
    keep(&shop, &id, None, "fulfilment_called_off").await;

    let ada = ada.with("MUG-1", 2).await;
    let delivered = ada.buy("pm_card_visa").await.checkout();
    let first_run = shop.fulfilment(delivered).await;
    let one = shipping::ship(&ops, delivered, "T-2", Some(1)).await;
    let other = shipping::ship(&ops, delivered, "T-3", None).await;
    shipping::tell(&ops, &one, "e-1", "dispatched").await;
    eventually("it continues as a new run", || async {
        (shop.fulfilment_run(delivered).await? != first_run).then_some(())
    })
    .await;
    shipping::attention(&shop, delivered).await;
    shipping::tell(&ops, &one, "e-2", "delivered").await;
    shipping::tell(&ops, &other, "e-3", "delivered").await;
    let id = delivered.order().to_string();
    ended(&shop, &id).await;
    keep(&shop, &id, Some(first_run), "fulfilment_continued").await;
    keep(&shop, &id, None, "fulfilment_delivered").await;
    shop.assert_lawful().await;
}

async fn ended(shop: &Shop, workflow_id: &str) {
    let handle = shop.engine.get_workflow_handle::<UntypedWorkflow>(workflow_id);
    eventually(&format!("{workflow_id} has ended"), || async {
        let described =
            handle.describe(WorkflowDescribeOptions::default()).await.expect("a workflow");
        described.close_time()
    })
    .await;
}

/// Writes a workflow's history down, an event a line.
pub(crate) async fn keep(shop: &Shop, workflow_id: &str, run_id: Option<String>, name: &str) {
    let mut info = shop.engine.get_workflow_handle::<UntypedWorkflow>(workflow_id).info().clone();
    info.run_id = run_id;
    let history = info
        .bind_untyped(shop.engine.clone())
        .fetch_history(WorkflowFetchHistoryOptions::default());
    let history: Value =
        serde_json::from_slice(&history.to_json().await.expect("a history")).expect("JSON");
    let events: Vec<String> =
        history["events"].as_array().expect("events").iter().map(ToString::to_string).collect();
    fs::create_dir_all(folder()).expect("a folder");
    let text = format!("{{\"events\": [\n{}\n]}}\n", events.join(",\n"));
    fs::write(folder().join(format!("{name}.json")), text).expect("it is written");
}

fn folder() -> PathBuf {
    workspace_root().join("tests/histories")
}

fn key() -> String {
    Uuid::new_v4().to_string()
}
