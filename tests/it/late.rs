//! Payments whose answer comes late: in the hold's last moment, after the checkout is over, or after the
//! card network has forgotten what it was asked.

use std::time::Duration;

use domain::CheckoutId;
use futures::join;
use reqwest::StatusCode;
use serde_json::json;
use store::payment::{self, AttemptState};
use tests::{Customer, Payment, Shop, Spec, event, eventually};

use crate::{shipping, webhooks::redirect};

const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
const LET_GO: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };
const PAID_BACK: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };

#[tokio::test]
async fn a_confirmation_nobody_told_of_is_looked_for_before_the_hold_is_given_up() {
    const HOLD: Duration = Duration::from_secs(3);

    let never = Duration::from_secs(600);
    let spec = Spec { hold: HOLD, payment_window: HOLD, action_poll: never, ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 2, 1299).await;
    shop.webhook_fault("lose", 100).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let bea = shop.customer().await.with("MUG-1", 1).await;
    let confirmed = ada.buy("pm_card_threeDSecure2Required").await;
    let ignored = bea.buy("pm_card_threeDSecure2Required").await;

    shop.answer_bank(redirect(&confirmed), "approve").await;

    ada.until(confirmed.checkout(), "completed").await;
    bea.until(ignored.checkout(), "expired").await;
    assert_eq!(shop.payment(confirmed.checkout()).await, ONCE);
    assert_eq!(shop.payment(ignored.checkout()).await, Payment::default());
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn money_set_aside_for_a_checkout_that_is_over_is_let_go() {
    let shop = Shop::open().await;
    let (_, checkout) = cancelled(&shop).await;

    late_intent(&shop, checkout).await;

    returned(&shop, checkout, false).await;
    assert_eq!(shop.payment(checkout).await, LET_GO);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    assert_eq!(shop.order_state(checkout).await.as_deref(), Some("cancelled"));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn money_taken_for_a_checkout_that_is_over_is_paid_back_once_though_the_network_was_down() {
    let shop = Shop::open().await;
    let (_, checkout) = cancelled(&shop).await;
    shop.webhook_fault("lose", 100).await;
    let intent = late_intent(&shop, checkout).await;
    shop.ask_network(&format!("payment_intents/{intent}/capture"), &[]).await;
    shop.kill_paysim();

    let told = event("evt_late", "payment_intent.succeeded", &intent, checkout, 1);
    assert_eq!(shop.tell(&told).await.status, StatusCode::OK);
    eventually("it was tried in vain", || async {
        let tries: i64 = sqlx::query_scalar("SELECT max(tries) FROM inbox")
            .fetch_one(&shop.db)
            .await
            .expect("a number");
        (tries > 1).then_some(())
    })
    .await;
    shop.start_paysim().await;

    returned(&shop, checkout, true).await;
    shop.resend_webhooks(checkout).await;
    shop.carried(checkout, "charge.refunded").await;
    assert_eq!(shop.payment(checkout).await, PAID_BACK);
    shop.assert_lawful().await;
}

/// What was let go at the card network is seen to be gone, and no more than that, by whoever looks again.
#[tokio::test]
async fn money_let_go_by_a_look_that_heard_nothing_of_it_is_booked_and_announced() {
    let shop = Shop::open().await;
    let (_, checkout) = cancelled(&shop).await;
    shop.fault("cancel", "timeout_after", Duration::from_secs(60)).await;
    // One is told of it, once.
    shop.webhook_fault("lose", 100).await;

    let intent = late_intent(&shop, checkout).await;
    let told = event("evt_late", "payment_intent.amount_capturable_updated", &intent, checkout, 1);
    assert_eq!(shop.tell(&told).await.status, StatusCode::OK);
    eventually("the card network has let it go", || async {
        (shop.payment(checkout).await.voids == 1).then_some(())
    })
    .await;
    // Its answer is lost, and so is the look that would make up for it.
    shop.kill_paysim();
    eventually("it was tried in vain", || async {
        let waiting =
            "SELECT true FROM inbox WHERE carried_at IS NULL AND due_at < now() + interval '10 s'
                       AND tries > 0";
        sqlx::query_scalar::<_, bool>(waiting).fetch_optional(&shop.db).await.expect("a row")
    })
    .await;
    shop.start_paysim().await;

    returned(&shop, checkout, false).await;
    assert_eq!(shop.payment(checkout).await, LET_GO);
    shop.assert_lawful().await;
}

/// One of two tries of paying was slow, and all that it hears in the end is that the intent is cancelled.
#[tokio::test]
async fn an_approval_is_booked_as_let_go_though_a_late_try_hears_of_its_undo_first() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    shop.webhook_fault("lose", 100).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let waiting = ada.buy("pm_card_threeDSecure2Required").await;
    let checkout = waiting.checkout();
    shop.fault("cancel", "timeout_after", Duration::from_secs(3)).await;
    shop.answer_bank(redirect(&waiting), "approve").await;

    let late = async {
        eventually("the network has let it go, and nobody heard", || async {
            (shop.payment(checkout).await.voids == 1).then_some(())
        })
        .await;
        let mut conn = shop.db.acquire().await.expect("a connection");
        let closed = AttemptState::Closed;
        payment::decide(&mut conn, checkout.payment(), 1, closed, None).await.expect("a row")
    };
    let (cancelled, late) = join!(ada.cancel(checkout), late);

    assert_eq!(cancelled.state(), Some("cancelled"), "{:#}", cancelled.body);
    assert_eq!(late.state, AttemptState::Closed, "it came before the undo was over");
    assert_eq!(shop.payment(checkout).await, LET_GO);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    shop.assert_lawful().await;
}

/// No more can be owed than was to be paid, but more may come, and all of it goes back.
#[tokio::test]
async fn money_taken_twice_for_a_checkout_that_is_over_is_paid_back_twice_and_booked() {
    let shop = Shop::open().await;
    let (_, checkout) = cancelled(&shop).await;

    // Nobody lets it go before it is taken.
    shop.kill_worker(0);
    for _ in 0..2 {
        let intent = late_intent(&shop, checkout).await;
        shop.ask_network(&format!("payment_intents/{intent}/capture"), &[]).await;
    }
    shop.start_worker(0);

    eventually("both are announced as returned", || async {
        let returned = "SELECT count(*) FROM outbox WHERE topic = 'payment.returned'";
        let returned: i64 =
            sqlx::query_scalar(returned).fetch_one(&shop.db).await.expect("a count");
        (returned == 2).then_some(())
    })
    .await;
    let twice = Payment { authorizations: 2, captures: 2, voids: 0, refunds: 2 };
    assert_eq!(shop.payment(checkout).await, twice);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_bank_that_approves_after_the_checkout_was_ended_by_hand_leaves_no_money_set_aside() {
    let shop = Shop::open().await;
    let (_, checkout) = cancelled(&shop).await;
    // As if the workflow had been terminated between closing the payment and writing the end down.
    sqlx::query(
        "UPDATE checkout SET state = NULL, problem = NULL, finished_at = NULL WHERE id = $1",
    )
    .bind(checkout.uuid())
    .execute(&shop.db)
    .await
    .expect("an update");

    late_intent(&shop, checkout).await;

    returned(&shop, checkout, false).await;
    sqlx::query(
        "UPDATE checkout SET state = 'cancelled', problem = $2, finished_at = now() WHERE id = $1",
    )
    .bind(checkout.uuid())
    .bind(json!({ "code": "cancelled" }))
    .execute(&shop.db)
    .await
    .expect("an update");
    assert_eq!(shop.payment(checkout).await, LET_GO);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_attempt_too_old_to_be_begun_again_is_declined_and_makes_no_second_intent() {
    let spec = Spec { attention_after: Duration::from_secs(1), ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    shop.kill_paysim();
    let waiting = ada.buy("pm_card_visa").await;
    let checkout = waiting.checkout();
    assert_eq!(waiting.state(), Some("needs_attention"), "{:#}", waiting.body);
    let aged = "UPDATE payment_attempt SET started_at = now() - interval '24 hours'";
    sqlx::query(aged).execute(&shop.db).await.expect("an update");

    shop.start_paysim().await;

    let failed = ada.until(checkout, "failed").await;
    assert_eq!(failed.body["problem"]["decline_code"], "attempt_too_old", "{:#}", failed.body);
    assert_eq!(shop.payment(checkout).await, Payment::default());
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    shop.assert_lawful().await;
}

/// The money is about to be taken when the issuer takes it back, as it does when that took days.
#[tokio::test]
async fn an_approval_that_lapses_before_it_is_captured_undoes_the_sale_and_nothing_is_shipped() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    shop.fault("capture", "timeout_before", Duration::from_secs(30)).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let operator = shop.operator("olga").await;
    let started = ada.start_only("once", json!({ "payment": { "method": "pm_card_visa" } })).await;
    let checkout = started.checkout();
    shipping::until(&shop, checkout, "placed").await;

    let too_early = shipping::ship(&operator, checkout, "T-1", None).await;
    shop.lapse(&shop.intent(checkout).await).await;

    let failed = ada.until(checkout, "failed").await;
    assert_eq!(failed.body["problem"]["code"], "payment_declined", "{:#}", failed.body);
    let too_late = shipping::ship(&operator, checkout, "T-1", None).await;
    for refused in [too_early, too_late] {
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::CONFLICT, Some("invalid_state")),
            "{:#}",
            refused.body
        );
    }
    assert_eq!(shop.fulfilment_run(checkout).await, None);
    assert_eq!(shop.payment(checkout).await, LET_GO);
    assert_eq!(shop.order_state(checkout).await.as_deref(), Some("cancelled"));
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    let again = ada.buy("pm_card_visa").await;
    assert_eq!(again.state(), Some("completed"), "{:#}", again.body);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_dispute_or_another_late_event_about_what_is_over_moves_neither_order_nor_stock() {
    let shop = Shop::open().await;
    let (_, cancelled) = cancelled(&shop).await;
    let bea = shop.customer().await.with("MUG-1", 1).await;
    let refunded = bea.buy("pm_card_visa").await.checkout();
    assert_eq!(bea.cancel_order(refunded).await.state(), Some("refunded"));
    shop.fulfilment(refunded).await;
    let intent = shop.intent(refunded).await;
    shop.carried(refunded, "charge.refunded").await;
    eventually("everything is announced", || async {
        let waiting = "SELECT count(*) FROM outbox WHERE carried_at IS NULL";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&shop.db).await.expect("a count");
        (waiting == 0).then_some(())
    })
    .await;
    let (before, stock) = (shop.contents().await, shop.counters("MUG-1").await);

    let kinds =
        ["charge.dispute.created", "charge.dispute.closed", "payment_intent.payment_failed"];
    for (number, kind) in kinds.into_iter().enumerate() {
        for (checkout, intent) in [(cancelled, "pi_nobodys"), (refunded, intent.as_str())] {
            let id = format!("evt_{number}_{checkout}");
            let told = shop.tell(&event(&id, kind, intent, checkout, 1)).await;
            assert_eq!(told.status, StatusCode::OK, "{kind}: {}", told.text);
        }
    }

    for kind in kinds {
        shop.carried(refunded, kind).await;
        shop.carried(cancelled, kind).await;
    }
    assert_eq!(shop.contents().await, before);
    assert_eq!(shop.counters("MUG-1").await, stock);
    assert_eq!(shop.order_state(cancelled).await.as_deref(), Some("cancelled"));
    assert_eq!(shop.order_state(refunded).await.as_deref(), Some("refunded"));
    assert_eq!(shop.payment(refunded).await, PAID_BACK);
    shop.assert_lawful().await;
}

/// A checkout that was called off before anything was paid, with its payment closed.
pub(crate) async fn cancelled(shop: &Shop) -> (Customer, CheckoutId) {
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let checkout = crate::expiry::start(&ada).await;
    let cancelled = ada.cancel(checkout).await;
    assert_eq!(cancelled.state(), Some("cancelled"), "{:#}", cancelled.body);
    (ada, checkout)
}

/// An approved intent that says it is for that checkout, and that we never heard of: as a request of ours
/// that was believed lost, and came through after all.
pub(crate) async fn late_intent(shop: &Shop, checkout: CheckoutId) -> String {
    late_intent_by(shop, checkout, "pm_card_visa").await
}

/// The same, by that card.
pub(crate) async fn late_intent_by(shop: &Shop, checkout: CheckoutId, method: &str) -> String {
    let payment = checkout.payment().to_string();
    let form = [
        ("amount", "1299"),
        ("currency", "eur"),
        ("payment_method", method),
        ("payment_method_types[]", "card"),
        ("capture_method", "manual"),
        ("confirm", "true"),
        ("metadata[payment_id]", &payment),
        ("metadata[attempt]", "1"),
    ];
    let intent = shop.ask_network("payment_intents", &form).await;
    assert_eq!(intent["status"], "requires_capture", "{intent:#}");
    intent["id"].as_str().expect("an id").to_owned()
}

/// Waits until it is announced that the money went back.
async fn returned(shop: &Shop, checkout: CheckoutId, refunded: bool) {
    let announced = eventually("the money's return is announced", || async {
        sqlx::query_scalar::<_, serde_json::Value>(
            "SELECT payload FROM outbox WHERE topic = 'payment.returned'",
        )
        .fetch_optional(&shop.db)
        .await
        .expect("a query")
    })
    .await;
    assert_eq!(announced["payment_id"], checkout.payment().to_string());
    assert_eq!(announced["refunded"], refunded);
}
