//! What can be followed and looked up without buying: a checkout's events, the API's own document,
//! and what those who run it ask for.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Customer, Shop};

#[tokio::test]
async fn the_events_of_a_checkout_tell_every_rest_and_end_with_it() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let id = ada.start("once", json!({})).await.checkout();
    let mut events = Events::open(&ada, &shop, &format!("/v1/checkouts/{id}/events")).await;

    let waiting = events.next().await.expect("the state it is in");
    assert_eq!(
        (&waiting["id"], &waiting["state"]),
        (&json!(id.to_string()), &json!("awaiting_payment"))
    );
    assert_eq!(ada.pay(id, "pm_card_threeDSecure2Required").await.state(), Some("action_required"));
    let url = loop {
        let event = events.next().await.expect("it goes on");
        if let Some(url) = event["next_action"]["url"].as_str() {
            break url.to_owned();
        }
    };
    shop.answer_bank(&url, "approve").await;
    let mut last = Value::Null;
    while let Some(event) = events.next().await {
        last = event;
    }

    assert_eq!(last["state"], "completed");
    assert_eq!(last, ada.checkout(id).await.body);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_events_of_a_checkout_that_is_over_are_one_event() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let declined = ada.buy("pm_card_chargeDeclined").await;
    let mut events =
        Events::open(&ada, &shop, &format!("/v1/checkouts/{}/events", declined.checkout())).await;

    let only = events.next().await.expect("its end");
    assert_eq!(
        (&only["state"], &only["problem"]["code"]),
        (&json!("failed"), &json!("payment_declined"))
    );
    assert_eq!(events.next().await, None);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_document_is_served_and_every_operation_in_it_is_there() {
    let shop = Shop::open().await;
    let nobody = shop.customer().await.anonymous();
    let document = nobody.get("/v1/openapi.json").await;
    assert_eq!((document.status, &document.body["openapi"]), (StatusCode::OK, &json!("3.1.0")));

    let mut told = BTreeSet::new();
    for (path, methods) in document.body["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let method = method.to_uppercase();
            let answer = nobody.send(method.parse().expect("a method"), path, &[], None).await;
            let needs_token = operation["security"].is_array();
            assert_eq!(
                answer.status == StatusCode::UNAUTHORIZED,
                needs_token,
                "{method} {path}: {}",
                answer.text
            );
            // What needs no token may need a signature instead, by a name that we know.
            let signed = path.starts_with("/v1/webhooks/")
                && matches!(answer.code(), Some("not_found" | "invalid_signature"));
            let taken = answer.status.is_success() || signed;
            assert!(needs_token || taken, "{method} {path}: {}", answer.text);
            told.insert(format!("{method} {path}"));
        }
    }
    let all = [
        "POST /v1/sessions",
        "GET /v1/cart",
        "POST /v1/cart/items",
        "PUT /v1/cart/items/{sku}",
        "DELETE /v1/cart/items/{sku}",
        "POST /v1/checkouts",
        "GET /v1/checkouts/{id}",
        "POST /v1/checkouts/{id}/payment",
        "POST /v1/checkouts/{id}/cancel",
        "GET /v1/checkouts/{id}/events",
        "GET /v1/orders",
        "GET /v1/orders/{id}",
        "POST /v1/webhooks/stripe",
        "GET /v1/payments/return",
        "GET /livez",
        "GET /readyz",
    ];
    for operation in all {
        assert!(told.contains(operation), "the document does not tell of {operation}");
    }
    let docs = nobody.get("/docs").await;
    assert_eq!(
        (docs.status, docs.headers["content-type"].as_bytes()),
        (StatusCode::OK, &b"text/html; charset=utf-8"[..])
    );
    assert!(docs.text.contains("/v1/openapi.json"));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn it_lives_it_is_ready_and_it_counts() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let nobody = ada.anonymous();
    for path in ["/livez", "/readyz"] {
        assert_eq!(nobody.get(path).await.status, StatusCode::OK, "{path}");
    }
    ada.get("/v1/checkouts/chk_00000000000000000000000000").await;
    ada.get("/v1/nothing").await;

    let metrics = nobody.get("/metrics").await.text;
    for (route, status, count) in
        [("/v1/cart/items", "200", 1), ("/v1/checkouts/{id}", "404", 1), ("unmatched", "404", 1)]
    {
        let labels = format!("route=\"{route}\",status=\"{status}\"}} {count}");
        let counted = |line: &str| line.contains("_count{") && line.ends_with(&labels);
        assert!(metrics.lines().any(counted), "{labels} is not in\n{metrics}");
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_request_keeps_the_id_it_came_with() {
    let shop = Shop::open().await;
    let ada = shop.customer().await;
    let kept = ada.send(Method::GET, "/v1/cart", &[("X-Request-Id", "trace-7")], None).await;
    assert_eq!(kept.headers["x-request-id"], "trace-7");
    let replaced = ada.send(Method::GET, "/v1/cart", &[("X-Request-Id", "not an id")], None).await;
    assert_eq!(replaced.headers["x-request-id"].len(), 36);
    shop.assert_lawful().await;
}

/// A stream of server-sent events.
struct Events {
    response: reqwest::Response,
    read: String,
}

impl Events {
    async fn open(customer: &Customer, shop: &Shop, path: &str) -> Self {
        let url = format!("{}{path}", shop.api_url);
        let response = reqwest::Client::new()
            .get(url)
            .bearer_auth(customer.token())
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, read: String::new() }
    }

    /// The next checkout that is told, or the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                if event.starts_with(':') {
                    continue;
                }
                let data = event
                    .strip_prefix("event: checkout\ndata: ")
                    .unwrap_or_else(|| panic!("{event}"));
                return Some(serde_json::from_str(data).expect("JSON"));
            }
            let chunk = tokio::time::timeout(tests::PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("an event, or the end").expect("an unbroken stream")?;
            self.read.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }
}
