//! Reconciling: whatever a step of it meets, each difference is mended once, in this run or in the next.

use domain::CheckoutId;
use temporalio_client::WorkflowGetResultOptions;
use temporalio_common::ActivityDefinition;
use tests::{Payment, Shop};
use uuid::Uuid;
use workflows::contract::reconciling::{Reconciliation, Tally};

use crate::{
    late::late_intent,
    reconciling::{HOUR, begin, buy, called_off, cases, hold_for_nobody, set},
    saboteur::{Harm, STOCK, with_saboteur},
};

const LET_GO: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };

pub(super) fn looped() -> [&'static str; 4] {
    [
        Reconciliation::page.name(),
        Reconciliation::holds.name(),
        Reconciliation::counters.name(),
        Reconciliation::overdue.name(),
    ]
}

#[tokio::test]
async fn a_step_of_reconciling_that_fails_in_passing_or_runs_twice_mends_each_difference_once() {
    with_saboteur(async |shop, saboteur| {
        for step in looped() {
            for harm in Harm::PASSING {
                let drifted = drift(shop).await;
                saboteur.plan([(step, harm)]);

                reconcile(shop).await.expect("a tally");

                assert_mended(shop, drifted, &format!("{step} {harm:?}")).await;
                saboteur.mend();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_bug_in_reconciling_ends_the_run_in_plain_sight_and_the_next_one_mends_what_is_left() {
    with_saboteur(async |shop, saboteur| {
        for step in looped() {
            for harm in Harm::BUGS {
                let drifted = drift(shop).await;
                saboteur.plan([(step, harm)]);

                let ended = reconcile(shop).await;

                let error = ended.expect_err("a failed run");
                assert!(error.contains("sabotage"), "{step} {harm:?}: {error}");
                saboteur.mend();
                reconcile(shop).await.expect("a tally");
                assert_mended(shop, drifted, &format!("{step} {harm:?}")).await;
            }
        }
    })
    .await;
}

/// What was made to differ.
#[derive(Clone, Copy)]
struct Drifted {
    authorized: CheckoutId,
    held: CheckoutId,
    promised: CheckoutId,
}

/// Money set aside for nothing, stock held for nobody, a unit from nowhere, and money that should have gone
/// back a day ago.
async fn drift(shop: &Shop) -> Drifted {
    shop.webhook_fault("lose", 1000).await;
    let authorized = called_off(shop).await;
    late_intent(shop, authorized).await;
    let held = CheckoutId::from(Uuid::new_v4());
    hold_for_nobody(shop, held).await;
    let miscount =
        sqlx::query("UPDATE inventory SET available = available + 1, received = received + 1");
    miscount.execute(&shop.db).await.expect("an update");
    let promised = buy(shop, "pm_card_visa").await;
    set(
        shop,
        "UPDATE customer_order SET called_off_at = now() - interval '1 day' WHERE id = $1",
        promised,
    )
    .await;
    Drifted { authorized, held, promised }
}

async fn assert_mended(shop: &Shop, drifted: Drifted, what: &str) {
    let Drifted { authorized, held, promised } = drifted;
    assert_eq!(shop.payment(authorized).await, LET_GO, "{what}");
    assert_eq!(shop.hold_state(held).await.as_deref(), Some("released"), "{what}");
    let (available, reserved, sold) = shop.counters("MUG-1").await;
    assert_eq!((available + sold, reserved), (STOCK, 0), "{what}");
    let again = reconcile(shop).await.expect("a tally");
    assert_eq!((again.mended, again.opened, again.left), (0, 0, 0), "{what}: {again:?}");
    let operator = shop.operator("ada").await;
    let open = cases(&operator, "open").await;
    assert!(
        open.iter().all(|(difference, _)| difference == "unreturned_money"),
        "{what}: {open:?}"
    );
    let promised = promised.payment().to_string();
    let about = open.iter().filter(|(_, subject)| *subject == promised).count();
    assert_eq!(about, 1, "{what}: {open:?}");
}

async fn reconcile(shop: &Shop) -> Result<Tally, String> {
    let run = begin(shop, HOUR).await;
    let ended = run.get_result(WorkflowGetResultOptions::default()).await;
    ended.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}
