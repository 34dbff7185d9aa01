//! What operators can do, and nobody else.

use std::time::Duration;

use domain::CheckoutId;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::{Answer, Customer, Payment, Shop, Spec, eventually};

use crate::saga::attention;

const RECEIPTS: &str = "/v1/admin/inventory/MUG-1/receipts";

async fn receive(operator: &Customer, quantity: i64, reference: &str) -> Answer {
    let body = json!({ "quantity": quantity, "reason": "delivery", "reference": reference });
    operator.send(Method::POST, RECEIPTS, &[], Some(body)).await
}

#[tokio::test]
async fn an_operator_books_a_delivery_once_and_it_can_be_bought() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 0, 1299).await;
    let ada = shop.operator("ada").await;

    let booked = receive(&ada, 3, "note-7").await;
    let again = receive(&ada, 3, "note-7").await;
    let other = receive(&ada, 4, "note-7").await;
    let bought = shop.customer().await.with("MUG-1", 2).await.buy("pm_card_visa").await;

    let level = json!({ "sku": "MUG-1", "received": 3, "available": 3, "reserved": 0, "sold": 0 });
    assert_eq!((booked.status, &booked.body), (StatusCode::CREATED, &level));
    assert_eq!((again.status, &again.body), (StatusCode::OK, &level));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!((other.status, other.code()), (StatusCode::CONFLICT, Some("reference_reused")));
    assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    let now = ada.get("/v1/admin/inventory/MUG-1").await;
    assert_eq!((&now.body["available"], &now.body["sold"]), (&json!(1), &json!(2)));
    let actor: String = sqlx::query_scalar("SELECT actor FROM receipt")
        .fetch_one(&shop.db)
        .await
        .expect("a receipt");
    assert_eq!(actor, "ada");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn stock_that_is_held_cannot_be_booked_out_and_the_answer_has_the_numbers() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    let waiting = shop.customer().await.with("MUG-1", 2).await;
    let checkout = crate::expiry::start(&waiting).await;
    let ada = shop.operator("ada").await;

    let refused = receive(&ada, -4, "count-1").await;
    let booked = receive(&ada, -3, "count-2").await;

    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::CONFLICT, Some("insufficient_stock"))
    );
    assert_eq!((&refused.body["available"], &refused.body["reserved"]), (&json!(3), &json!(2)));
    assert_eq!(booked.status, StatusCode::CREATED, "{:#}", booked.body);
    let paid = waiting.pay(checkout, "pm_card_visa").await;
    assert_eq!(paid.state(), Some("completed"), "{:#}", paid.body);
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 2));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn only_operators_come_in_and_what_cannot_be_a_receipt_changes_nothing() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    let ada = shop.operator("ada").await;
    let customer = shop.customer().await;
    let before = shop.contents().await;

    for path in ["/v1/admin/invariants", "/v1/admin/inventory/MUG-1"] {
        assert_eq!(customer.get(path).await.code(), Some("forbidden"), "{path}");
        assert_eq!(customer.anonymous().get(path).await.code(), Some("unauthenticated"), "{path}");
    }
    assert_eq!(receive(&customer, 1, "note-1").await.status, StatusCode::FORBIDDEN);
    for (body, pointer) in [
        (json!({ "quantity": 0, "reason": "x", "reference": "y" }), "/quantity"),
        (json!({ "quantity": 1_000_000_001, "reason": "x", "reference": "y" }), "/quantity"),
        (json!({ "quantity": 1, "reason": "", "reference": "y" }), "/reason"),
        (json!({ "quantity": 1, "reason": "x", "reference": "y".repeat(201) }), "/reference"),
        (json!({ "quantity": 1, "reason": "x", "reference": "a\nb" }), "/reference"),
        (json!({ "quantity": 1, "reason": "x" }), "/reference"),
        (json!({ "quantity": 1, "reason": "x", "reference": "y", "sku": "POT-1" }), "/sku"),
    ] {
        let refused = ada.send(Method::POST, RECEIPTS, &[], Some(body)).await;
        assert_eq!(refused.code(), Some("validation_failed"), "{:#}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{:#}", refused.body);
    }
    let unknown = ada.get("/v1/admin/inventory/NO-SUCH").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);

    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_books_are_audited_on_the_living_system_and_a_broken_law_is_named() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    let bought = shop.customer().await.with("MUG-1", 2).await.buy("pm_card_visa").await;
    assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    let ada = shop.operator("ada").await;

    let right = ada.get("/v1/admin/invariants").await;
    let invent = "UPDATE inventory SET received = received + $1, available = available + $1";
    sqlx::query(invent).bind(1_i64).execute(&shop.db).await.expect("a unit from nowhere");
    let wrong = ada.get("/v1/admin/invariants").await;
    sqlx::query(invent).bind(-1_i64).execute(&shop.db).await.expect("it is gone");

    assert_eq!(right.body["lawful"], true, "{:#}", right.body);
    assert!(right.body["checked"].as_u64() >= Some(8), "{:#}", right.body);
    assert_eq!(wrong.body["lawful"], false, "{:#}", wrong.body);
    let breach =
        json!([{ "claim": "every counter of stock equals its ledgers", "examples": ["MUG-1"] }]);
    assert_eq!(wrong.body["breaches"], breach);
    shop.assert_lawful().await;
}

