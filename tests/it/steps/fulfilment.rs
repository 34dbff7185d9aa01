//! The steps of a fulfilment: whatever they meet, a parcel is made once and moves once, the order's state
//! follows it, and people are called for once. What met a bug goes on by itself when it is mended.

use domain::CheckoutId;
use reqwest::StatusCode;
use temporalio_client::WorkflowStartOptions;
use temporalio_common::ActivityDefinition;
use tests::{Shop, eventually};
use workflows::{
    FulfilmentInput, FulfilmentStatus, FulfilmentTiming, FulfilmentWorkflow, TASK_QUEUE,
    contract::shipping::Fulfilment,
};

use crate::{
    refunds::order_events,
    replay,
    saboteur::{Harm, Saboteur, sabotage_of, with_saboteur},
    saga,
    shipping::{
        self, announced, attention, cancel_fulfilment, fulfilment_ended, ship, tell, until,
    },
};

const HARMS: [Harm; 4] = [Harm::FailFirst, Harm::LoseAnswer, Harm::BugFirst, Harm::BugAfter];

pub(super) fn looped() -> [&'static str; 4] {
    [
        Fulfilment::ship.name(),
        Fulfilment::track.name(),
        Fulfilment::call_off.name(),
        Fulfilment::attention.name(),
    ]
}

#[tokio::test]
async fn a_parcel_is_made_once_whatever_its_step_meets() {
    with_saboteur(async |shop, saboteur| {
        let operator = shop.operator("ada").await;
        for (number, harm) in HARMS.into_iter().enumerate() {
            let order = fulfilling(shop, FulfilmentTiming::default()).await;
            let tracking_number = format!("T-{number}");
            saboteur.plan([(Fulfilment::ship.name(), harm)]);

            let first = ship(&operator, order, &tracking_number, None).await;
            saboteur.mend();
            let again = ship(&operator, order, &tracking_number, None).await;
            let more = ship(&operator, order, "T-more", None).await;

            let status = match harm {
                Harm::BugFirst | Harm::BugAfter => StatusCode::INTERNAL_SERVER_ERROR,
                Harm::LoseAnswer => StatusCode::OK,
                Harm::FailFirst | Harm::FailForNow => StatusCode::CREATED,
            };
            assert_eq!(first.status, status, "{harm:?}: {:#}", first.body);
            let made = if harm == Harm::BugFirst { StatusCode::CREATED } else { StatusCode::OK };
            assert_eq!(again.status, made, "{harm:?}: {:#}", again.body);
            assert_eq!(more.code(), Some("not_left_to_ship"), "{harm:?}: {:#}", more.body);
            assert_eq!(order_events(shop, order, "shipment_created").await, 1, "{harm:?}");
            assert_eq!(shop.order_state(order).await.as_deref(), Some("paid"), "{harm:?}");
            cancel_fulfilment(shop, order).await;
        }
        assert_eq!(announced(shop, "shipment.created").await, 4);
    })
    .await;
}

