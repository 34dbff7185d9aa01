//! The main job: somebody buys what is in their cart, all of it or nothing, at the price they agreed
//! to. How they pay is told in `paying`.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Answer, Payment, Shop};

const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

#[tokio::test]
async fn an_express_checkout_sells_and_charges_once() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;

    let bought = ada.buy("pm_card_visa").await;

    assert_eq!(bought.status, StatusCode::CREATED, "{:#}", bought.body);
    assert_eq!(bought.state(), Some("completed"));
    assert_eq!(bought.headers["location"], format!("/v1/checkouts/{}", bought.checkout()));
    assert_eq!(bought.body["total"], json!({ "minor": 2598, "currency": "EUR" }));
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 2));
    assert_eq!(shop.payment(bought.checkout()).await, ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_interactive_checkout_holds_the_stock_until_it_is_paid() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let started = ada.start("once", json!({})).await;
    assert_eq!((started.status, started.state()), (StatusCode::ACCEPTED, Some("awaiting_payment")));
    assert_eq!(started.body["next_action"], json!({ "type": "submit_payment" }));
    assert!(started.body["expires_at"].is_string(), "{:#}", started.body);
    assert_eq!(shop.counters("MUG-1").await, (2, 1, 0));

    let declined = ada.pay(started.checkout(), "pm_card_visa_chargeDeclined").await;
    assert_eq!(
        (declined.status, declined.code()),
        (StatusCode::PAYMENT_REQUIRED, Some("payment_declined"))
    );
    assert_eq!(shop.counters("MUG-1").await, (2, 1, 0));

    let paid = ada.pay(started.checkout(), "pm_card_visa").await;
    assert_eq!((paid.status, paid.state()), (StatusCode::OK, Some("completed")), "{:#}", paid.body);
    assert_eq!(shop.counters("MUG-1").await, (2, 0, 1));
    assert_eq!(shop.payment(started.checkout()).await, ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_sale_is_an_order_that_its_customer_can_read_and_nobody_else() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    shop.stock("POT-1", 5, 3000).await;
    let ada = shop.customer().await.with("POT-1", 1).await.with("MUG-1", 2).await;

    let bought = ada.buy("pm_card_visa").await;
    let order = ada.get(&format!("/v1/orders/{}", bought.checkout().order())).await;

    assert_eq!((order.status, order.state()), (StatusCode::OK, Some("paid")), "{:#}", order.body);
    assert_eq!(bought.body["order_id"], order.body["id"]);
    assert_eq!(order.body["checkout_id"], bought.body["id"]);
    assert_eq!(order.body["total"]["minor"], 5598);
    assert_eq!(
        order.body["lines"],
        json!([
            { "sku": "MUG-1", "title": "Test MUG-1", "quantity": 2, "unit_price": { "minor": 1299, "currency": "EUR" } },
            { "sku": "POT-1", "title": "Test POT-1", "quantity": 1, "unit_price": { "minor": 3000, "currency": "EUR" } },
        ])
    );
    let events: Vec<&str> = order.body["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|e| e["kind"].as_str())
        .collect();
    assert_eq!(events, ["opened", "placed", "paid"]);

    // Newest first, a page at a time, each order once.
    let later = ada.clone().with("MUG-1", 1).await.buy("pm_card_visa").await;
    let first = ada.get("/v1/orders?limit=1").await;
    let cursor = first.body["next_cursor"].as_str().expect("a second page");
    let second = ada.get(&format!("/v1/orders?limit=1&cursor={cursor}")).await;
    assert_eq!(first.body["orders"][0]["checkout_id"], later.body["id"]);
    assert_eq!(second.body["orders"][0]["checkout_id"], bought.body["id"]);
    assert_eq!(second.body["next_cursor"], Value::Null);
    assert_eq!(shop.customer().await.get("/v1/orders").await.body["orders"], json!([]));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn three_lines_with_stock_for_two_hold_nothing_and_the_short_line_is_named() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    shop.stock("POT-1", 1, 3000).await;
    shop.stock("TEA-1", 5, 499).await;
    let ada = shop.customer().await;
    let ada = ada.with("MUG-1", 2).await.with("POT-1", 2).await.with("TEA-1", 2).await;

    let refused = ada.buy("pm_card_visa").await;

    assert_eq!(out_of_stock(&refused), json!([{ "sku": "POT-1", "wanted": 2, "available": 1 }]));
    for sku in ["MUG-1", "TEA-1"] {
        assert_eq!(shop.counters(sku).await, (5, 0, 0), "{sku}");
    }
    assert_eq!(shop.counters("POT-1").await, (1, 0, 0));
    assert_eq!(shop.payment(refused.checkout()).await, Payment::default());
    assert_eq!(shop.order_state(refused.checkout()).await.as_deref(), Some("cancelled"));

    // The cart is as it was, and can be bought once it fits.
    let less = ada
        .send(reqwest::Method::PUT, "/v1/cart/items/POT-1", &[], Some(json!({ "quantity": 1 })))
        .await;
    assert_eq!(less.status, StatusCode::OK, "{:#}", less.body);
    assert_eq!(ada.buy("pm_card_visa").await.status, StatusCode::CREATED);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn every_short_line_is_named_also_one_that_was_never_in_stock() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    shop.stock("NEW-1", 0, 500).await;
    shop.stock("TEA-1", 5, 499).await;
    let ada = shop.customer().await;
    let ada = ada.with("MUG-1", 3).await.with("NEW-1", 1).await.with("TEA-1", 1).await;

    let refused = ada.buy("pm_card_visa").await;

    assert_eq!(
        out_of_stock(&refused),
        json!([
            { "sku": "MUG-1", "wanted": 3, "available": 1 },
            { "sku": "NEW-1", "wanted": 1, "available": 0 },
        ])
    );
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_sku_that_was_added_twice_is_one_line_and_their_sum_must_be_in_stock() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await.with("MUG-1", 2).await;

    // Either half would fit.
    let refused = ada.buy("pm_card_visa").await;
    assert_eq!(out_of_stock(&refused), json!([{ "sku": "MUG-1", "wanted": 4, "available": 3 }]));

    shop.stock("MUG-1", 1, 1299).await;
    let bought = ada.buy("pm_card_visa").await;
    assert_eq!(bought.body["total"]["minor"], 4 * 1299, "{:#}", bought.body);
    assert_eq!(bought.body["lines"].as_array().map(Vec::len), Some(1));
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 4));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_price_that_changed_is_told_to_who_named_a_total_and_charged_to_who_did_not() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;
    shop.stock("MUG-1", 0, 1500).await;

    let old = json!({ "minor": 2598, "currency": "EUR" });
    let payment = json!({ "method": "pm_card_visa" });
    let refused = ada.start("old", json!({ "expected_total": old, "payment": payment })).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, Some("quote_changed")));
    assert_eq!(refused.body["expected_total"], old);
    assert_eq!(refused.body["total"], json!({ "minor": 3000, "currency": "EUR" }));
    assert_eq!(refused.body["lines"][0]["sku"], "MUG-1", "{:#}", refused.body);
    assert_eq!(refused.body["lines"][0]["unit_price"]["minor"], 1500, "{:#}", refused.body);
    assert_eq!(shop.counters("MUG-1").await, (5, 0, 0));
    assert_eq!(shop.order_state(refused.checkout()).await, None);
    assert_eq!(shop.payment(refused.checkout()).await, Payment::default());
    let looked_at = ada.checkout(refused.checkout()).await;
    assert_eq!((looked_at.status, looked_at.state()), (StatusCode::OK, Some("failed")));
    assert_eq!(looked_at.body["problem"]["total"], refused.body["total"], "{:#}", looked_at.body);

    let agreed = json!({ "minor": 3000, "currency": "EUR" });
    let bought = ada.start("new", json!({ "expected_total": agreed, "payment": payment })).await;
    assert_eq!(
        (bought.status, &bought.body["total"]),
        (StatusCode::CREATED, &agreed),
        "{:#}",
        bought.body
    );

    let bea = shop.customer().await.with("MUG-1", 1).await;
    shop.stock("MUG-1", 0, 1700).await;
    let bought = bea.buy("pm_card_visa").await;
    assert_eq!(bought.body["total"]["minor"], 1700, "{:#}", bought.body);
    assert_eq!(shop.ledger(bought.checkout()).await[0]["amount"], 1700);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_right_number_in_another_currency_is_another_total() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let expected = json!({ "minor": 1299, "currency": "USD" });
    let refused = ada.start("dollars", json!({ "expected_total": expected })).await;

    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, Some("quote_changed")));
    assert_eq!(refused.body["total"], json!({ "minor": 1299, "currency": "EUR" }));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_cart_with_something_taken_off_sale_cannot_be_bought_until_it_is_out() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    shop.stock("POT-1", 5, 3000).await;
    let ada = shop.customer().await.with("MUG-1", 1).await.with("POT-1", 1).await;
    shop.withdraw("POT-1").await;

    let refused = ada.buy("pm_card_visa").await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("cart_invalid"))
    );
    assert_eq!(refused.body["skus"], json!(["POT-1"]));
    assert_eq!(shop.counters("MUG-1").await, (5, 0, 0));

    ada.send(reqwest::Method::DELETE, "/v1/cart/items/POT-1", &[], None).await;
    assert_eq!(ada.buy("pm_card_visa").await.status, StatusCode::CREATED);
    shop.assert_lawful().await;
}

/// The short lines of a refusal for want of stock.
fn out_of_stock(refused: &Answer) -> Value {
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::CONFLICT, Some("out_of_stock")),
        "{:#}",
        refused.body
    );
    assert_eq!(refused.state(), Some("failed"));
    refused.body["lines"].clone()
}
