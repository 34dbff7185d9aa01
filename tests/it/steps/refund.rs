//! The steps of a refund: whatever they meet, money goes back once, and one that is not taken on sets
//! nothing aside.

use domain::CheckoutId;
use reqwest::StatusCode;
use temporalio_common::ActivityDefinition;
use tests::{Answer, Shop, eventually};
use workflows::contract::Refunds;

use crate::{
    refunds::{Admin, KEPT, PAID_BACK_ONCE, PRICE, euros, refund_status},
    saboteur::{Harm, Saboteur, sabotage_of, with_saboteur},
    saga,
};

pub(super) fn looped() -> [&'static str; 2] {
    [Refunds::request.name(), Refunds::settle_refund.name()]
}

#[tokio::test]
async fn a_step_of_a_refund_that_fails_in_passing_or_runs_twice_pays_back_once() {
    with_saboteur(async |shop, saboteur| {
        let ada = Admin(shop.operator("ada").await);
        for step in looped() {
            for harm in Harm::PASSING {
                let sold = saga::buy(shop).await.checkout();
                saboteur.plan([(step, harm)]);

                let answer = ada.refund(sold, None, "r1").await;

                assert!(answer.status.is_success(), "{step} {harm:?}: {:#}", answer.body);
                paid_back(shop, &ada, sold, &format!("{step} {harm:?}")).await;
                saboteur.mend();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_bug_in_a_step_of_a_refund_calls_for_people_and_once_mended_it_is_paid_back_once() {
    with_saboteur(async |shop, saboteur| {
        let ada = Admin(shop.operator("ada").await);
        for step in looped() {
            for harm in Harm::BUGS {
                let what = format!("{step} {harm:?}");
                let sold = saga::buy(shop).await.checkout();
                saboteur.plan([(step, harm)]);

                let asking = ada.refund(sold, None, "r1");
                let (answer, ()) = futures::join!(asking, called_for(shop, sold, step));

                // It is promised from the moment it is written down, whoever has heard of that.
                let written = step != Refunds::request.name() || harm.after();
                let left = if written { 0 } else { PRICE };
                let listed = ada.refunds(sold).await;
                assert_eq!(listed.body["left"], euros(left), "{what}: {answer:?}");
                let made = step == Refunds::settle_refund.name() && harm.after();
                let payment = if made { PAID_BACK_ONCE } else { KEPT };
                assert_eq!(shop.payment(sold).await, payment, "{what}");

                saboteur.mend();
                paid_back(shop, &ada, sold, &what).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_refund_that_is_not_taken_on_sets_nothing_aside_whatever_its_step_meets() {
    with_saboteur(async |shop, saboteur| {
        let ada = Admin(shop.operator("ada").await);
        let request = Refunds::request.name();
        let sold = saga::buy(shop).await.checkout();
        for harm in Harm::PASSING.into_iter().chain(Harm::BUGS) {
            let what = format!("{request}/{harm:?}");
            saboteur.plan([(request, harm)]);

            let refused = too_much(&ada, sold, &what);
            let mended = mend_once_seen(shop, saboteur, sold, &what, harm);
            let (refused, ()) = futures::join!(refused, mended);

            assert_eq!(refused.code(), Some("refund_exceeds_captured"), "{:#}", refused.body);
            assert_eq!(ada.refunds(sold).await.body["left"], euros(PRICE), "{what}");
            assert_eq!(shop.payment(sold).await, KEPT, "{what}");
        }
        ada.refund(sold, None, "r1").await;
        paid_back(shop, &ada, sold, "all of it").await;
    })
    .await;
}

/// Asks for more than there is, again for as long as nobody can say what becomes of that.
async fn too_much(ada: &Admin, sold: CheckoutId, reference: &str) -> Answer {
    eventually("there is an answer", || async {
        let answer = ada.refund(sold, Some(PRICE + 1), reference).await;
        (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await
}

/// A bug is mended once it was seen; all else passes by itself.
async fn mend_once_seen(
    shop: &Shop,
    saboteur: &Saboteur,
    sold: CheckoutId,
    reference: &str,
    harm: Harm,
) {
    eventually("it was seen", || async {
        let status = refund_status(shop, sold, reference).await?;
        let bug = Harm::BUGS.contains(&harm);
        let seen = if bug { status.attention.is_some() } else { status.problem.is_some() };
        seen.then_some(())
    })
    .await;
    saboteur.mend();
}

async fn called_for(shop: &Shop, sold: CheckoutId, step: &str) {
    eventually("somebody is called for", || async {
        let status = refund_status(shop, sold, "r1").await?;
        (status.attention? == sabotage_of(step)).then_some(())
    })
    .await;
}

async fn paid_back(shop: &Shop, ada: &Admin, sold: CheckoutId, what: &str) {
    ada.until_refund(sold, "r1", "succeeded").await;
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE, "{what}");
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("refunded"), "{what}");
    assert_eq!(ada.refunds(sold).await.body["left"], euros(0), "{what}");
}
