//! Bad values, field by field: each is refused with a pointer to it and a code, and nothing changes.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Customer, Shop, checkout_body};

#[tokio::test]
async fn a_quantity_is_a_whole_number_from_1_to_999() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let before = shop.contents().await;
    let quantities = [
        ("0", "invalid_value"),
        ("-1", "invalid_value"),
        ("1000", "invalid_value"),
        ("1000000000", "invalid_value"),
        ("9223372036854775807", "invalid_value"),
        ("-9223372036854775808", "invalid_value"),
        ("9223372036854775808", "invalid_value"),
        ("18446744073709551616", "invalid_type"),
        ("1.5", "invalid_type"),
        ("1.0", "invalid_type"),
        ("1e2", "invalid_type"),
        ("\"1\"", "invalid_type"),
        ("null", "invalid_type"),
        ("true", "invalid_type"),
        ("[1]", "invalid_type"),
        ("{}", "invalid_type"),
    ];
    for (quantity, code) in quantities {
        let add = format!(r#"{{"sku":"MUG-1","quantity":{quantity}}}"#);
        assert_field(
            &json_bytes(&ada, Method::POST, "/v1/cart/items", &add).await,
            "/quantity",
            code,
            &add,
        );
        let set = format!(r#"{{"quantity":{quantity}}}"#);
        assert_field(
            &json_bytes(&ada, Method::PUT, "/v1/cart/items/MUG-1", &set).await,
            "/quantity",
            code,
            &set,
        );
    }
    // A number that no machine can hold is not even JSON to us.
    let endless = format!(r#"{{"sku":"MUG-1","quantity":1e{}}}"#, "9".repeat(40));
    let answer = json_bytes(&ada, Method::POST, "/v1/cart/items", &endless).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, Some("malformed")));
    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_item_names_a_sku_of_the_catalog_and_nothing_else() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let before = shop.contents().await;
    let long = format!(r#"{{"sku":"{}","quantity":1}}"#, "X".repeat(33));
    let items = [
        (r#"{"sku":"NONE-1","quantity":1}"#, "/sku", "unknown_sku"),
        (r#"{"sku":"mug-1","quantity":1}"#, "/sku", "invalid_value"),
        (r#"{"sku":"","quantity":1}"#, "/sku", "invalid_value"),
        (r#"{"sku":"MUG 1","quantity":1}"#, "/sku", "invalid_value"),
        (r#"{"sku":"MUG-1\u0000","quantity":1}"#, "/sku", "invalid_value"),
        (r#"{"sku":"ΜUG-1","quantity":1}"#, "/sku", "invalid_value"),
        (r#"{"sku":"'; DROP TABLE cart; --","quantity":1}"#, "/sku", "invalid_value"),
        (long.as_str(), "/sku", "invalid_value"),
        (r#"{"sku":5,"quantity":1}"#, "/sku", "invalid_type"),
        (r#"{"sku":null,"quantity":1}"#, "/sku", "invalid_type"),
        (r#"{"quantity":1}"#, "/sku", "missing_field"),
        (r#"{"sku":"MUG-1"}"#, "/quantity", "missing_field"),
        (r#"{"sku":"MUG-1","quantity":1,"price":0}"#, "/price", "unknown_field"),
        (r#"{"sku":"MUG-1","quantity":1,"quantity":2}"#, "/quantity", "duplicate_field"),
    ];
    for (item, pointer, code) in items {
        assert_field(
            &json_bytes(&ada, Method::POST, "/v1/cart/items", item).await,
            pointer,
            code,
            item,
        );
    }
    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_checkout_is_refused_for_each_field_that_cannot_be() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let before = shop.contents().await;
    let total = |minor: Value, currency: Value| json!({ "expected_total": { "minor": minor, "currency": currency } });
    let pay = |payment: Value| json!({ "payment": payment });
    let email = |email: &str| json!({ "email": email });
    let cases = [
        (total(json!(1), json!("ZZZ")), "/expected_total/currency", "invalid_value"),
        (total(json!(1), json!("eur")), "/expected_total/currency", "invalid_value"),
        (total(json!(1), json!("EU")), "/expected_total/currency", "invalid_value"),
        (total(json!(1), json!("")), "/expected_total/currency", "invalid_value"),
        (total(json!(1), json!(978)), "/expected_total/currency", "invalid_type"),
        (total(json!(-1), json!("EUR")), "/expected_total", "invalid_value"),
        (total(json!(900_000_000_000_001_i64), json!("EUR")), "/expected_total", "invalid_value"),
        (total(json!(12.99), json!("EUR")), "/expected_total/minor", "invalid_type"),
        (total(json!("1299"), json!("EUR")), "/expected_total/minor", "invalid_type"),
        (json!({ "expected_total": 1299 }), "/expected_total", "invalid_type"),
        (
            json!({ "expected_total": { "minor": 1299 } }),
            "/expected_total/currency",
            "missing_field",
        ),
        (
            json!({ "expected_total": { "minor": 1, "currency": "EUR", "cents": 1 } }),
            "/expected_total/cents",
            "unknown_field",
        ),
        (pay(json!({})), "/payment/method", "missing_field"),
        (pay(json!("pm_card_visa")), "/payment", "invalid_type"),
        (pay(json!({ "method": "visa" })), "/payment/method", "invalid_value"),
        (pay(json!({ "method": "" })), "/payment/method", "invalid_value"),
        (pay(json!({ "method": "pm_card_visa\0" })), "/payment/method", "invalid_value"),
        (pay(json!({ "method": "pm_k\u{e4}rtchen" })), "/payment/method", "invalid_value"),
        (
            pay(json!({ "method": format!("pm_{}", "x".repeat(253)) })),
            "/payment/method",
            "invalid_value",
        ),
        (pay(json!({ "method": 4242 })), "/payment/method", "invalid_type"),
        (pay(json!({ "method": "pm_card_visa", "cvc": "123" })), "/payment/cvc", "unknown_field"),
        (email(""), "/email", "invalid_value"),
        (email("ada"), "/email", "invalid_value"),
        (email("@example.com"), "/email", "invalid_value"),
        (email("ada@"), "/email", "invalid_value"),
        (email("ada@exam@ple.com"), "/email", "invalid_value"),
        (email("ada@example.com\r\nBcc: all@example.com"), "/email", "invalid_value"),
        (email("ada\0@example.com"), "/email", "invalid_value"),
        (email(&format!("{}@example.com", "a".repeat(250))), "/email", "invalid_value"),
        (json!({ "email": 5 }), "/email", "invalid_type"),
        (json!({ "shipping_address": "Berlin" }), "/shipping_address", "invalid_type"),
        (json!({ "shipping_address": {} }), "/shipping_address/name", "missing_field"),
        (json!({ "coupon": "FREE" }), "/coupon", "unknown_field"),
        (
            json!({ "customer_id": "cus_00000000000000000000000000" }),
            "/customer_id",
            "unknown_field",
        ),
    ];
    for (members, pointer, code) in cases {
        let body = checkout_body(members).to_string();
        assert_field(&start(&ada, &body).await, pointer, code, &body);
    }
    for (field, value) in [
        ("name", json!("")),
        ("name", json!(" ")),
        ("name", json!("x".repeat(201))),
        ("line1", json!("a\nb")),
        ("line2", json!("")),
        ("city", json!("\0")),
        ("city", json!("x".repeat(101))),
        ("postal_code", json!("1".repeat(21))),
        ("country", json!("de")),
        ("country", json!("XX")),
        ("country", json!("DEU")),
        ("country", json!("")),
    ] {
        let mut body = checkout_body(json!({}));
        body["shipping_address"][field] = value;
        let body = body.to_string();
        assert_field(
            &start(&ada, &body).await,
            &format!("/shipping_address/{field}"),
            "invalid_value",
            &body,
        );
    }
    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn everything_that_is_wrong_with_an_address_is_told_at_once() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let mut body = checkout_body(json!({ "email": "nobody" }));
    body["shipping_address"]["city"] = json!("");
    body["shipping_address"]["country"] = json!("Germany");

    let answer = start(&ada, &body.to_string()).await;

    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("validation_failed"))
    );
    let errors = answer.body["errors"].as_array().expect("errors");
    let pointers: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
    assert_eq!(pointers, ["/email", "/shipping_address/city", "/shipping_address/country"]);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_payment_is_refused_for_each_field_that_cannot_be_and_is_no_attempt_then() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let waiting = ada.start("once", json!({})).await.checkout();
    let before = shop.contents().await;
    let path = format!("/v1/checkouts/{waiting}/payment");
    for (body, pointer, code) in [
        (r"{}", "/method", "missing_field"),
        (r#"{"method":"visa"}"#, "/method", "invalid_value"),
        (r#"{"method":"pm_\u0000"}"#, "/method", "invalid_value"),
        (r#"{"method":null}"#, "/method", "invalid_type"),
        (r#"{"method":["pm_card_visa"]}"#, "/method", "invalid_type"),
        (r#"{"method":"pm_card_visa","amount":1}"#, "/amount", "unknown_field"),
    ] {
        assert_field(&json_bytes(&ada, Method::POST, &path, body).await, pointer, code, body);
    }
    assert_eq!(shop.contents().await, before);
    assert_eq!(ada.checkout(waiting).await.body["attempts"], 0);
    assert_eq!(ada.cancel(waiting).await.state(), Some("cancelled"));
    shop.assert_lawful().await;
}

async fn start(customer: &Customer, body: &str) -> Answer {
    let headers: [(&str, &[u8]); 2] =
        [("Content-Type", b"application/json"), ("Idempotency-Key", b"k")];
    customer.send_bytes(Method::POST, "/v1/checkouts", &headers, body.as_bytes().to_vec()).await
}

async fn json_bytes(customer: &Customer, method: Method, path: &str, body: &str) -> Answer {
    let headers: [(&str, &[u8]); 1] = [("Content-Type", b"application/json")];
    customer.send_bytes(method, path, &headers, body.as_bytes().to_vec()).await
}

/// Claims that this field, and no other, is complained of.
fn assert_field(answer: &Answer, pointer: &str, code: &str, what: &str) {
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("validation_failed")),
        "{what}: {}",
        answer.text
    );
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let errors = answer.body["errors"].as_array().expect("errors");
    let [error] = &errors[..] else { panic!("{what}: {errors:?}") };
    assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{what}");
}
