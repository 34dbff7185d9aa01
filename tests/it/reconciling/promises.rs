//! What was promised long ago and is neither kept nor called off is found by the time alone.

use std::time::Duration;

use domain::{CheckoutId, RefundId};
use temporalio_client::{NamespacedClient, WorkflowTerminateOptions};
use temporalio_common::{
    ActivityDefinition,
    protos::temporal::api::{
        common::v1::WorkflowExecution, workflowservice::v1::ResetWorkflowExecutionRequest,
    },
};
use tests::{Payment, Shop, eventually};
use tonic::IntoRequest as _;
use uuid::Uuid;
use workflows::{ReconciliationInput, RefundWorkflow, contract::Orders};

use super::{
    HOUR, PAID_BACK, buy, called_off, capture, cases, reconcile, refund, refund_as, sorted,
};
use crate::{
    late::late_intent_by,
    saboteur::{Harm, STOCK, with_saboteur},
    sweeper::terminate,
};

const SOLD: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

/// A workflow that is gone, or stuck, tells nobody of itself.
#[tokio::test]
async fn a_paid_checkout_that_lost_its_workflow_is_a_case_and_is_sold_once_it_is_started_over() {
    with_saboteur(async |shop, saboteur| {
        let settle = Orders::settle.name();
        saboteur.plan([(settle, Harm::BugFirst)]);
        let at_once = shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await;
        let later = shop.customer().await.with("MUG-1", 1).await;
        let started = crate::expiry::start(&later).await;
        later.pay(started, "pm_card_chargeDeclined").await;
        let later = later.pay(started, "pm_card_visa").await;
        let lost = [at_once.checkout(), started];
        for (waiting, checkout) in [at_once, later].iter().zip(lost) {
            assert_eq!(waiting.state(), Some("needs_attention"), "{:#}", waiting.body);
            terminate(shop, checkout).await;
        }
        saboteur.mend();

        let in_time = reconcile(shop, HOUR).await;
        let first = reconcile(shop, impatient()).await;
        let second = reconcile(shop, impatient()).await;

        assert_eq!((in_time.opened, first.opened, second.opened), (0, 2, 0));
        let ada = shop.operator("ada").await;
        let overdue = lost.map(|checkout| ("overdue_checkout", checkout.to_string()));
        assert_eq!(cases(&ada, "open").await, sorted(overdue));
        for checkout in lost {
            assert_eq!(shop.order_state(checkout).await.as_deref(), Some("placed"));
            start_over(shop, &checkout.to_string()).await;
        }
        eventually("the sales are final", || async {
            (shop.counters("MUG-1").await == (STOCK - 2, 0, 2)).then_some(())
        })
        .await;
        for checkout in lost {
            assert_eq!(shop.order_state(checkout).await.as_deref(), Some("paid"));
            assert_eq!(shop.payment(checkout).await, SOLD);
        }
    })
    .await;
}

/// The customer's bank has no such account any more, as it says days later.
#[tokio::test]
async fn money_of_what_was_never_sold_that_comes_back_to_us_is_a_case_however_it_is_heard_of() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let told = paid_back_late(&shop).await;
    let unheard = paid_back_late(&shop).await;

    shop.settle_refund(&refund_of(&shop, told).await, "failed").await;
    shop.carried(told, "refund.failed").await;
    let ada = shop.operator("ada").await;
    assert_eq!(
        cases(&ada, "open").await,
        sorted([("unreturned_money", told.payment().to_string())])
    );
    shop.webhook_fault("lose", 100).await;
    shop.settle_refund(&refund_of(&shop, unheard).await, "failed").await;
    let first = reconcile(&shop, HOUR).await;
    let second = reconcile(&shop, HOUR).await;

    assert_eq!((first.opened, second.opened), (1, 0), "{first:?} {second:?}");
    let both = [told, unheard].map(|checkout| ("unreturned_money", checkout.payment().to_string()));
    assert_eq!(cases(&ada, "open").await, sorted(both));
    shop.assert_lawful().await;
}

