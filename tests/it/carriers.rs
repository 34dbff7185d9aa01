//! What carriers tell by webhook: taken in once, whenever it comes and whoever dies after it.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sha2::Sha256;
use tests::{Answer, CARRIER_SECRET, Customer, Shop};

use crate::shipping::{all_told, announced, ship, sold, until};

const PATH: &str = "/v1/webhooks/carriers/dhl";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn signature(secret: &str, at: u64, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    let mut header = format!("t={at},v1=");
    for byte in mac.chain_update(format!("{at}.{body}")).finalize().into_bytes() {
        write!(header, "{byte:02x}").expect("a string");
    }
    header
}

fn event(event_id: &str, tracking_number: &str, kind: &str) -> String {
    let body = json!({
        "event_id": event_id, "tracking_number": tracking_number, "kind": kind,
        "at": "2026-11-20T08:00:00Z", "depot": "Leipzig",
    });
    body.to_string()
}

async fn post(shop: &Customer, path: &str, signature: &str, body: &str) -> Answer {
    let headers: [(&str, &[u8]); 2] =
        [("Content-Type", b"application/json"), ("Carrier-Signature", signature.as_bytes())];
    shop.send_bytes(Method::POST, path, &headers, body.as_bytes().to_vec()).await
}

/// As the carrier does it.
async fn hear(shop: &Customer, event_id: &str, tracking_number: &str, kind: &str) -> Answer {
    let body = event(event_id, tracking_number, kind);
    post(shop, PATH, &signature(CARRIER_SECRET, now(), &body), &body).await
}

#[tokio::test]
async fn a_carriers_event_that_comes_before_its_parcel_is_applied_when_the_parcel_is_made() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let (ada, order) = sold(&shop, 1).await;
    let carrier = ada.anonymous();
    let operator = shop.operator("ada").await;

    let heard = hear(&carrier, "e-1", "T-1", "dispatched").await;
    all_told(&shop).await;
    let parcel = ship(&operator, order, "T-1", None).await;

    assert_eq!(heard.status, StatusCode::NO_CONTENT, "{:#}", heard.body);
    assert_eq!(parcel.state(), Some("dispatched"), "{:#}", parcel.body);
    assert_eq!(parcel.body["dispatched_at"], "2026-11-20T08:00:00Z");
    assert_eq!(shop.order_state(order).await.as_deref(), Some("shipped"));
    hear(&carrier, "e-2", "T-1", "delivered").await;
    until(&shop, order, "delivered").await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_carriers_event_is_told_though_the_api_dies_when_it_has_taken_it_in() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let (ada, order) = sold(&shop, 1).await;
    let operator = shop.operator("ada").await;
    ship(&operator, order, "T-1", None).await;
    shop.kill_worker(0);

    let heard = hear(&ada.anonymous(), "e-1", "T-1", "delivered").await;
    shop.kill_api();
    shop.start_worker(0);

    assert_eq!(heard.status, StatusCode::NO_CONTENT, "{:#}", heard.body);
    until(&shop, order, "delivered").await;
    all_told(&shop).await;
    shop.start_api().await;
    let seen = ada.get(&format!("/v1/orders/{}", order.order())).await;
    assert_eq!(seen.body["shipments"][0]["state"], "delivered", "{:#}", seen.body);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_event_told_many_times_at_once_and_out_of_order_changes_one_thing() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let (ada, order) = sold(&shop, 1).await;
    let carrier = ada.anonymous();
    let operator = shop.operator("ada").await;
    ship(&operator, order, "T-1", None).await;

    let answers = join_all((0..20).map(|_| hear(&carrier, "e-2", "T-1", "delivered"))).await;
    until(&shop, order, "delivered").await;
    let late = hear(&carrier, "e-1", "T-1", "dispatched").await;
    all_told(&shop).await;

    assert!(answers.iter().all(|answer| answer.status == StatusCode::NO_CONTENT));
    assert_eq!(late.status, StatusCode::NO_CONTENT);
    assert_eq!(shop.order_state(order).await.as_deref(), Some("delivered"));
    assert_eq!(announced(&shop, "shipment.delivered").await, 1);
    assert_eq!(announced(&shop, "shipment.dispatched").await, 0);
    assert_eq!(announced(&shop, "order.delivered").await, 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_forged_or_stale_webhook_is_refused_and_leaves_nothing() {
    let shop = Shop::open().await;
    let carrier = shop.customer().await.anonymous();
    let before = shop.contents().await;
    let body = event("e-1", "T-1", "delivered");
    let good = signature(CARRIER_SECRET, now(), &body);

    for (header, body) in [
        (String::new(), body.as_str()),
        ("t=1,v1=00".to_owned(), &body),
        (signature("a-secret-of-somebody-else", now(), &body), &body),
        (signature(CARRIER_SECRET, now() - 301, &body), &body),
        (signature(CARRIER_SECRET, now() + 310, &body), &body),
        (good.clone(), &event("e-1", "T-2", "delivered")),
    ] {
        let refused = post(&carrier, PATH, &header, body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, Some("invalid_signature")),
            "{header}"
        );
    }
    let unknown = post(&carrier, "/v1/webhooks/carriers/ups", &good, &body).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);

    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}
