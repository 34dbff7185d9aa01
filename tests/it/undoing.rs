//! An undo that does not work, now or ever: no other is kept from running, people are called for, and
//! nothing is lost until it has run.

use reqwest::StatusCode;
use temporalio_common::ActivityDefinition;
use tests::{Payment, Shop, eventually};
use workflows::contract::{Inventory, Orders, Payments};

use crate::{
    admin::resolve,
    saboteur::{Harm, sabotage_of, with_saboteur},
    saga::{assert_clean_slate, attention, blamed, buy, undos},
};

const SOLD: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
const PAID_BACK: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };

#[tokio::test]
async fn an_undo_that_can_never_succeed_keeps_no_other_from_running_and_people_finish_it() {
    with_saboteur(async |shop, saboteur| {
        let olga = shop.operator("olga").await;
        let capture = Payments::capture.name();
        for undo in undos() {
            for harm in Harm::BUGS {
                let what = format!("{undo} {harm:?}");
                saboteur.plan([(capture, Harm::BugFirst), (undo, harm)]);

                let parked = buy(shop).await;

                let checkout = parked.checkout();
                // Once the order is cancelled, all there was to undo is undone, and its customer is told so.
                let over = undo == Orders::cancel.name() && harm.after();
                let told = if over { "failed" } else { "needs_attention" };
                assert_eq!(parked.state(), Some(told), "{what}: {:#}", parked.body);
                assert_eq!(attention(shop, checkout).await, sabotage_of(undo));
                assert_undone(shop, &parked, &what, |step| has_run(step, undo, harm)).await;
                let given_up = resolve(&olga, checkout, "give_up").await;
                assert_eq!(given_up.code(), Some("invalid_state"), "{what}: {:#}", given_up.body);

                saboteur.mend();
                let told = resolve(&olga, checkout, "retry").await;

                assert_eq!(told.status, StatusCode::ACCEPTED, "{what}: {:#}", told.body);
                finished(shop, &parked).await;
                assert_clean_slate(shop, &parked, &what).await;
                assert_eq!(shop.payment(checkout).await.voids, 1, "{what}");
                // What went wrong first is what is told of.
                assert_eq!(blamed(shop, checkout).await, Some(sabotage_of(capture)), "{what}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_undo_that_nobody_can_carry_out_now_keeps_no_other_from_running_and_is_done_in_the_end()
{
    with_saboteur(async |shop, saboteur| {
        for undo in undos() {
            let harm = Harm::FailForNow;
            saboteur.plan([(Payments::capture.name(), Harm::BugFirst), (undo, harm)]);

            let parked = buy(shop).await;

            assert_eq!(parked.state(), Some("needs_attention"), "{undo}: {:#}", parked.body);
            let about = attention(shop, parked.checkout()).await;
            assert_eq!(about, format!("{undo} does not finish"));
            assert_undone(shop, &parked, undo, |step| has_run(step, undo, harm)).await;

            saboteur.mend();
            finished(shop, &parked).await;
            assert_clean_slate(shop, &parked, undo).await;
            assert_eq!(shop.payment(parked.checkout()).await.voids, 1, "{undo}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_undos_that_are_stuck_the_second_is_still_told_of_when_the_first_is_done() {
    with_saboteur(async |shop, saboteur| {
        let (void, release) = (Payments::void.name(), Inventory::release.name());
        let stuck = [void, release].map(|undo| (undo, Harm::FailForNow));
        saboteur.plan([(Payments::capture.name(), Harm::BugFirst)].into_iter().chain(stuck));
        let parked = buy(shop).await;
        let checkout = parked.checkout();
        eventually("both are told of", || async {
            let about = attention(shop, checkout).await;
            (about.contains(void) && about.contains(release)).then_some(())
        })
        .await;

        saboteur.mend_step(release);

        eventually("one is told of", || async {
            (attention(shop, checkout).await == format!("{void} does not finish")).then_some(())
        })
        .await;
        assert_eq!(shop.counters("MUG-1").await.1, 0, "the stock is back");
        saboteur.mend();
        finished(shop, &parked).await;
        assert_clean_slate(shop, &parked, "two stuck undos").await;
    })
    .await;
}

/// The stock is back on the shelf long before the money is: it is sold to somebody else, and once.
#[tokio::test]
async fn money_that_cannot_be_paid_back_for_now_is_owed_in_plain_sight_and_paid_back_once() {
    with_saboteur(async |shop, saboteur| {
        shop.stock("CUP-1", 1, 1299).await;
        let (capture, void) = (Payments::capture.name(), Payments::void.name());
        let eve = shop.customer().await.with("CUP-1", 1).await;
        let bob = shop.customer().await.with("CUP-1", 1).await;
        saboteur.plan([(capture, Harm::BugAfter), (void, Harm::FailForNow)]);
        let owed = eve.buy("pm_card_visa").await;
        saboteur.mend_step(capture);
        assert_eq!(owed.state(), Some("needs_attention"), "{:#}", owed.body);
        assert_eq!(shop.payment(owed.checkout()).await, SOLD);

        let bought = bob.buy("pm_card_visa").await;
        let late = shop.customer().await.with("CUP-1", 1).await.buy("pm_card_visa").await;

        assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
        assert_eq!(late.code(), Some("out_of_stock"), "{:#}", late.body);
        assert_eq!(eve.checkout(owed.checkout()).await.state(), Some("needs_attention"));
        saboteur.mend();
        eve.until(owed.checkout(), "failed").await;
        assert_eq!(shop.payment(owed.checkout()).await, PAID_BACK);
        assert_eq!(shop.payment(bought.checkout()).await, SOLD);
        assert_eq!(shop.counters("CUP-1").await, (0, 0, 1));
    })
    .await;
}

/// Whether a step of the undoing has done its work while `undo` does not get past its harm.
fn has_run(step: &str, undo: &str, harm: Harm) -> bool {
    if step == undo {
        return harm.after();
    }
    // Nothing is given back before the sale is barred, and the order is cancelled when all else is
    // done.
    undo != Payments::close.name() && step != Orders::cancel.name()
}

async fn assert_undone(
    shop: &Shop,
    parked: &tests::Answer,
    what: &str,
    has_run: impl Fn(&str) -> bool,
) {
    let checkout = parked.checkout();
    let voids = i64::from(has_run(Payments::void.name()));
    assert_eq!(shop.payment(checkout).await.voids, voids, "{what}");
    let held = i64::from(!has_run(Inventory::release.name()));
    assert_eq!(shop.counters("MUG-1").await.1, held, "{what}");
    let order = if has_run(Orders::cancel.name()) { "cancelled" } else { "placed" };
    assert_eq!(shop.order_state(checkout).await.as_deref(), Some(order), "{what}");
}

/// Waits until a checkout has failed, as the workflow and the books say.
async fn finished(shop: &Shop, parked: &tests::Answer) {
    let checkout = parked.checkout();
    eventually("everything is undone", || async {
        let over = "SELECT state FROM checkout WHERE id = $1 AND state = 'failed'";
        sqlx::query_scalar::<_, String>(over)
            .bind(checkout.uuid())
            .fetch_optional(&shop.db)
            .await
            .expect("a query")
    })
    .await;
}
