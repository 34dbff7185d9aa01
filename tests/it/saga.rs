//! The saga's promise, step by step: whatever step fails, and however, the books come out as if it
//! had never begun or had gone well. What becomes of an undo that does not work is in `undoing`.

use std::time::Duration;

use domain::CheckoutId;
use temporalio_client::WorkflowQueryOptions;
use temporalio_common::ActivityDefinition;
use tests::{Answer, Payment, Shop, eventually};
use workflows::{
    CheckoutWorkflow,
    contract::{Inventory, Orders, Payments},
};

use crate::saboteur::{Harm, STOCK, sabotage_of, with_saboteur};

const SOLD: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

/// The steps that sell, in order.
fn steps() -> [&'static str; 6] {
    let [open, reserve, authorize, place, capture] = steps_until_capture();
    [open, reserve, authorize, place, capture, Orders::settle.name()]
}

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

/// What barring the sale and undoing it consist of, in order.
pub(crate) fn undos() -> [&'static str; 4] {
    [
        Payments::close.name(),
        Payments::void.name(),
        Inventory::release.name(),
        Orders::cancel.name(),
    ]
}

/// Every step that the loops here run over.
pub(crate) fn looped() -> Vec<&'static str> {
    steps().into_iter().chain(undos()).collect()
}

#[tokio::test]
async fn a_step_that_can_never_succeed_leaves_a_clean_slate() {
    with_saboteur(async |shop, saboteur| {
        for step in steps_until_capture() {
            for harm in Harm::BUGS {
                saboteur.plan([(step, harm)]);

                let failed = buy(shop).await;

                assert_eq!(failed.code(), Some("internal"), "{step} {harm:?}: {:#}", failed.body);
                assert_clean_slate(shop, &failed, &format!("{step} {harm:?}")).await;
                assert_eq!(blamed(shop, failed.checkout()).await, Some(sabotage_of(step)));
                saboteur.mend();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_done_is_undone_in_reverse_once_the_sale_is_barred() {
    with_saboteur(async |shop, saboteur| {
        saboteur.plan([(Payments::capture.name(), Harm::BugFirst)]);
        saboteur.ran();

        let failed = buy(shop).await;

        assert_clean_slate(shop, &failed, "undone").await;
        let mut ran = saboteur.ran();
        ran.retain(|step| looped().contains(&step.as_str()));
        assert_eq!(ran, [&steps_until_capture()[..], &undos()].concat());
        saboteur.mend();
    })
    .await;
}

#[tokio::test]
async fn a_step_that_fails_in_passing_or_runs_twice_sells_once() {
    with_saboteur(async |shop, saboteur| {
        let mut sold = 0;
        for step in steps() {
            for harm in Harm::PASSING {
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
        saboteur.plan(steps().map(|step| (step, Harm::LoseAnswer)));

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
            for harm in Harm::PASSING {
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
        let settle = Orders::settle.name();
        for (sold, harm) in (1..).zip(Harm::BUGS) {
            saboteur.plan([(settle, harm)]);

            let waiting = buy(shop).await;

            let checkout = waiting.checkout();
            // The books decide what its customer is told, and after it they say that it is sold.
            let told = if harm.after() { "completed" } else { "needs_attention" };
            assert_eq!(waiting.state(), Some(told), "{harm:?}: {:#}", waiting.body);
            assert_eq!(attention(shop, checkout).await, sabotage_of(settle));
            saboteur.mend();
            eventually("the sale is final", || async {
                (shop.order_state(checkout).await.as_deref() == Some("paid")).then_some(())
            })
            .await;
            assert_eq!(shop.payment(checkout).await, SOLD, "{harm:?}");
            // The stock is sold just after the order is paid.
            eventually("the stock is sold", || async {
                (shop.counters("MUG-1").await == (STOCK - sold, 0, sold)).then_some(())
            })
            .await;
        }
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
    eventually("the order is placed", || async {
        (shop.order_state(checkout).await.as_deref() == Some("placed")).then_some(())
    })
    .await;

    let mut tx = shop.db.begin().await.expect("a transaction");
    let closed = store::payment::close(&mut tx, checkout.payment()).await.expect("an answer");
    let settled = store::order::settle(&mut tx, checkout).await;
    tx.rollback().await.expect("a rollback");

    assert!(closed, "the sale was final before it was captured");
    assert_eq!(settled.expect("an answer"), store::order::Settled::Undone);
    assert_eq!(buying.await.expect("an answer").state(), Some("completed"));
    assert_eq!(shop.payment(checkout).await, SOLD);
    shop.assert_lawful().await;
}

/// The task that called it off was lost, with whoever's word it was; the one that sells knows nothing of it.
#[tokio::test]
async fn a_sale_that_finds_its_payment_closed_by_a_lost_task_is_undone_and_paid_back() {
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

    let mut conn = shop.db.acquire().await.expect("a connection");
    let closed = store::payment::close(&mut conn, checkout.payment()).await.expect("an answer");

    assert!(closed, "the sale was final before it was captured");
    let told = buying.await.expect("an answer");
    assert_eq!((told.code(), told.state()), (Some("cancelled"), Some("cancelled")), "{told:?}");
    let paid_back = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };
    assert_eq!(shop.payment(checkout).await, paid_back);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    assert_eq!(shop.order_state(checkout).await.as_deref(), Some("cancelled"));
    shop.assert_lawful().await;
}

/// A new customer buys one mug.
pub(crate) async fn buy(shop: &Shop) -> Answer {
    shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await
}

/// What a checkout wants people to look at, once it does.
pub(crate) async fn attention(shop: &Shop, checkout: CheckoutId) -> String {
    let handle = shop.engine.get_workflow_handle::<CheckoutWorkflow>(checkout.to_string());
    eventually("somebody is called for", || async {
        let options = WorkflowQueryOptions::default();
        handle.query(CheckoutWorkflow::status, (), options).await.ok()?.attention
    })
    .await
}

/// What a checkout that is over is said to have failed of, for people to read.
pub(crate) async fn blamed(shop: &Shop, checkout: CheckoutId) -> Option<String> {
    sqlx::query_scalar("SELECT problem ->> 'detail' FROM checkout WHERE id = $1")
        .bind(checkout.uuid())
        .fetch_one(&shop.db)
        .await
        .expect("a checkout")
}

/// Nothing is held, nothing set aside or kept, nothing ordered.
pub(crate) async fn assert_clean_slate(shop: &Shop, answer: &Answer, what: &str) {
    let checkout = answer.checkout();
    let payment = shop.payment(checkout).await;
    assert_eq!(payment.captures, payment.refunds, "{what}");
    assert_eq!(payment.authorizations, payment.voids + payment.captures, "{what}");
    assert_eq!(shop.counters("MUG-1").await, (STOCK, 0, 0), "{what}");
    let order = shop.order_state(checkout).await;
    assert!(order.is_none() || order.as_deref() == Some("cancelled"), "{what}: {order:?}");
}
