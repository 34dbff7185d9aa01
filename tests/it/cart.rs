//! The cart: nothing that was added is ever lost, nobody overwrites what they have not seen, and
//! while it is being bought it stands still.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Customer, Shop};

#[tokio::test]
async fn fifty_adds_at_once_lose_nothing() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    shop.stock("POT-1", 1, 3000).await;
    let ada = shop.customer().await;

    // The first of them makes the cart, whichever that is.
    let answers = join_all((0..50).map(|number| {
        let sku = if number % 2 == 0 { "MUG-1" } else { "POT-1" };
        ada.add(sku, 3)
    }))
    .await;

    let mut versions: Vec<i64> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, StatusCode::OK, "{:#}", answer.body);
            answer.body["version"].as_i64().expect("a version")
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<_>>());
    let cart = ada.get("/v1/cart").await;
    assert_eq!(quantities(&cart), [("MUG-1".into(), 75), ("POT-1".into(), 75)]);
    assert_eq!(cart.body["version"], 50);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn of_concurrent_changes_to_one_version_one_is_made() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let answers =
        join_all((2..12).map(|quantity| set(&ada, "MUG-1", quantity, Some("\"1\"")))).await;

    let done = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(done, 1);
    for refused in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::PRECONDITION_FAILED, Some("cart_version_conflict")),
            "{:#}",
            refused.body
        );
        assert_eq!(refused.body["version"], 2);
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_etag_is_the_version_and_if_match_is_honoured() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 9, 1299).await;
    let ada = shop.customer().await;

    let untouched = ada.get("/v1/cart").await;
    assert_eq!(untouched.headers["etag"], "\"0\"");
    assert_eq!(
        untouched.body,
        json!({ "version": 0, "lines": [], "total": null, "checkout_id": null })
    );
    let added = post(&ada, "MUG-1", 2, Some("\"0\"")).await;
    assert_eq!(
        (added.status, &added.headers["etag"]),
        (StatusCode::OK, &"\"1\"".parse().expect("a header"))
    );

    for stale in ["\"0\"", "\"2\"", "W/\"1\"", "\"anything\""] {
        for refused in [
            post(&ada, "MUG-1", 1, Some(stale)).await,
            set(&ada, "MUG-1", 1, Some(stale)).await,
            remove(&ada, "MUG-1", Some(stale)).await,
        ] {
            assert_eq!(
                (refused.status, refused.code()),
                (StatusCode::PRECONDITION_FAILED, Some("cart_version_conflict"))
            );
            assert_eq!(refused.body["version"], 1, "{stale}");
        }
    }
    assert_eq!(set(&ada, "MUG-1", 5, Some("\"7\", \"1\"")).await.headers["etag"], "\"2\"");
    assert_eq!(set(&ada, "MUG-1", 4, Some("*")).await.headers["etag"], "\"3\"");
    assert_eq!(remove(&ada, "MUG-1", Some("\"3\"")).await.headers["etag"], "\"4\"");
    // What is not there cannot be taken out, so nothing changes.
    let again = remove(&ada, "MUG-1", None).await;
    assert_eq!((again.status, again.headers["etag"].as_bytes()), (StatusCode::OK, &b"\"4\""[..]));
    assert_eq!(ada.get("/v1/cart").await.headers["etag"], "\"4\"");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_line_has_at_most_999_units_and_a_cart_at_most_100_lines() {
    let shop = Shop::open().await;
    for number in 0..101 {
        shop.stock(&format!("PEN-{number:03}"), 0, 100).await;
    }
    let ada = shop.customer().await.with("PEN-000", 999).await;

    let more = ada.add("PEN-000", 1).await;
    assert_eq!(field_error(&more), ("/quantity", "too_many_units"));
    assert_eq!(
        field_error(&set(&ada, "PEN-000", 1000, None).await),
        ("/quantity", "invalid_value")
    );
    assert_eq!(quantities(&ada.get("/v1/cart").await), [("PEN-000".into(), 999)]);

    // At once, so that the limit holds where adds meet, too.
    let skus: Vec<String> = (1..101).map(|number| format!("PEN-{number:03}")).collect();
    let answers = join_all(skus.iter().map(|sku| ada.add(sku, 1))).await;
    let refused: Vec<&Answer> =
        answers.iter().filter(|answer| answer.status != StatusCode::OK).collect();
    let [refused] = refused[..] else { panic!("{} of 100 adds were refused", refused.len()) };
    assert_eq!(field_error(refused), ("/sku", "too_many_lines"));
    let cart = ada.get("/v1/cart").await;
    assert_eq!((quantities(&cart).len(), &cart.body["version"]), (100, &json!(100)));
    // A line that is there may still change.
    assert_eq!(set(&ada, "PEN-000", 1, None).await.status, StatusCode::OK);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_line_shows_todays_price_stock_and_sale_beside_the_price_that_was_seen() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 4, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;
    let line = |cart: Answer| cart.body["lines"][0].clone();
    let eur = |minor: i64| json!({ "minor": minor, "currency": "EUR" });
    let seen = json!({
        "sku": "MUG-1", "title": "Test MUG-1", "quantity": 2, "seen_price": eur(1299), "current_price": eur(1299),
        "price_changed": false, "available": 4, "on_sale": true,
    });
    assert_eq!(line(ada.get("/v1/cart").await), seen);

    shop.stock("MUG-1", 3, 1499).await;
    let cart = ada.get("/v1/cart").await;
    assert_eq!(cart.body["total"], eur(2998));
    let changed = line(cart);
    assert_eq!((&changed["seen_price"], &changed["current_price"]), (&eur(1299), &eur(1499)));
    assert_eq!((&changed["price_changed"], &changed["available"]), (&json!(true), &json!(7)));

    let touched = line(ada.add("MUG-1", 1).await);
    assert_eq!((&touched["seen_price"], &touched["price_changed"]), (&eur(1499), &json!(false)));

    shop.withdraw("MUG-1").await;
    assert_eq!(line(ada.get("/v1/cart").await)["on_sale"], false);
    assert_eq!(field_error(&ada.add("MUG-1", 1).await), ("/sku", "not_on_sale"));
    assert_eq!(remove(&ada, "MUG-1", None).await.body["lines"], json!([]));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_cart_stands_still_while_it_is_bought_and_is_empty_after_the_sale() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 4, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;
    let bea = shop.customer().await;
    let checkout = ada.start("once", json!({})).await.checkout();

    for refused in [
        ada.add("MUG-1", 1).await,
        set(&ada, "MUG-1", 1, None).await,
        remove(&ada, "MUG-1", None).await,
    ] {
        assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, Some("cart_locked")));
        assert_eq!(refused.body["checkout_id"], json!(checkout.to_string()));
    }
    let locked = ada.get("/v1/cart").await;
    assert_eq!(locked.body["checkout_id"], json!(checkout.to_string()));
    assert_eq!(
        (&locked.body["version"], quantities(&locked)),
        (&json!(1), vec![("MUG-1".into(), 2)])
    );
    // Nobody else's cart is concerned.
    assert_eq!(bea.add("MUG-1", 1).await.status, StatusCode::OK);

    ada.pay(checkout, "pm_card_visa").await;
    ada.until(checkout, "completed").await;

    let sold = ada.get("/v1/cart").await;
    assert_eq!(sold.body, json!({ "version": 2, "lines": [], "total": null, "checkout_id": null }));
    assert_eq!(quantities(&bea.get("/v1/cart").await), [("MUG-1".into(), 1)]);
    assert_eq!(ada.add("MUG-1", 1).await.body["version"], 3);
    shop.assert_lawful().await;
}

