//! What becomes of the money and the stock when paying does not go straight: declines, second
//! thoughts, and banks that want to be asked first.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Answer, Payment, Shop, eventually};

const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
/// The engine hands a request to a checkout whose step is under way when its task is renewed; the card
/// network must think for longer than that, and still answer within the step's quick try.
const LONGER_THAN_A_TASK: Duration = Duration::from_secs(3);
const VOIDED: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };

#[tokio::test]
async fn a_declined_card_releases_the_stock_and_leaves_nothing_authorized() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let cards = [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedLostCard", "lost_card"),
    ];
    let ada = shop.customer().await.with("MUG-1", 2).await;

    for (card, decline_code) in cards {
        let declined = ada.buy(card).await;
        let id = declined.checkout();

        assert_declined(&declined, decline_code, "failed");
        assert_eq!(declined.body["attempts_left"], 0);
        assert_eq!(shop.counters("MUG-1").await, (3, 0, 0));
        assert_eq!(shop.hold_state(id).await.as_deref(), Some("released"));
        assert_eq!(shop.order_state(id).await.as_deref(), Some("cancelled"));
        assert_eq!(shop.payment(id).await, Payment::default());
        // A failed checkout is no failed request.
        let seen = ada.checkout(id).await;
        assert_eq!((seen.status, seen.state()), (StatusCode::OK, Some("failed")));
        assert_eq!(seen.body["problem"]["decline_code"], decline_code);
    }
    // The cart outlives the declines.
    assert_eq!(ada.buy("pm_card_visa").await.status, StatusCode::CREATED);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_payment_method_that_the_network_does_not_know_is_a_decline() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let declined = ada.buy("pm_card_nobody_has_seen").await;

    assert_declined(&declined, "resource_missing", "failed");
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_second_card_after_a_decline_is_charged_once_on_the_same_hold() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let id = ada.start("once", json!({})).await.checkout();
    let holds = async || {
        let holds = "SELECT checkout_id, created_at::text FROM reservation";
        sqlx::query_as::<_, (uuid::Uuid, String)>(holds).fetch_all(&shop.db).await.expect("holds")
    };
    let held = holds().await;

    let declined = ada.pay(id, "pm_card_chargeDeclinedInsufficientFunds").await;
    let while_declined = shop.counters("MUG-1").await;
    let paid = ada.pay(id, "pm_card_visa").await;

    assert_declined(&declined, "insufficient_funds", "awaiting_payment");
    assert_eq!(while_declined, (0, 1, 0), "the stock stays held");
    assert_eq!(paid.state(), Some("completed"), "{:#}", paid.body);
    assert_eq!((held.len(), holds().await), (1, held));
    assert_eq!(shop.payment(id).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn three_declines_end_an_interactive_checkout() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let id = ada.start("once", json!({})).await.checkout();

    for left in [2, 1] {
        let declined = ada.pay(id, "pm_card_chargeDeclinedInsufficientFunds").await;
        assert_declined(&declined, "insufficient_funds", "awaiting_payment");
        assert_eq!(declined.body["attempts_left"], left);
        assert_eq!(shop.counters("MUG-1").await, (0, 1, 0));
    }
    let last = ada.pay(id, "pm_card_chargeDeclined").await;
    assert_declined(&last, "generic_decline", "failed");
    assert_eq!(last.body["attempts_left"], 0);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    assert_eq!(shop.payment(id).await, Payment::default());

    let late = ada.pay(id, "pm_card_visa").await;
    assert_eq!(
        (late.status, late.code(), late.state()),
        (StatusCode::CONFLICT, Some("invalid_state"), Some("failed"))
    );
    shop.assert_lawful().await;
}

#[tokio::test]
async fn cancelling_before_paying_gives_the_stock_and_the_cart_back() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;
    let id = ada.start("once", json!({})).await.checkout();
    assert_eq!(shop.counters("MUG-1").await, (0, 2, 0));

    let cancelled = ada.cancel(id).await;

    assert_eq!(
        (cancelled.status, cancelled.state()),
        (StatusCode::OK, Some("cancelled")),
        "{:#}",
        cancelled.body
    );
    assert_eq!(cancelled.body["problem"]["code"], "cancelled");
    assert_eq!(shop.counters("MUG-1").await, (2, 0, 0));
    assert_eq!(shop.order_state(id).await.as_deref(), Some("cancelled"));
    assert_eq!(shop.payment(id).await, Payment::default());
    let again = ada.cancel(id).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &cancelled.body));
    let late = ada.pay(id, "pm_card_visa").await;
    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, Some("invalid_state")));
    assert_eq!(late.state(), Some("cancelled"));
    let cart = ada.get("/v1/cart").await;
    assert_eq!(
        (&cart.body["lines"][0]["quantity"], &cart.body["checkout_id"]),
        (&json!(2), &Value::Null)
    );
    shop.assert_lawful().await;
}

#[tokio::test]
async fn cancelling_while_the_money_is_being_set_aside_lets_it_go() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    shop.fault("confirm", "slow", LONGER_THAN_A_TASK).await;
    let started = ada.start_only("once", json!({ "payment": { "method": "pm_card_visa" } })).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{:#}", started.body);
    let id = started.checkout();
    eventually("the card network has been asked", || async {
        sqlx::query_scalar::<_, Option<String>>(
            "SELECT provider_ref FROM payment_attempt WHERE payment_id = $1",
        )
        .bind(id.uuid())
        .fetch_optional(&shop.db)
        .await
        .expect("a query")
        .flatten()
    })
    .await;

    // Until somebody takes it in, it is to be sent again.
    eventually("it is taken in", || async {
        let taken_in = ada.cancel(id).await.status != StatusCode::SERVICE_UNAVAILABLE;
        taken_in.then_some(())
    })
    .await;

    ada.until(id, "cancelled").await;
    assert_eq!(shop.payment(id).await, VOIDED);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    assert_eq!(shop.order_state(id).await.as_deref(), Some("cancelled"));
    shop.assert_lawful().await;
}