pub(crate) async fn resolve(operator: &Customer, checkout: CheckoutId, action: &str) -> Answer {
    let body = json!({ "action": action, "reason": "the network is down" });
    let path = format!("/v1/admin/checkouts/{checkout}/resolve");
    operator.send(Method::POST, &path, &[], Some(body)).await
}

/// A shop that soon calls for people, with one mug.
pub(crate) async fn easily_alarmed() -> Shop {
    let attention_after = Duration::from_secs(1);
    let shop = Shop::open_with(Spec { attention_after, ..Spec::default() }).await;
    shop.stock("MUG-1", 1, 1299).await;
    shop
}

#[tokio::test]
async fn a_checkout_that_needs_attention_can_be_given_up_and_its_stock_goes_back() {
    let shop = easily_alarmed().await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let operator = shop.operator("olga").await;
    shop.kill_paysim();
    let checkout = ada.buy("pm_card_visa").await.checkout();
    ada.until(checkout, "needs_attention").await;
    assert_eq!(resolve(&ada, checkout, "give_up").await.status, StatusCode::FORBIDDEN);

    let told = resolve(&operator, checkout, "give_up").await;

    assert_eq!(told.status, StatusCode::ACCEPTED, "{:#}", told.body);
    ada.until(checkout, "cancelled").await;
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    let late = resolve(&operator, checkout, "retry").await;
    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, Some("invalid_state")));
    let recorded: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT action, actor, reason, taken_at IS NOT NULL FROM checkout_resolution ORDER BY id",
    )
    .fetch_all(&shop.db)
    .await
    .expect("a record");
    let row = |action: &str, taken| {
        (action.to_owned(), "olga".to_owned(), "the network is down".to_owned(), taken)
    };
    assert_eq!(recorded, [row("give_up", true), row("retry", false)]);
    shop.start_paysim().await;
    assert_eq!(shop.payment(checkout).await, Payment::default());
    shop.assert_lawful().await;
}

/// Giving up is said once, of the sale; what is said of its undo afterwards is another matter.
#[tokio::test]
async fn an_undo_that_is_told_to_retry_after_its_checkout_was_given_up_goes_on_by_itself() {
    let shop = easily_alarmed().await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let operator = shop.operator("olga").await;
    let checkout = ada.buy("pm_card_threeDSecure2Required").await.checkout();
    shop.kill_paysim();
    ada.until(checkout, "needs_attention").await;
    assert_eq!(resolve(&operator, checkout, "give_up").await.status, StatusCode::ACCEPTED);
    eventually("its undo needs attention", || async {
        attention(&shop, checkout).await.contains("payments.void").then_some(())
    })
    .await;

    let told = resolve(&operator, checkout, "retry").await;

    assert_eq!(told.status, StatusCode::ACCEPTED, "{:#}", told.body);
    shop.start_paysim().await;
    let over = ada.until(checkout, "cancelled").await;
    assert_eq!(over.body["problem"]["code"], "cancelled", "{:#}", over.body);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    assert_eq!(shop.payment(checkout).await, Payment::default());
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_checkout_that_is_told_to_retry_goes_on_and_once_capturing_cannot_be_given_up() {
    let shop = easily_alarmed().await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let operator = shop.operator("olga").await;
    shop.fault("capture", "timeout_before", Duration::from_secs(20)).await;
    let started = ada.start_only("once", json!({ "payment": { "method": "pm_card_visa" } })).await;
    let checkout = started.checkout();
    eventually("the money is about to be taken", || async {
        (shop.order_state(checkout).await.as_deref() == Some("placed")).then_some(())
    })
    .await;
    shop.kill_paysim();
    ada.until(checkout, "needs_attention").await;

    let refused = resolve(&operator, checkout, "give_up").await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::CONFLICT, Some("invalid_state")),
        "{:#}",
        refused.body
    );
    let told = resolve(&operator, checkout, "retry").await;

    assert_eq!(told.status, StatusCode::ACCEPTED, "{:#}", told.body);
    shop.start_paysim().await;
    ada.until(checkout, "completed").await;
    let once = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
    assert_eq!(shop.payment(checkout).await, once);
    shop.assert_lawful().await;
}
