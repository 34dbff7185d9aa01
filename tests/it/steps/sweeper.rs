//! The sweep of holds that ran out: whatever it meets, their stock is back once.

use std::time::Duration;

use domain::CheckoutId;
use temporalio_client::{
    WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowIdConflictPolicy,
    WorkflowStartOptions, WorkflowTerminateOptions,
};
use temporalio_common::ActivityDefinition;
use tests::{Shop, Spec, eventually};
use workflows::{
    ReservationExpiryInput, ReservationExpiryWorkflow, TASK_QUEUE, contract::Inventory,
    reservation_expiry::WORKFLOW_ID,
};

use crate::{
    expiry::{ran_out, start},
    saboteur::{Harm, STOCK, with_saboteur_in},
    sweeper::terminate,
};

const HOLD: Duration = Duration::from_secs(2);

pub(super) fn looped() -> [&'static str; 1] {
    [Inventory::expire_due.name()]
}

#[tokio::test]
async fn a_sweep_that_fails_in_passing_or_runs_twice_gives_the_stock_back_once() {
    with_saboteur_in(Spec { hold: HOLD, ..Spec::default() }, async |shop, saboteur| {
        for harm in Harm::PASSING {
            let left = left_behind(shop).await;
            saboteur.plan([(Inventory::expire_due.name(), harm)]);

            sweep(shop).await;

            swept(shop, left).await;
            eventually("it has passed", || async { saboteur.spent().then_some(()) }).await;
            saboteur.mend();
            assert_eq!(shop.counters("MUG-1").await, (STOCK, 0, 0), "{harm:?}");
        }
    })
    .await;
}

/// The sweeper ends in plain sight, as a run that failed; whatever worker there is begins another.
#[tokio::test]
async fn a_sweeper_that_meets_a_bug_begins_anew_and_gives_the_stock_back_once() {
    with_saboteur_in(Spec { hold: HOLD, ..Spec::default() }, async |shop, saboteur| {
        for harm in Harm::BUGS {
            let left = left_behind(shop).await;
            saboteur.plan([(Inventory::expire_due.name(), harm)]);

            sweep(shop).await;

            until(shop, WorkflowExecutionStatus::Failed).await;
            let held = i64::from(!harm.after());
            assert_eq!(shop.counters("MUG-1").await, (STOCK - held, held, 0), "{harm:?}");

            saboteur.mend();
            shop.start_worker(0);
            swept(shop, left).await;
            until(shop, WorkflowExecutionStatus::Running).await;
            shop.kill_worker(0);
            assert_eq!(shop.counters("MUG-1").await, (STOCK, 0, 0), "{harm:?}");
        }
    })
    .await;
}

/// A hold that ran out and whose checkout was ended by hand, with no sweeper to see to it.
async fn left_behind(shop: &Shop) -> CheckoutId {
    eventually("there is no sweeper", || async {
        let handle = shop.engine.get_workflow_handle::<ReservationExpiryWorkflow>(WORKFLOW_ID);
        let by_hand = WorkflowTerminateOptions::builder().reason("by hand".to_owned()).build();
        drop(handle.terminate(by_hand).await);
        (sweeper(shop).await != Some(WorkflowExecutionStatus::Running)).then_some(())
    })
    .await;
    let left = start(&shop.customer().await.with("MUG-1", 1).await).await;
    terminate(shop, left).await;
    ran_out(shop, left).await;
    left
}

async fn sweep(shop: &Shop) {
    let options = WorkflowStartOptions::new(TASK_QUEUE, WORKFLOW_ID)
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .build();
    let input = ReservationExpiryInput { sleep_max_ms: 1000 };
    let started = shop.engine.start_workflow(ReservationExpiryWorkflow::run, input, options).await;
    started.expect("a sweeper");
}

async fn swept(shop: &Shop, left: CheckoutId) {
    eventually("the stock is back", || async {
        (shop.hold_state(left).await.as_deref() == Some("expired")).then_some(())
    })
    .await;
    assert_eq!(shop.order_state(left).await.as_deref(), Some("cancelled"));
}

async fn until(shop: &Shop, status: WorkflowExecutionStatus) {
    eventually(&format!("the sweeper is {status:?}"), || async {
        (sweeper(shop).await == Some(status)).then_some(())
    })
    .await;
}

/// How the sweeper is, if there ever was one.
async fn sweeper(shop: &Shop) -> Option<WorkflowExecutionStatus> {
    let handle = shop.engine.get_workflow_handle::<ReservationExpiryWorkflow>(WORKFLOW_ID);
    Some(handle.describe(WorkflowDescribeOptions::default()).await.ok()?.status())
}
