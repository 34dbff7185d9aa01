//! The story of an order, as those who run the shop can read it, over HTTP and gRPC.

use api::grpc::proto::{
    BookReceiptRequest, CheckInvariantsRequest, GetInventoryRequest, GetTimelineRequest,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Customer, Listener, Shop, Spec, eventually};
use tonic::Code;

use crate::grpc::caller::{Admin, assert_refused, replayed};

/// A customer whose first card is declined and whose second is not; the order's timeline has its path.
async fn second_card(shop: &Shop) -> String {
    shop.stock("MUG-1", 2, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;
    let checkout = ada.start("once", json!({})).await.checkout();
    let declined = ada.pay(checkout, "pm_card_chargeDeclinedInsufficientFunds").await;
    assert_eq!(declined.code(), Some("payment_declined"), "{:#}", declined.body);
    let paid = ada.pay(checkout, "pm_card_visa").await;
    assert_eq!(paid.state(), Some("completed"), "{:#}", paid.body);
    format!("/v1/admin/orders/{}/timeline", checkout.order())
}

/// The story, told in so many entries at least.
async fn story(operator: &Customer, path: &str) -> Value {
    let told = operator.get(path).await;
    assert_eq!(told.status, StatusCode::OK, "{:#}", told.body);
    told.body
}

/// Each entry in two words.
fn words(story: &Value) -> Vec<String> {
    let entries = story["entries"].as_array().expect("entries").iter();
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    entries.map(|entry| format!("{} {}", word(&entry["source"]), word(&entry["kind"]))).collect()
}

#[tokio::test]
async fn a_timeline_tells_of_a_decline_and_a_second_card_in_order() {
    let shop = Shop::open_with(Spec {
        worker_settings: vec![("WEBHOOKS_ALLOW_PRIVATE", "true".to_owned())],
        ..Spec::default()
    })
    .await;
    let listener = Listener::start().await;
    let ada = shop.operator("ada").await;
    let body = json!({ "url": listener.url, "topics": ["order.paid"] });
    ada.send(reqwest::Method::POST, "/v1/admin/webhook-endpoints", &[], Some(body)).await;
    let path = second_card(&shop).await;

    let story = eventually("everything is told", || async {
        let told = story(&ada, &path).await;
        let words = words(&told);
        let done = ["delivery delivered", "reservation committed"];
        done.iter().all(|last| words.iter().any(|word| word == last)).then_some(told)
    })
    .await;

    assert_eq!(story["state"], "paid");
    assert_eq!(story["unreachable"], json!([]));
    let told = words(&story);
    let in_order = [
        "order opened",
        "reservation held",
        "payment_attempt started",
        "payment_attempt declined",
        "payment_attempt started",
        "payment authorized",
        "order placed",
        "outbox order.placed",
        "payment captured",
        "order paid",
        "outbox order.paid",
        "delivery waiting",
        "delivery delivered",
    ];
    let mut rest = told.iter();
    for word in in_order {
        assert!(rest.any(|known| known == word), "{word} is not where it should be in {told:#?}");
    }
    assert!(told.contains(&"reservation committed".to_owned()), "{told:#?}");
    let declined = story["entries"]
        .as_array()
        .and_then(|entries| entries.iter().find(|entry| entry["kind"] == "declined"))
        .expect("the decline");
    assert_eq!(declined["detail"]["decline_code"], "insufficient_funds");
    assert_eq!(declined["detail"]["attempt"], 1);
    let text = story.to_string();
    assert!(!text.contains("ada@example.com") && !text.contains("Test Lane"), "{text}");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_timeline_in_the_past_shows_what_was_known_then() {
    let shop = Shop::open().await;
    let path = second_card(&shop).await;
    let ada = shop.operator("ada").await;
    let now = story(&ada, &path).await;
    let declined_at = now["entries"]
        .as_array()
        .and_then(|entries| entries.iter().find(|entry| entry["kind"] == "declined"))
        .and_then(|entry| entry["at"].as_str())
        .expect("the decline");

    let then = story(&ada, &format!("{path}?at={declined_at}")).await;
    let before = story(&ada, &format!("{path}?at=2020-01-01T00:00:00Z")).await;

    assert_eq!(now["state"], "paid");
    assert_eq!(then["state"], "pending");
    let known = words(&then);
    assert_eq!(known.last().map(String::as_str), Some("payment_attempt declined"), "{known:?}");
    assert!(!known.iter().any(|word| word == "order placed" || word.starts_with("outbox")));
    assert_eq!((&before["state"], &before["entries"]), (&Value::Null, &json!([])));
    for bad in ["yesterday", "2026-11-25", "", "1795000000"] {
        let refused = ada.get(&format!("{path}?at={bad}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        assert_eq!(refused.body["errors"][0]["parameter"], "at", "{:#}", refused.body);
    }
    assert_eq!(ada.get(&format!("{path}?when=now")).await.code(), Some("validation_failed"));
    let nobody = "/v1/admin/orders/ord_00000000000000000000000000/timeline";
    assert_eq!(ada.get(nobody).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ada.get("/v1/admin/orders/x/timeline").await.status, StatusCode::NOT_FOUND);
    assert_eq!(shop.customer().await.get(&path).await.code(), Some("forbidden"));
    shop.assert_lawful().await;
}

fn receipt(quantity: i64) -> BookReceiptRequest {
    let (sku, reason, reference) = ("MUG-1".into(), "delivery".into(), "note-7".into());
    BookReceiptRequest { sku, quantity, reason, reference }
}

#[tokio::test]
async fn operators_have_the_same_over_grpc_and_customers_are_refused() {
    let shop = Shop::open().await;
    let path = second_card(&shop).await;
    let ada = shop.operator("ada").await;
    let mut admin = Admin::arrive(&shop, ada.token()).await;
    let mut customer = Admin::arrive(&shop, shop.customer().await.token()).await;

    let booked = admin.client.book_receipt(admin.asks(receipt(3))).await.expect("booked");
    assert!(!replayed(&booked));
    let again = admin.client.book_receipt(admin.asks(receipt(3))).await.expect("known");
    assert!(replayed(&again));
    let other = admin.client.book_receipt(admin.asks(receipt(4))).await.expect_err("another");
    assert_refused(&other, Code::AlreadyExists, "reference_reused");
    let sku = || GetInventoryRequest { sku: "MUG-1".into() };
    let level = admin.client.get_inventory(admin.asks(sku())).await.expect("a level").into_inner();
    assert_eq!((level.received, level.available, level.sold), (5, 3, 2));
    assert_eq!(level, again.into_inner());
    let audit = admin.client.check_invariants(admin.asks(CheckInvariantsRequest {})).await;
    assert!(audit.expect("an audit").into_inner().lawful);

    let order_id = path.split('/').nth(4).expect("an id").to_owned();
    let ask = |order_id: &str| GetTimelineRequest { order_id: order_id.to_owned(), at: None };
    let told = admin.client.get_timeline(admin.asks(ask(&order_id))).await.expect("a story");
    let told = told.into_inner();
    let over_http = story(&ada, &path).await;
    assert_eq!(told.state(), over_http["state"].as_str().expect("a state"));
    let kinds: Vec<String> =
        told.entries.iter().map(|entry| format!("{} {}", entry.source, entry.kind)).collect();
    assert_eq!(kinds, words(&over_http));
    let missing = admin.client.get_timeline(admin.asks(ask("x"))).await.expect_err("no order");
    assert_refused(&missing, Code::NotFound, "not_found");
    let at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
    let never = admin.asks(GetTimelineRequest { order_id: order_id.clone(), at });
    let never = admin.client.get_timeline(never).await.expect_err("no time");
    assert_refused(&never, Code::InvalidArgument, "validation_failed");

    let refusals = [
        customer.client.get_inventory(customer.asks(sku())).await.map(drop),
        customer.client.book_receipt(customer.asks(receipt(3))).await.map(drop),
        customer.client.check_invariants(customer.asks(CheckInvariantsRequest {})).await.map(drop),
        customer.client.get_timeline(customer.asks(ask(&order_id))).await.map(drop),
    ];
    for refusal in refusals {
        assert_refused(
            &refusal.expect_err("not for customers"),
            Code::PermissionDenied,
            "forbidden",
        );
    }
    shop.assert_lawful().await;
}
