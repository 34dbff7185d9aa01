//! The engine's own cancellation, as by the button in its web UI, at every moment of a checkout: what has
//! begun is followed to its outcome, and undone in full or sold in full.

use std::time::Duration;

use domain::CheckoutId;
use serde_json::json;
use temporalio_client::{WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecutionStatus};
use tests::{Payment, Shop, eventually};
use workflows::CheckoutWorkflow;

/// Longer than a task of the engine, and still within a step's quick try.
const SLOW: Duration = Duration::from_secs(3);
/// Longer than a step's quick try.
const VERY_SLOW: Duration = Duration::from_secs(6);
const SOLD: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
const VOIDED: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };

#[tokio::test]
async fn a_checkout_cancelled_in_the_engine_while_it_waits_gives_everything_back() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let unpaid = shop.customer().await.with("MUG-1", 1).await;
    let unpaid = crate::expiry::start(&unpaid).await;
    let asked = shop.customer().await.with("MUG-1", 1).await;
    let asked = asked.buy("pm_card_threeDSecure2Required").await.checkout();

    for checkout in [unpaid, asked] {
        cancel(&shop, checkout).await;

        assert_eq!(ended(&shop, checkout).await, WorkflowExecutionStatus::Canceled);
        assert_eq!(shop.payment(checkout).await, Payment::default());
        assert_eq!(shop.order_state(checkout).await.as_deref(), Some("cancelled"));
    }
    assert_eq!(shop.counters("MUG-1").await, (2, 0, 0));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_checkout_cancelled_in_the_engine_while_it_authorizes_lets_the_money_go() {
    for pace in [SLOW, VERY_SLOW] {
        let shop = Shop::open().await;
        shop.stock("MUG-1", 1, 1299).await;
        shop.fault("confirm", "slow", pace).await;
        let checkout = buy(&shop).await;
        eventually("the card network has been asked", || async {
            let asked = "SELECT true FROM payment_attempt WHERE provider_ref IS NOT NULL";
            sqlx::query_scalar::<_, bool>(asked).fetch_optional(&shop.db).await.expect("a query")
        })
        .await;

        cancel(&shop, checkout).await;

        assert_eq!(ended(&shop, checkout).await, WorkflowExecutionStatus::Canceled, "{pace:?}");
        assert_eq!(shop.payment(checkout).await, VOIDED, "{pace:?}");
        assert_eq!(shop.counters("MUG-1").await, (1, 0, 0), "{pace:?}");
        shop.assert_lawful().await;
    }
}

#[tokio::test]
async fn a_checkout_cancelled_in_the_engine_while_the_money_is_taken_is_sold_all_the_same() {
    for pace in [SLOW, VERY_SLOW] {
        let shop = Shop::open().await;
        shop.stock("MUG-1", 1, 1299).await;
        shop.fault("capture", "slow", pace).await;
        let checkout = buy(&shop).await;
        eventually("the order is placed", || async {
            (shop.order_state(checkout).await.as_deref() == Some("placed")).then_some(())
        })
        .await;

        cancel(&shop, checkout).await;

        assert_eq!(ended(&shop, checkout).await, WorkflowExecutionStatus::Completed, "{pace:?}");
        assert_eq!(shop.payment(checkout).await, SOLD, "{pace:?}");
        assert_eq!(shop.counters("MUG-1").await, (0, 0, 1), "{pace:?}");
        shop.assert_lawful().await;
    }
}

#[tokio::test]
async fn a_checkout_cancelled_in_the_engine_while_it_turns_back_turns_back_to_the_end() {
    for pace in [SLOW, VERY_SLOW] {
        let shop = Shop::open().await;
        shop.stock("MUG-1", 1, 1299).await;
        shop.fault("capture", "refuse", Duration::ZERO).await;
        shop.fault("cancel", "slow", pace).await;
        let ada = shop.customer().await.with("MUG-1", 1).await;
        let express = json!({ "payment": { "method": "pm_card_visa" } });
        let checkout = ada.start_only("once", express).await.checkout();
        eventually("the sale is barred", || async {
            let closed = "SELECT true FROM payment WHERE closed_at IS NOT NULL";
            sqlx::query_scalar::<_, bool>(closed).fetch_optional(&shop.db).await.expect("a query")
        })
        .await;

        cancel(&shop, checkout).await;

        // If the task that had undone everything came too late for the engine, its repetition finds the
        // checkout ended, and says that there is nothing to do.
        let status = ended(&shop, checkout).await;
        assert_ne!(status, WorkflowExecutionStatus::Canceled, "{pace:?}");
        assert_eq!(shop.payment(checkout).await, VOIDED, "{pace:?}");
        assert_eq!(shop.counters("MUG-1").await, (1, 0, 0), "{pace:?}");
        assert_eq!(shop.order_state(checkout).await.as_deref(), Some("cancelled"), "{pace:?}");
        let seen = ada.checkout(checkout).await;
        assert_eq!(seen.body["problem"]["code"], "payment_declined", "{pace:?}: {:#}", seen.body);
        shop.assert_lawful().await;
    }
}

/// An express checkout, under way.
async fn buy(shop: &Shop) -> CheckoutId {
    let ada = shop.customer().await.with("MUG-1", 1).await;
    ada.start_only("once", json!({ "payment": { "method": "pm_card_visa" } })).await.checkout()
}

async fn cancel(shop: &Shop, checkout: CheckoutId) {
    let handle = shop.engine.get_workflow_handle::<CheckoutWorkflow>(checkout.to_string());
    handle.cancel(WorkflowCancelOptions::default()).await.expect("it is running");
}

/// How the checkout's workflow ended.
async fn ended(shop: &Shop, checkout: CheckoutId) -> WorkflowExecutionStatus {
    let handle = shop.engine.get_workflow_handle::<CheckoutWorkflow>(checkout.to_string());
    eventually("the workflow has ended", || async {
        let described = handle.describe(WorkflowDescribeOptions::default()).await.ok()?;
        let status = described.status();
        (status != WorkflowExecutionStatus::Running).then_some(status)
    })
    .await
}
