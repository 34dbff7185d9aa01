//! What is told of a refund from outside: a reason to look at it now, however often it is told and whoever
//! is there to look.

use std::time::Duration;

use domain::{CheckoutId, RefundId};
use futures::future::join_all;
use reqwest::StatusCode;
use temporalio_client::WorkflowTerminateOptions;
use tests::{Answer, Shop, Spec, refund_event};
use workflows::RefundWorkflow;

use super::{Admin, KEPT, PAID_BACK_ONCE, PRICE, announced, euros, order_events, sold_in};

/// Longer than any test: whatever is seen sooner, somebody told of.
const NOBODY_ASKS: Duration = Duration::from_secs(3600);

async fn sold_where_nobody_asks(method: &str) -> (Shop, Admin, CheckoutId) {
    sold_in(Spec { action_poll: NOBODY_ASKS, ..Spec::default() }, method).await
}

/// The card network's id of a refund that was made.
fn provider_ref(made: &Answer) -> &str {
    made.body["provider_ref"].as_str().unwrap_or_else(|| panic!("not made: {:#}", made.body))
}

#[tokio::test]
async fn a_pending_refund_that_is_settled_is_seen_by_its_webhook_alone() {
    let (shop, ada, sold) = sold_where_nobody_asks("pm_card_pendingRefund").await;
    let pending = ada.refund(sold, None, "r1").await;
    assert_eq!(pending.state(), Some("pending"), "{:#}", pending.body);

    shop.settle_refund(provider_ref(&pending), "succeeded").await;

    ada.until_refund(sold, "r1", "succeeded").await;
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("refunded"));
    assert_eq!(announced(&shop, "refund.succeeded").await, 1);
    shop.carried(sold, "refund.updated").await;
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refund_that_fails_after_it_seemed_done_is_ours_again_and_can_be_made_once_more() {
    let (shop, ada, sold) = sold_where_nobody_asks("pm_card_refundFail").await;
    let done = ada.refund(sold, None, "r1").await;
    assert_eq!(done.state(), Some("succeeded"), "{:#}", done.body);

    shop.settle_refund(provider_ref(&done), "failed").await;
    let failed = ada.until_refund(sold, "r1", "failed").await;
    assert!(failed["code"].is_string(), "{failed:#}");
    assert_eq!(announced(&shop, "refund.failed").await, 1);
    assert_eq!(ada.refunds(sold).await.body["left"], euros(PRICE));
    // What has been is not taken back, and neither is the order.
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("refunded"));
    shop.assert_lawful().await;
    let once_more = ada.refund(sold, None, "r2").await;
    assert_eq!(once_more.state(), Some("succeeded"), "{:#}", once_more.body);
    assert_eq!(shop.payment(sold).await.refunds, 2);
    assert_eq!(order_events(&shop, sold, "refunded").await, 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_same_event_twenty_times_at_once_has_one_effect() {
    let (shop, ada, sold) = sold_where_nobody_asks("pm_card_pendingRefund").await;
    let pending = ada.refund(sold, None, "r1").await;
    shop.carried(sold, "refund.created").await;
    shop.webhook_fault("lose", 100).await;
    shop.settle_refund(provider_ref(&pending), "succeeded").await;
    let id = RefundId::derive(sold.order(), "r1").to_string();
    let intent = shop.intent(sold).await;
    let told = refund_event("evt_often", "refund.updated", provider_ref(&pending), &intent, &id);

    let answers = join_all((0..20).map(|_| shop.tell(&told))).await;

    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK), "{answers:?}");
    ada.until_refund(sold, "r1", "succeeded").await;
    shop.carried(sold, "refund.updated").await;
    let rows = shop.inbox(sold).await;
    assert_eq!(rows.iter().filter(|row| row.event_id == "evt_often").count(), 1, "{rows:?}");
    assert_eq!(announced(&shop, "refund.succeeded").await, 1);
    assert_eq!(order_events(&shop, sold, "refunded").await, 1);
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refund_that_fails_after_its_workflow_is_over_is_heard_of_all_the_same() {
    let (shop, ada, sold) = sold_where_nobody_asks("pm_card_refundFail").await;
    let done = ada.refund(sold, Some(500), "r1").await;
    shop.carried(sold, "refund.created").await;
    let id = RefundId::derive(sold.order(), "r1").to_string();
    let handle = shop.engine.get_workflow_handle::<RefundWorkflow>(id);
    handle.terminate(WorkflowTerminateOptions::default()).await.expect("it was running");

    shop.settle_refund(provider_ref(&done), "failed").await;

    ada.until_refund(sold, "r1", "failed").await;
    assert_eq!(announced(&shop, "refund.failed").await, 1);
    assert_eq!(ada.refunds(sold).await.body["left"], euros(PRICE));
    shop.carried(sold, "refund.failed").await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_event_about_a_refund_that_is_not_ours_changes_nothing() {
    let (shop, _, sold) = sold_where_nobody_asks("pm_card_visa").await;
    shop.fulfilment(sold).await;
    let before = shop.contents().await;
    let intent = shop.intent(sold).await;
    let never = RefundId::derive(sold.order(), "never asked for").to_string();
    let kind = "charge.refund.updated";
    let of_ours = refund_event("evt_by_hand", kind, "re_by_hand", &intent, &never);
    let of_nobody = refund_event("evt_strange", kind, "re_strange", "pi_strange", "goodwill");

    for told in [&of_ours, &of_nobody] {
        assert_eq!(shop.tell(told).await.status, StatusCode::OK);
    }

    shop.carried(sold, kind).await;
    let strange: i64 =
        sqlx::query_scalar("SELECT count(*) FROM inbox WHERE refund_ref = 're_strange'")
            .fetch_one(&shop.db)
            .await
            .expect("a count");
    assert_eq!(strange, 0);
    assert_eq!(shop.contents().await, before);
    assert_eq!(shop.payment(sold).await, KEPT);
    shop.assert_lawful().await;
}