/// What the dead worker had done is in nobody's memory and in no history: whoever takes over learns of
/// it only by undoing what may have been done.
#[tokio::test]
async fn called_off_while_its_worker_is_dead_what_was_taken_is_given_back() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    shop.fault("confirm", "timeout_after", LONGER_THAN_A_TASK * 10).await;
    let id =
        ada.start_only("once", json!({ "payment": { "method": "pm_card_visa" } })).await.checkout();
    eventually("the card network has approved", || async {
        (shop.payment(id).await.authorizations == 1).then_some(())
    })
    .await;

    shop.kill_worker(0);
    let calling_off = tokio::spawn({
        let ada = ada.clone();
        async move { ada.cancel(id).await }
    });
    shop.start_worker(0);

    ada.until(id, "cancelled").await;
    calling_off.await.expect("an answer");
    assert_eq!(shop.payment(id).await, VOIDED);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_sale_cannot_be_cancelled_after_the_fact() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let id = ada.buy("pm_card_visa").await.checkout();

    let late = ada.cancel(id).await;

    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, Some("invalid_state")));
    assert_eq!(late.state(), Some("completed"));
    assert_eq!(shop.payment(id).await, ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_bank_that_asks_and_is_answered_lets_the_checkout_complete() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let started = ada.buy("pm_card_threeDSecure2Required").await;
    let id = started.checkout();
    assert_eq!(
        (started.status, started.state()),
        (StatusCode::ACCEPTED, Some("action_required")),
        "{:#}",
        started.body
    );
    assert_eq!(started.body["next_action"]["type"], "redirect");
    assert_eq!(shop.payment(id).await, Payment::default());
    assert_eq!(shop.counters("MUG-1").await, (0, 1, 0));

    shop.answer_bank(redirect(&started), "approve").await;

    ada.until(id, "completed").await;
    assert_eq!(shop.payment(id).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_bank_that_is_told_no_fails_an_express_checkout_and_leaves_an_interactive_one_waiting() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let bea = shop.customer().await.with("MUG-1", 1).await;

    let express = ada.buy("pm_card_threeDSecure2Required").await;
    shop.answer_bank(redirect(&express), "decline").await;
    let failed = ada.until(express.checkout(), "failed").await;
    assert_eq!(failed.body["problem"]["code"], "payment_declined", "{:#}", failed.body);
    assert_eq!(shop.counters("MUG-1").await, (2, 0, 0));

    let id = bea.start("once", json!({})).await.checkout();
    let asked = bea.pay(id, "pm_card_threeDSecure2Required").await;
    assert_eq!(
        (asked.status, asked.state()),
        (StatusCode::ACCEPTED, Some("action_required")),
        "{:#}",
        asked.body
    );
    shop.answer_bank(redirect(&asked), "decline").await;
    let waiting = bea.until(id, "awaiting_payment").await;
    assert_eq!(waiting.body["problem"]["code"], "payment_declined", "{:#}", waiting.body);
    assert_eq!(waiting.body["next_action"]["type"], "submit_payment");
    let paid = bea.pay(id, "pm_card_visa").await;
    assert_eq!((paid.status, paid.state()), (StatusCode::OK, Some("completed")), "{:#}", paid.body);

    for (id, expected) in [(express.checkout(), Payment::default()), (id, ONCE)] {
        assert_eq!(shop.payment(id).await, expected);
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn calling_it_off_at_the_bank_leaves_nothing_to_approve() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let asked = ada.buy("pm_card_threeDSecure2Required").await;
    let id = asked.checkout();

    let cancelled = ada.cancel(id).await;
    assert_eq!(
        (cancelled.status, cancelled.state()),
        (StatusCode::OK, Some("cancelled")),
        "{:#}",
        cancelled.body
    );
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    let late =
        reqwest::Client::new().post(redirect(&asked)).form(&[("result", "approve")]).send().await;
    assert_eq!(late.expect("an answer").status(), StatusCode::CONFLICT);
    assert_eq!(shop.payment(id).await, Payment::default());
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_bank_that_approves_while_it_is_called_off_is_written_down_and_the_money_let_go() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let asked = ada.buy("pm_card_threeDSecure2Required").await;
    let id = asked.checkout();
    shop.fault("cancel", "slow", LONGER_THAN_A_TASK).await;

    let approving = async {
        eventually("the sale is barred", || async {
            let closed = "SELECT true FROM payment WHERE closed_at IS NOT NULL";
            sqlx::query_scalar::<_, bool>(closed).fetch_optional(&shop.db).await.expect("a query")
        })
        .await;
        shop.answer_bank(redirect(&asked), "approve").await;
    };
    futures::join!(ada.cancel(id), approving);

    ada.until(id, "cancelled").await;
    assert_eq!(shop.payment(id).await, VOIDED);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    shop.assert_lawful().await;
}

fn redirect(asked: &Answer) -> &str {
    asked.body["next_action"]["url"]
        .as_str()
        .unwrap_or_else(|| panic!("no redirect in {:#}", asked.body))
}

fn assert_declined(declined: &Answer, decline_code: &str, state: &str) {
    assert_eq!(
        (declined.status, declined.code(), declined.state()),
        (StatusCode::PAYMENT_REQUIRED, Some("payment_declined"), Some(state)),
        "{:#}",
        declined.body
    );
    assert_eq!(declined.body["decline_code"], decline_code);
}
