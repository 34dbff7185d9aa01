//! A card network that fails, stalls, answers too late or is gone: each sale is still charged once,
//! and each one that did not come about leaves no money set aside.

use std::time::Duration;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tests::{Answer, Customer, Payment, Shop, Spec, eventually};
use uuid::Uuid;

/// Shorter than a step's quick try: the answer is lost while the step still waits for it.
const SOON: Duration = Duration::from_millis(300);
/// Longer than a step's quick try: the answer comes when the step is being tried again.
const TOO_LATE: Duration = Duration::from_secs(6);
const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
const LET_GO: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };
const FAULTS: [&str; 4] = ["timeout_before", "timeout_after", "error_before", "error_after"];

#[tokio::test]
async fn an_answer_lost_on_the_way_to_an_intent_charges_once() {
    charged_once_despite("create").await;
}

#[tokio::test]
async fn an_answer_lost_while_authorizing_authorizes_once() {
    charged_once_despite("confirm").await;
}

#[tokio::test]
async fn an_answer_lost_while_capturing_captures_once() {
    charged_once_despite("capture").await;
}

#[tokio::test]
async fn a_void_whose_answer_is_lost_lets_the_money_go_once() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    for fault in FAULTS {
        let ada = shop.customer().await.with("MUG-1", 1).await;
        shop.fault("cancel", fault, SOON).await;

        let cancelled = cancelled_while_authorizing(&shop, &ada).await;

        assert_eq!(shop.payment(cancelled.checkout()).await, LET_GO, "cancel {fault}");
        assert_eq!(shop.counters("MUG-1").await, (1, 0, 0), "cancel {fault}");
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refused_capture_gives_stock_and_money_back_whatever_the_void_meets() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    for fault in FAULTS {
        let ada = shop.customer().await.with("MUG-1", 1).await;
        shop.fault("capture", "refuse", Duration::ZERO).await;
        shop.fault("cancel", fault, SOON).await;

        let refused = ada.buy("pm_card_visa").await;

        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::PAYMENT_REQUIRED, Some("payment_declined"))
        );
        let payment = shop.payment(refused.checkout()).await;
        assert_eq!(
            (payment.captures, payment.authorizations - payment.voids),
            (0, 0),
            "cancel {fault}: {payment:?}"
        );
        assert_eq!(shop.counters("MUG-1").await, (1, 0, 0), "cancel {fault}");
        assert_eq!(shop.order_state(refused.checkout()).await.as_deref(), Some("cancelled"));
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_decline_whose_answer_is_lost_is_a_decline() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    for fault in FAULTS {
        let ada = shop.customer().await.with("MUG-1", 1).await;
        shop.fault("confirm", fault, SOON).await;

        let declined = ada.buy("pm_card_visa_chargeDeclined").await;

        assert_eq!(
            declined.code(),
            Some("payment_declined"),
            "confirm {fault}: {:#}",
            declined.body
        );
        assert_eq!(shop.payment(declined.checkout()).await.authorizations, 0, "confirm {fault}");
        assert_eq!(shop.counters("MUG-1").await, (1, 0, 0), "confirm {fault}");
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn while_the_card_network_is_down_a_checkout_calls_for_attention_and_completes_afterwards() {
    let spec = Spec { attention_after: Duration::from_secs(1), ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    shop.kill_paysim();

    let waiting = ada.buy("pm_card_visa").await;

    assert_eq!(
        (waiting.status, waiting.state()),
        (StatusCode::ACCEPTED, Some("needs_attention")),
        "{:#}",
        waiting.body
    );
    assert_eq!(shop.counters("MUG-1").await, (0, 1, 0), "the stock stays held");
    shop.start_paysim().await;
    ada.until(waiting.checkout(), "completed").await;
    assert_eq!(shop.payment(waiting.checkout()).await, ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_card_network_that_dies_in_the_middle_of_many_payments_charges_each_once() {
    const BUYERS: i64 = 20;

    let shop = Shop::open().await;
    shop.stock("MUG-1", BUYERS, 1299).await;
    let buying: Vec<_> =
        join_all((0..BUYERS).map(|_| async { shop.customer().await.with("MUG-1", 1).await }))
            .await
            .into_iter()
            .map(|customer| {
                tokio::spawn(async move { (customer.buy("pm_card_visa").await, customer) })
            })
            .collect();
    eventually("some are paid", || async {
        let sold = shop.counters("MUG-1").await.2;
        (sold >= 3).then_some(())
    })
    .await;
    shop.kill_paysim();
    assert!(shop.counters("MUG-1").await.2 < BUYERS, "the kill came too late to prove anything");
    shop.start_paysim().await;

    for buying in buying {
        let (answer, customer) = buying.await.expect("an answer");
        customer.until(answer.checkout(), "completed").await;
        assert_eq!(shop.payment(answer.checkout()).await, ONCE);
    }
    assert_eq!(shop.counters("MUG-1").await, (0, 0, BUYERS));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn connections_to_the_database_that_break_cost_no_sale() {
    const BUYERS: i64 = 20;

    let shop = Shop::open().await;
    shop.stock("MUG-1", BUYERS, 1299).await;
    let buying: Vec<_> =
        join_all((0..BUYERS).map(|_| async { shop.customer().await.with("MUG-1", 1).await }))
            .await
            .into_iter()
            .map(|customer| {
                tokio::spawn(async move { (customer.buy("pm_card_visa").await, customer) })
            })
            .collect();
    for at_least in [1, 4, 8] {
        eventually("some more are paid", || async {
            let sold = shop.counters("MUG-1").await.2;
            (sold >= at_least).then_some(())
        })
        .await;
        shop.cut_connections().await;
    }

    for buying in buying {
        let (answer, customer) = buying.await.expect("an answer");
        // The API may have had to say that it does not know; whoever asks again learns.
        let checkout = if answer.status.is_server_error() { None } else { Some(answer.checkout()) };
        if let Some(checkout) = checkout {
            customer.until(checkout, "completed").await;
            assert_eq!(shop.payment(checkout).await, ONCE);
        }
    }
    assert_eq!(shop.counters("MUG-1").await, (0, 0, BUYERS));
    shop.assert_lawful().await;
}

/// One sale for each fault of one operation of the card network, early ones and late ones.
async fn charged_once_despite(operation: &str) {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let faults = FAULTS.map(|fault| (fault, SOON));
    let late = [("timeout_after", TOO_LATE), ("slow", TOO_LATE)];
    let mut sold = 0;
    for (fault, delay) in faults.into_iter().chain(late) {
        let ada = shop.customer().await.with("MUG-1", 1).await;
        shop.fault(operation, fault, delay).await;

        let bought = ada.buy("pm_card_visa").await;

        assert_eq!(bought.state(), Some("completed"), "{operation} {fault}: {:#}", bought.body);
        assert_eq!(shop.payment(bought.checkout()).await, ONCE, "{operation} {fault}");
        // A failure that the card network keeps repeating is left behind, with what came of it.
        let left_behind = usize::from((operation, fault) == ("create", "error_after"));
        let intents = shop.intents(bought.checkout()).await;
        assert_eq!(intents, 1 + left_behind, "{operation} {fault}");
        sold += 1;
        assert_eq!(shop.counters("MUG-1").await, (10 - sold, 0, sold), "{operation} {fault}");
    }
    shop.assert_lawful().await;
}

/// Calls a checkout off while the card network thinks about it; it approves in the end. It thinks for
/// longer than a task of the engine lasts, so that the call is heard in between.
async fn cancelled_while_authorizing(shop: &Shop, customer: &Customer) -> Answer {
    shop.fault("confirm", "slow", Duration::from_secs(3)).await;
    let checkout = customer.start(&Uuid::new_v4().to_string(), json!({})).await.checkout();
    let paying = {
        let customer = customer.clone();
        tokio::spawn(async move { customer.pay(checkout, "pm_card_visa").await })
    };
    eventually("the card network has been asked", || async {
        let asked: Option<String> =
            sqlx::query_scalar("SELECT provider_ref FROM payment_attempt WHERE payment_id = $1")
                .bind(checkout.uuid())
                .fetch_optional(&shop.db)
                .await
                .expect("a query")
                .flatten();
        asked
    })
    .await;
    let cancelled = customer.cancel(checkout).await;
    assert!(cancelled.status.is_success(), "{:#}", cancelled.body);
    let paid = paying.await.expect("an answer");
    assert!(!paid.status.is_success(), "{:#}", paid.body);
    customer.until(checkout, "cancelled").await
}
