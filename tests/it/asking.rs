//! Asking a checkout where it stands, which must not move it.

use std::time::Duration;

use domain::CheckoutId;
use futures::future::{join_all, select};
use reqwest::StatusCode;
use temporalio_client::{UntypedWorkflow, WorkflowFetchHistoryOptions};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use tests::{Customer, Shop, Spec, eventually};

use crate::replay::replayer;

/// Whoever answers for a dead worker has a history that goes on after its last task. What it says must not
/// be what the checkout then does: with a task that also brings a cancellation, it would do something else.
#[tokio::test]
async fn a_checkout_that_is_asked_about_while_its_worker_is_dead_does_not_run_ahead_of_its_history()
{
    const CUSTOMERS: usize = 24;

    let spec = Spec { action_poll: Duration::from_millis(1500), ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 100, 1299).await;
    let buying = (0..CUSTOMERS).map(|_| async {
        let customer = shop.customer().await.with("MUG-1", 1).await;
        let checkout = customer.buy("pm_card_threeDSecure2Required").await.checkout();
        (customer, checkout)
    });
    let bought: Vec<(Customer, CheckoutId)> = join_all(buying).await;
    shop.kill_worker(0);

    let asking = join_all(bought.iter().map(async |(customer, checkout)| {
        loop {
            customer.checkout(*checkout).await;
        }
    }));
    let calling_off = async {
        join_all(bought.iter().map(|(_, checkout)| woken(&shop, *checkout))).await;
        let cancelling = join_all(bought.iter().map(async |(customer, checkout)| {
            eventually("it is called off", || async {
                let answer = customer.cancel(*checkout).await;
                (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(())
            })
            .await;
        }));
        let reviving = async { shop.start_worker(0) };
        futures::join!(cancelling, reviving);
        join_all(bought.iter().map(|(customer, checkout)| customer.until(*checkout, "cancelled")))
            .await;
    };
    futures::pin_mut!(asking, calling_off);
    select(asking, calling_off).await;

    shop.assert_lawful().await;
    let replayer = replayer();
    for (_, checkout) in &bought {
        let handle = shop.engine.get_workflow_handle::<UntypedWorkflow>(checkout.to_string());
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::default());
        let outcome = replayer.replay_workflow(history).await;
        assert!(outcome.is_ok(), "{checkout}: {outcome:?}");
    }
}

/// Until it would ask the bank again.
async fn woken(shop: &Shop, checkout: CheckoutId) {
    eventually("the pause before the bank is asked is over", || async {
        let handle = shop.engine.get_workflow_handle::<UntypedWorkflow>(checkout.to_string());
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::default());
        let events = history.into_events().await.expect("a history");
        events.iter().any(|event| event.event_type() == EventType::TimerFired).then_some(())
    })
    .await;
}
