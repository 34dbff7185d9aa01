//! The saga's promise, step by step: whatever step fails, and however, the books come out as if it
//! had never begun or had gone well. The list of steps is the contract's, and a worker within the
//! test lets each of them fail in turn.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use temporalio_common::{ActivityDefinition, error::ApplicationFailure};
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    activities::ActivityError,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
    runtime::RuntimeOptions,
};
use tests::{Answer, Payment, Shop, Spec};
use workflows::{
    CheckoutWorkflow, FulfilmentWorkflow, RefundWorkflow, TASK_QUEUE,
    contract::{Inventory, Orders, Payments},
};

const SOLD: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

/// The steps before the money is taken, in order.
fn steps_until_capture() -> [&'static str; 5] {
    [
        Orders::open.name(),
        Inventory::reserve.name(),
        Payments::authorize.name(),
        Orders::place.name(),
        Payments::capture.name(),
    ]
}

/// What barring the sale and undoing it consist of.
fn undos() -> [&'static str; 4] {
    [
        Payments::close.name(),
        Orders::cancel.name(),
        Inventory::release.name(),
        Payments::void.name(),
    ]
}

/// What is to happen to a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harm {
    /// It fails in passing before it does anything.
    FailFirst,
    /// It does its work, and then its answer is lost.
    LoseAnswer,
    /// It can never succeed, and does nothing.
    BugFirst,
    /// It does its work, and then can never be said to have succeeded.
    BugAfter,
}

impl Harm {
    fn passes(self) -> bool {
        match self {
            Self::FailFirst | Self::LoseAnswer => true,
            Self::BugFirst | Self::BugAfter => false,
        }
    }
}

