//! The sweeper: one in a namespace, outliving its workers and its own history, and the only one left
//! to free the hold of a checkout that was ended by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use domain::CheckoutId;
use temporalio_client::{
    WorkflowCountOptions, WorkflowDescribeOptions, WorkflowStartOptions, WorkflowTerminateOptions,
};
use temporalio_common::ActivityDefinition;
use temporalio_macros::activities;
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    activities::{ActivityContext, ActivityError},
    runtime::RuntimeOptions,
};
use tests::{Payment, Shop, Spec, eventually};
use workflows::{
    CheckoutWorkflow, ReservationExpiryInput, ReservationExpiryWorkflow, TASK_QUEUE,
    contract::{self, ExpireDueInput, ExpireDueOutcome, Inventory, Orders, Payments},
    reservation_expiry,
};

use crate::{
    expiry::start,
    saboteur::{Harm, with_saboteur_in},
};

const HOLD: Duration = Duration::from_secs(2);

#[tokio::test]
async fn the_hold_of_a_checkout_that_was_ended_by_hand_is_swept() {
    let shop = Shop::open_with(Spec { hold: HOLD, ..Spec::default() }).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let started = start(&ada).await;

    terminate(&shop, started).await;

    eventually("the stock is back", || async {
        (shop.hold_state(started).await.as_deref() == Some("expired")).then_some(())
    })
    .await;
    assert_eq!(shop.order_state(started).await.as_deref(), Some("cancelled"));
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    assert_eq!(ada.checkout(started).await.state(), Some("expired"));
    let again = ada.buy("pm_card_visa").await;
    assert_eq!(again.state(), Some("completed"), "the cart is free again: {:#}", again.body);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn stock_of_a_paid_order_whose_checkout_was_ended_by_hand_is_sold_not_freed() {
    let spec = Spec { hold: HOLD, payment_window: HOLD, ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let started = start(&ada).await;
    // The order is settled, and then its stock cannot be counted.
    let mut lock = shop.db.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM inventory WHERE sku = 'MUG-1' FOR UPDATE")
        .execute(&mut *lock)
        .await
        .expect("a lock");
    let paying = tokio::spawn(async move { ada.pay(started, "pm_card_visa").await });
    eventually("the order is paid", || async {
        (shop.order_state(started).await.as_deref() == Some("paid")).then_some(())
    })
    .await;
    shop.kill_worker(0);
    terminate(&shop, started).await;
    drop(lock);
    shop.start_worker(0);

    eventually("the stock is sold", || async {
        (shop.counters("MUG-1").await == (0, 0, 1)).then_some(())
    })
    .await;
    assert_eq!(shop.order_state(started).await.as_deref(), Some("paid"));
    paying.await.expect("an answer, of whatever kind");
    shop.assert_lawful().await;
}

/// It had begun to turn back, and could neither let the money go nor give the stock back.
#[tokio::test]
async fn a_sale_that_was_ended_by_hand_while_it_was_undone_is_undone_when_its_hold_runs_out() {
    let spec = Spec { hold: HOLD, payment_window: HOLD, ..Spec::default() };
    with_saboteur_in(spec, async |shop, saboteur| {
        let steps = [Orders::place.name(), Payments::void.name(), Inventory::release.name()];
        saboteur.plan(steps.map(|step| (step, Harm::BugFirst)));
        let customer = shop.customer().await.with("MUG-1", 1).await;
        let waiting = customer.buy("pm_card_visa").await;
        let checkout = waiting.checkout();
        customer.until(checkout, "needs_attention").await;
        eventually("all were tried", || async { saboteur.spent().then_some(()) }).await;
        terminate(shop, checkout).await;
        saboteur.mend();

        eventually("the stock is back", || async {
            (shop.hold_state(checkout).await.as_deref() == Some("expired")).then_some(())
        })
        .await;
        assert_eq!(shop.order_state(checkout).await.as_deref(), Some("cancelled"));
        let let_go = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };
        assert_eq!(shop.payment(checkout).await, let_go);
    })
    .await;
}

#[tokio::test]
async fn there_is_one_sweeper_and_it_outlives_its_workers() {
    let shop = Shop::open_with(Spec { workers: 2, hold: HOLD, ..Spec::default() }).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let first_run = sweeper_run(&shop).await;

    shop.kill_worker(0);
    shop.kill_worker(1);
    shop.start_worker(0);
    shop.start_worker(1);
    shop.worker_ready(0).await;
    shop.worker_ready(1).await;

    let started = start(&ada).await;
    terminate(&shop, started).await;
    eventually("the hold is swept", || async {
        (shop.hold_state(started).await.as_deref() == Some("expired")).then_some(())
    })
    .await;
    assert_eq!(sweeper_run(&shop).await, first_run, "the same sweeper goes on");
    let query = "WorkflowType = 'reservation_expiry' AND ExecutionStatus = 'Running'";
    let sweepers =
        shop.engine.count_workflows(query, WorkflowCountOptions::default()).await.expect("a count");
    assert_eq!(sweepers.count(), 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_sweeper_continues_as_a_new_run_and_goes_on() {
    let shop = Shop::open().await;
    // It has prepared the namespace, and now makes room for one that always has more to sweep.
    shop.kill_worker(0);
    let sweeps = Arc::new(AtomicU32::new(0));
    assert_eq!(EndlessSweeps::expire_due.name(), Inventory::expire_due.name());
    let options = WorkerOptions::new(TASK_QUEUE)
        .register_workflow::<ReservationExpiryWorkflow>()
        .expect("registered once")
        .register_activities(EndlessSweeps(Arc::clone(&sweeps)))
        .build();
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default()).expect("a runtime");
    let mut worker = Worker::new(&runtime, shop.engine.clone(), options).expect("a worker");
    let shut_down = worker.shutdown_handle();

    let story = async {
        let options = WorkflowStartOptions::new(TASK_QUEUE, "another-sweeper").build();
        let input = ReservationExpiryInput { sleep_max_ms: 1000 };
        let sweeper = shop
            .engine
            .start_workflow(ReservationExpiryWorkflow::run, input, options)
            .await
            .expect("a start");
        let first_run = sweeper.run_id().expect("a run").to_owned();
        let swept = eventually("another run sweeps", || async {
            let handle =
                shop.engine.get_workflow_handle::<ReservationExpiryWorkflow>("another-sweeper");
            let described =
                handle.describe(WorkflowDescribeOptions::default()).await.expect("a sweeper");
            (described.run_id() != first_run).then(|| sweeps.load(Ordering::Relaxed))
        })
        .await;
        eventually("it goes on", || async {
            (sweeps.load(Ordering::Relaxed) > swept + 5).then_some(())
        })
        .await;
        shut_down();
    };
    let (ended, ()) = futures::join!(worker.run(), story);
    ended.expect("the worker stops when it is told to");
}

/// A sweep that frees as many holds as it may, each time, so that the next follows at once.
pub(crate) struct EndlessSweeps(Arc<AtomicU32>);

#[activities]
impl EndlessSweeps {
    #[activity(definition = contract::ExpireDue)]
    pub(crate) async fn expire_due(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ExpireDueInput,
    ) -> Result<ExpireDueOutcome, ActivityError> {
        ctx.record_heartbeat(self.0.fetch_add(1, Ordering::Relaxed)).await?;
        Ok(ExpireDueOutcome { expired: input.limit, in_flight: 0, next_due_in_ms: None })
    }
}

/// Ends a checkout's workflow as an operator can, with none of its undos.
pub(crate) async fn terminate(shop: &Shop, checkout: CheckoutId) {
    shop.engine
        .get_workflow_handle::<CheckoutWorkflow>(checkout.to_string())
        .terminate(WorkflowTerminateOptions::builder().reason("by hand".to_owned()).build())
        .await
        .expect("it is terminated");
}

/// The run of the sweeper.
async fn sweeper_run(shop: &Shop) -> String {
    let handle = shop
        .engine
        .get_workflow_handle::<ReservationExpiryWorkflow>(reservation_expiry::WORKFLOW_ID);
    eventually("the sweeper runs", || async {
        let described = handle.describe(WorkflowDescribeOptions::default()).await.ok()?;
        Some(described.run_id().to_owned())
    })
    .await
}