#[tokio::test]
async fn a_carriers_word_moves_its_parcel_and_the_order_once_whatever_its_step_meets() {
    with_saboteur(async |shop, saboteur| {
        let operator = shop.operator("ada").await;
        for (number, harm) in HARMS.into_iter().enumerate() {
            let order = fulfilling(shop, FulfilmentTiming::default()).await;
            let parcel = ship(&operator, order, &format!("T-{number}"), None).await;
            saboteur.plan([(Fulfilment::track.name(), harm)]);

            let told = tell(&operator, &parcel, &format!("e-{number}"), "dispatched").await;

            if Harm::BUGS.contains(&harm) {
                // It is kept, and nobody has to say it again.
                assert_eq!(told.status, StatusCode::ACCEPTED, "{harm:?}: {:#}", told.body);
                let state = if harm.after() { "shipped" } else { "paid" };
                assert_eq!(shop.order_state(order).await.as_deref(), Some(state), "{harm:?}");
                saboteur.mend();
                shop.start_worker(0);
                shipping::all_told(shop).await;
                shop.kill_worker(0);
            } else {
                assert_eq!(told.status, StatusCode::OK, "{harm:?}: {:#}", told.body);
                saboteur.mend();
            }
            until(shop, order, "shipped").await;
            tell(&operator, &parcel, &format!("f-{number}"), "delivered").await;
            until(shop, order, "delivered").await;
            fulfilment_ended(shop, order).await;
            for kind in ["shipment_dispatched", "shipped", "shipment_delivered", "delivered"] {
                assert_eq!(order_events(shop, order, kind).await, 1, "{harm:?} {kind}");
            }
        }
        for topic in ["order.shipped", "order.delivered"] {
            assert_eq!(announced(shop, topic).await, 4, "{topic}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_fulfilment_that_is_called_off_ends_once_whatever_its_step_meets() {
    with_saboteur(async |shop, saboteur| {
        let operator = shop.operator("ada").await;
        for (number, harm) in HARMS.into_iter().enumerate() {
            let order = fulfilling(shop, FulfilmentTiming::default()).await;
            ship(&operator, order, &format!("T-{number}"), None).await;
            let call_off = Fulfilment::call_off.name();
            saboteur.plan([(call_off, harm)]);

            cancel_fulfilment(shop, order).await;
            mend_once_seen(shop, saboteur, order, call_off, harm).await;

            fulfilment_ended(shop, order).await;
            assert_eq!(order_events(shop, order, "shipment_cancelled").await, 1, "{harm:?}");
            assert_eq!(shop.order_state(order).await.as_deref(), Some("paid"), "{harm:?}");
            assert_eq!(shipped_units(shop, order).await, 0, "{harm:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn people_are_called_for_once_whatever_the_call_meets() {
    with_saboteur(async |shop, saboteur| {
        let call = Fulfilment::attention.name();
        for harm in HARMS {
            saboteur.plan([(call, harm)]);

            let at_once = FulfilmentTiming { ship_within_ms: 1, ..FulfilmentTiming::default() };
            let order = fulfilling(shop, at_once).await;
            mend_once_seen(shop, saboteur, order, call, harm).await;

            eventually("it is told why", || async {
                attention(shop, order).await.contains("not everything is shipped").then_some(())
            })
            .await;
            assert_eq!(called(shop, order).await, 1, "{harm:?}");
            cancel_fulfilment(shop, order).await;
            fulfilment_ended(shop, order).await;
        }
    })
    .await;
}

/// The history of one whose calls met bugs, for `replay`.
#[tokio::test]
#[ignore = "writes one of tests/histories anew"]
async fn record_a_mended_fulfilment() {
    with_saboteur(async |shop, saboteur| {
        let (call, call_off) = (Fulfilment::attention.name(), Fulfilment::call_off.name());
        saboteur.plan([(call, Harm::BugFirst), (call_off, Harm::BugAfter)]);
        let at_once = FulfilmentTiming { ship_within_ms: 1, ..FulfilmentTiming::default() };
        let order = fulfilling(shop, at_once).await;
        assert_eq!(attention(shop, order).await, sabotage_of(call));
        saboteur.mend_step(call);
        eventually("people are called for", || async {
            (called(shop, order).await == 1).then_some(())
        })
        .await;
        cancel_fulfilment(shop, order).await;
        eventually("it cannot be called off", || async {
            (attention(shop, order).await == sabotage_of(call_off)).then_some(())
        })
        .await;
        saboteur.mend();
        fulfilment_ended(shop, order).await;
        replay::keep(shop, &order.order().to_string(), None, "fulfilment_mended").await;
    })
    .await;
}

/// A mug that is sold, and the fulfilment of its order.
async fn fulfilling(shop: &Shop, timing: FulfilmentTiming) -> CheckoutId {
    let sold = saga::buy(shop).await;
    assert_eq!(sold.state(), Some("completed"), "{:#}", sold.body);
    let order_id = sold.checkout().order();
    let status = FulfilmentStatus::default();
    let input = FulfilmentInput { order_id, opened_at: None, timing, status };
    let options = WorkflowStartOptions::new(TASK_QUEUE, order_id.to_string()).build();
    let started = shop.engine.start_workflow(FulfilmentWorkflow::run, input, options).await;
    started.expect("a fulfilment");
    sold.checkout()
}

/// A bug is mended once people have seen it; all else passes by itself.
async fn mend_once_seen(
    shop: &Shop,
    saboteur: &Saboteur,
    order: CheckoutId,
    step: &str,
    harm: Harm,
) {
    if Harm::BUGS.contains(&harm) {
        assert_eq!(attention(shop, order).await, sabotage_of(step), "{harm:?}");
    } else {
        eventually("it has passed", || async { saboteur.spent().then_some(()) }).await;
    }
    saboteur.mend();
}

/// How often people were called for about an order.
async fn called(shop: &Shop, order: CheckoutId) -> i64 {
    let calls = "SELECT count(*) FROM outbox WHERE topic = 'order.attention' AND payload ->> 'order_id' = $1";
    sqlx::query_scalar(calls)
        .bind(order.order().to_string())
        .fetch_one(&shop.db)
        .await
        .expect("a count")
}

async fn shipped_units(shop: &Shop, order: CheckoutId) -> i64 {
    let shipped = "SELECT sum(shipped_quantity)::bigint FROM order_line WHERE order_id = $1";
    sqlx::query_scalar(shipped).bind(order.uuid()).fetch_one(&shop.db).await.expect("a sum")
}