/// A checkout that was called off, whose money came all the same and was paid back.
async fn paid_back_late(shop: &Shop) -> CheckoutId {
    let checkout = called_off(shop).await;
    shop.webhook_fault("lose", 1).await;
    let intent = late_intent_by(shop, checkout, "pm_card_refundFail").await;
    capture(shop, &intent).await;
    eventually("it is paid back", || async {
        (shop.payment(checkout).await == PAID_BACK).then_some(())
    })
    .await;
    shop.carried(checkout, "charge.refunded").await;
    checkout
}

/// The card network's id of what it paid back.
async fn refund_of(shop: &Shop, checkout: CheckoutId) -> String {
    let entries = shop.ledger(checkout).await;
    let intent = entries[0]["payment_intent"].as_str().expect("an intent");
    let refunds = shop.read_network(&format!("refunds?payment_intent={intent}")).await;
    refunds["data"][0]["id"].as_str().unwrap_or_else(|| panic!("none in {refunds:#}")).to_owned()
}

#[tokio::test]
async fn money_that_was_to_go_back_and_is_still_here_long_after_is_a_case() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.operator("ada").await;
    let customer = shop.customer().await.with("MUG-1", 1).await;
    let disputed = customer.buy("pm_card_visa").await.checkout();
    shop.fault("refund", "refuse", Duration::ZERO).await;
    let called_off = customer.cancel_order(disputed).await;
    assert!(called_off.status.is_success(), "{:#}", called_off.body);
    let forgotten = buy(&shop, "pm_card_visa").await;
    let id = RefundId::derive(forgotten.order(), "one");
    let customer = shop.customer().await.with("MUG-1", 1).await;
    let regretted = customer.buy("pm_card_visa").await.checkout();
    let regret = RefundId::derive(regretted.order(), "cancel");
    shop.kill_paysim();
    refund(&ada, forgotten, 500).await;
    customer.cancel_order(regretted).await;
    for id in [id, regret] {
        let handle = shop.engine.get_workflow_handle::<RefundWorkflow>(id.to_string());
        handle.terminate(WorkflowTerminateOptions::default()).await.expect("it was running");
    }
    shop.start_paysim().await;
    buy(&shop, "pm_card_visa").await;

    let in_time = reconcile(&shop, HOUR).await;
    let first = reconcile(&shop, impatient()).await;
    let second = reconcile(&shop, impatient()).await;

    assert_eq!((in_time.opened, first.opened, second.opened), (0, 3, 0));
    assert_eq!(
        cases(&ada, "open").await,
        sorted([
            ("overdue_refund", id.to_string()),
            ("overdue_refund", regret.to_string()),
            ("unreturned_money", disputed.payment().to_string()),
        ])
    );
    let paid_back = refund_as(&ada, disputed, 1299, "by-an-operator").await;
    assert_eq!(paid_back.state(), Some("succeeded"), "{:#}", paid_back.body);
    let asked_again = refund_as(&ada, forgotten, 500, "one").await;
    assert_eq!(asked_again.state(), Some("succeeded"), "{:#}", asked_again.body);
    start_over(&shop, &regret.to_string()).await;
    eventually("what was called off is paid back", || async {
        (shop.order_state(regretted).await.as_deref() == Some("refunded")).then_some(())
    })
    .await;
    assert_eq!(shop.payment(regretted).await, PAID_BACK);
    assert_eq!(shop.payment(disputed).await, PAID_BACK);
    assert_eq!(shop.payment(forgotten).await, PAID_BACK);
    shop.assert_lawful().await;
}

/// One to which everything that is not over is overdue.
fn impatient() -> ReconciliationInput {
    ReconciliationInput { overdue_after_ms: 0, ..HOUR }
}

/// Starts a workflow over from its first task, as an operator does in the engine's web UI.
async fn start_over(shop: &Shop, workflow_id: &str) {
    let reset = ResetWorkflowExecutionRequest {
        namespace: shop.engine.namespace(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: String::new(),
        }),
        reason: "its workflow was lost".to_owned(),
        // The start of the first task; the workflow's own start and the task's schedule are before it.
        workflow_task_finish_event_id: 3,
        request_id: Uuid::new_v4().to_string(),
        ..ResetWorkflowExecutionRequest::default()
    };
    let mut engine = shop.engine.connection().workflow_service();
    engine.reset_workflow_execution(reset.into_request()).await.expect("it starts over");
}