async fn post(customer: &Customer, sku: &str, quantity: i64, if_match: Option<&str>) -> Answer {
    let body = json!({ "sku": sku, "quantity": quantity });
    customer.send(Method::POST, "/v1/cart/items", &headers(if_match), Some(body)).await
}

async fn set(customer: &Customer, sku: &str, quantity: i64, if_match: Option<&str>) -> Answer {
    let body = json!({ "quantity": quantity });
    customer
        .send(Method::PUT, &format!("/v1/cart/items/{sku}"), &headers(if_match), Some(body))
        .await
}

async fn remove(customer: &Customer, sku: &str, if_match: Option<&str>) -> Answer {
    customer.send(Method::DELETE, &format!("/v1/cart/items/{sku}"), &headers(if_match), None).await
}

fn headers(if_match: Option<&str>) -> Vec<(&str, &str)> {
    if_match.map(|tag| ("If-Match", tag)).into_iter().collect()
}

fn quantities(cart: &Answer) -> Vec<(String, i64)> {
    let line = |line: &Value| {
        (line["sku"].as_str().expect("a SKU").to_owned(), line["quantity"].as_i64().expect("units"))
    };
    cart.body["lines"].as_array().expect("lines").iter().map(line).collect()
}

/// The pointer and code of the one field that a 422 complains of.
fn field_error(answer: &Answer) -> (&str, &str) {
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("validation_failed")),
        "{:#}",
        answer.body
    );
    let errors = answer.body["errors"].as_array().expect("errors");
    let [error] = &errors[..] else { panic!("{errors:?}") };
    (error["pointer"].as_str().expect("a pointer"), error["code"].as_str().expect("a code"))
}