/// Harm waiting for its steps. What passes strikes once, a bug until it is mended.
#[derive(Clone, Default)]
pub(crate) struct Saboteur(Arc<Mutex<Vec<(&'static str, Harm)>>>);

impl Saboteur {
    pub(crate) fn plan(&self, harms: impl IntoIterator<Item = (&'static str, Harm)>) {
        self.0.lock().expect("unpoisoned").extend(harms);
    }

    fn take(&self, step: &str) -> Option<Harm> {
        let mut planned = self.0.lock().expect("unpoisoned");
        let found = planned.iter().position(|(name, _)| *name == step)?;
        let harm = planned[found].1;
        if harm.passes() {
            planned.remove(found);
        }
        Some(harm)
    }

    /// Mends every bug. Claims that all passing harm was done.
    pub(crate) fn mend(&self) {
        let mut planned = self.0.lock().expect("unpoisoned");
        planned.retain(|(_, harm)| harm.passes());
        assert!(planned.is_empty(), "harm that met no step: {planned:?}");
    }
}

impl ActivityInboundInterceptor for Saboteur {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        async move {
            let step = input.activity_info().activity_type.clone();
            match self.take(&step) {
                None => next.run(input).await,
                Some(Harm::FailFirst) => Err(passing()),
                Some(Harm::BugFirst) => Err(bug()),
                Some(Harm::LoseAnswer) => {
                    next.run(input).await?;
                    Err(passing())
                }
                Some(Harm::BugAfter) => {
                    next.run(input).await?;
                    Err(bug())
                }
            }
        }
        .boxed()
    }
}

fn passing() -> ActivityError {
    ActivityError::application(ApplicationFailure::builder("sabotage that passes").build())
}

fn bug() -> ActivityError {
    ActivityError::application(ApplicationFailure::builder("sabotage").non_retryable(true).build())
}

#[tokio::test]
async fn a_step_that_can_never_succeed_leaves_a_clean_slate() {
    with_saboteur(async |shop, saboteur| {
        for step in steps_until_capture() {
            for harm in [Harm::BugFirst, Harm::BugAfter] {
                saboteur.plan([(step, harm)]);

                let failed = buy(shop).await;

                assert_eq!(failed.code(), Some("internal"), "{step} {harm:?}: {:#}", failed.body);
                assert_clean_slate(shop, &failed, &format!("{step} {harm:?}")).await;
                saboteur.mend();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_step_that_fails_in_passing_or_runs_twice_sells_once() {
    with_saboteur(async |shop, saboteur| {
        let mut sold = 0;
        for step in steps_until_capture().into_iter().chain([Orders::settle.name()]) {
            for harm in [Harm::FailFirst, Harm::LoseAnswer] {
                saboteur.plan([(step, harm)]);

                let bought = buy(shop).await;

                assert_eq!(bought.state(), Some("completed"), "{step} {harm:?}: {:#}", bought.body);
                assert_eq!(shop.payment(bought.checkout()).await, SOLD, "{step} {harm:?}");
                sold += 1;
                assert_eq!(
                    shop.counters("MUG-1").await,
                    (STOCK - sold, 0, sold),
                    "{step} {harm:?}"
                );
                saboteur.mend();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_step_twice_sells_once() {
    with_saboteur(async |shop, saboteur| {
        let steps = steps_until_capture().into_iter().chain([Orders::settle.name()]);
        saboteur.plan(steps.map(|step| (step, Harm::LoseAnswer)));

        let bought = buy(shop).await;

        assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
        assert_eq!(shop.payment(bought.checkout()).await, SOLD);
        assert_eq!(shop.counters("MUG-1").await, (STOCK - 1, 0, 1));
        saboteur.mend();
    })
    .await;
}

#[tokio::test]
async fn an_undo_that_fails_in_passing_or_runs_twice_undoes_once() {
    with_saboteur(async |shop, saboteur| {
        for undo in undos() {
            for harm in [Harm::FailFirst, Harm::LoseAnswer] {
                // The order is placed, the stock held and the money set aside: all there is to undo.
                saboteur.plan([(Payments::capture.name(), Harm::BugFirst), (undo, harm)]);

                let failed = buy(shop).await;

                assert_clean_slate(shop, &failed, &format!("{undo} {harm:?}")).await;
                assert_eq!(shop.payment(failed.checkout()).await.voids, 1, "{undo} {harm:?}");
                saboteur.mend();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_undo_twice_undoes_once() {
    with_saboteur(async |shop, saboteur| {
        saboteur.plan([(Payments::capture.name(), Harm::BugAfter)]);
        saboteur.plan(undos().map(|undo| (undo, Harm::LoseAnswer)));

        let failed = buy(shop).await;

        assert_clean_slate(shop, &failed, "captured and undone").await;
        let paid_back = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };
        assert_eq!(shop.payment(failed.checkout()).await, paid_back);
        saboteur.mend();
    })
    .await;
}

#[tokio::test]
async fn a_bug_in_settling_calls_for_people_and_the_sale_is_made_final_all_the_same() {
    with_saboteur(async |shop, saboteur| {
        saboteur.plan([(Orders::settle.name(), Harm::BugFirst)]);

        let waiting = buy(shop).await;

        assert_eq!(waiting.state(), Some("needs_attention"), "{:#}", waiting.body);
        saboteur.mend();
        tests::eventually("the sale is final", || async {
            (shop.order_state(waiting.checkout()).await.as_deref() == Some("paid")).then_some(())
        })
        .await;
        assert_eq!(shop.payment(waiting.checkout()).await, SOLD);
        // The stock is sold just after the order is paid.
        tests::eventually("the stock is sold", || async {
            (shop.counters("MUG-1").await == (STOCK - 1, 0, 1)).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_sale_that_nobody_has_announced_yet_is_fulfilled_once_somebody_does() {
    // The worker within this test sells, and has no relay.
    with_saboteur(async |shop, _| {
        let sold = buy(shop).await.checkout();
        assert_eq!(shop.order_state(sold).await.as_deref(), Some("paid"));
        assert_eq!(shop.fulfilment_run(sold).await, None);

        shop.start_worker(0);

        shop.fulfilment(sold).await;
    })
    .await;
}

/// A task that was lost may still be on its way when what it did is undone elsewhere.
#[tokio::test]
async fn a_sale_that_is_being_undone_cannot_become_final() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    shop.fault("capture", "slow", Duration::from_secs(3)).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let buying = tokio::spawn(async move { ada.buy("pm_card_visa").await });
    let checkout = shop.under_way().await;
    tests::eventually("the order is placed", || async {
        (shop.order_state(checkout).await.as_deref() == Some("placed")).then_some(())
    })
    .await;

    let mut tx = shop.db.begin().await.expect("a transaction");
    let closed = store::payment::close(&mut tx, checkout.payment()).await.expect("an answer");
    let settled = store::order::settle(&mut tx, checkout).await;
    tx.rollback().await.expect("a rollback");

    assert!(closed, "the sale was final before it was captured");
    assert!(matches!(settled, Err(store::Error::Broken(_))), "{settled:?}");
    assert_eq!(buying.await.expect("an answer").state(), Some("completed"));
    assert_eq!(shop.payment(checkout).await, SOLD);
    shop.assert_lawful().await;
}

const STOCK: i64 = 20;

/// A shop whose one worker runs here, with somebody at its elbow.
pub(crate) async fn with_saboteur(claim: impl AsyncFnOnce(&Shop, &Saboteur)) {
    let shop =
        Shop::open_with(Spec { attention_after: Duration::from_secs(1), ..Spec::default() }).await;
    shop.stock("MUG-1", STOCK, 1299).await;
    // It has prepared the namespace, and now makes room.
    shop.kill_worker(0);

    let saboteur = Saboteur::default();
    let provider = payments::Stripe::new(payments::Config {
        base_url: shop.paysim_url.parse().expect("an address"),
        api_key: "sk_test_of_the_tests".to_owned(),
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        return_url: None,
    })
    .expect("a client");
    let stock = store::inventory::Inventory::new(shop.shards.clone());
    let holds = activities::Holds::new(shop.db.clone(), stock);
    let refunds = activities::Refunds::new(shop.db.clone(), provider.clone());
    let payments = activities::Payments::new(shop.db.clone(), holds.clone(), provider);
    let options = WorkerOptions::new(TASK_QUEUE)
        .activity_inbound_interceptor(saboteur.clone())
        .register_workflow::<CheckoutWorkflow>()
        .expect("registered once")
        .register_workflow::<FulfilmentWorkflow>()
        .expect("registered once")
        .register_workflow::<RefundWorkflow>()
        .expect("registered once")
        .register_activities(activities::Orders::new(shop.db.clone(), holds.clone()))
        .register_activities(activities::Inventory::new(shop.db.clone(), holds, payments.clone()))
        .register_activities(payments)
        .register_activities(refunds)
        .build();
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default()).expect("a runtime");
    let mut worker = Worker::new(&runtime, shop.engine.clone(), options).expect("a worker");
    let shut_down = worker.shutdown_handle();
    let story = async {
        claim(&shop, &saboteur).await;
        shop.assert_lawful().await;
        shut_down();
    };
    let (ended, ()) = futures::join!(worker.run(), story);
    ended.expect("the worker stops when it is told to");
}

/// A new customer buys one mug.
async fn buy(shop: &Shop) -> Answer {
    shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await
}

/// Nothing is held, nothing set aside or kept, nothing ordered.
async fn assert_clean_slate(shop: &Shop, answer: &Answer, what: &str) {
    let checkout = answer.checkout();
    let payment = shop.payment(checkout).await;
    assert_eq!(payment.captures, payment.refunds, "{what}");
    assert_eq!(payment.authorizations, payment.voids + payment.captures, "{what}");
    assert_eq!(shop.counters("MUG-1").await, (STOCK, 0, 0), "{what}");
    let order = shop.order_state(checkout).await;
    assert!(order.is_none() || order.as_deref() == Some("cancelled"), "{what}: {order:?}");
}
