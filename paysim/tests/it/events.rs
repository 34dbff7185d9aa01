//! Events: each change of a payment is told once, with the object as it was then.

use reqwest::Method;
use serde_json::Value;

use crate::harness::{Network, authorization, id, types};

#[tokio::test]
async fn each_change_of_a_payment_is_an_event_with_the_object_as_it_was_then() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    network.post(&format!("/v1/payment_intents/{intent}/capture"), &[]).await.ok();
    network.post("/v1/refunds", &[("payment_intent", &intent), ("amount", "300")]).await.ok();

    let events = network.events().await;
    assert_eq!(
        types(&events),
        [
            "payment_intent.created",
            "payment_intent.amount_capturable_updated",
            "payment_intent.succeeded",
            "refund.created",
            "charge.refunded",
        ]
    );
    let objects: Vec<&Value> = events.iter().map(|event| &event["data"]["object"]).collect();
    assert_eq!(objects[0]["status"], "requires_payment_method");
    assert!(objects[0]["latest_charge"].is_null());
    assert_eq!(objects[1]["amount_capturable"], 1000);
    assert_eq!(objects[2]["amount_received"], 1000);
    assert_eq!(objects[3]["amount"], 300);
    assert_eq!(objects[4]["amount_refunded"], 300);
    assert_eq!(objects[4]["id"], objects[2]["latest_charge"]);
    for event in &events {
        assert_eq!(event["object"], "event");
        assert_eq!(event["livemode"], false);
        let path = format!("/v1/events/{}", id(event));
        assert_eq!(network.get(&path, &[]).await.ok(), *event);
    }
}

#[tokio::test]
async fn declines_and_cancellations_are_told() {
    let network = Network::start().await;
    let declined = authorization("pm_card_chargeDeclined", "pay_1");
    network.post("/v1/payment_intents", &declined).await.error(
        402,
        "card_error",
        Some("card_declined"),
    );
    let events = network.events().await;
    assert_eq!(types(&events), ["payment_intent.created", "payment_intent.payment_failed"]);
    let failed = &events[1]["data"]["object"];
    assert_eq!(failed["last_payment_error"]["code"], "card_declined");

    network.post(&format!("/v1/payment_intents/{}/cancel", id(failed)), &[]).await.ok();
    assert_eq!(types(&network.events().await)[2..], ["payment_intent.canceled"]);
}

#[tokio::test]
async fn each_answer_to_three_d_secure_is_told() {
    let network = Network::start().await;
    for (result, last) in [
        ("approve", "payment_intent.amount_capturable_updated"),
        ("decline", "payment_intent.payment_failed"),
    ] {
        let fields = authorization("pm_card_authenticationRequired", result);
        let intent = id(&network.post("/v1/payment_intents", &fields).await.ok());
        let form = [("result", result)];
        network.post_request(&format!("/3ds/{intent}"), &form).send().await.expect("an answer");
        let mut events = network.events().await;
        events.retain(|event| event["data"]["object"]["id"] == *intent);
        let expected = ["payment_intent.created", "payment_intent.requires_action", last];
        assert_eq!(types(&events), expected);
        assert!(events[2]["request"]["id"].is_null(), "no API request answered");
    }
}

#[tokio::test]
async fn an_event_names_the_request_that_made_it() {
    let network = Network::start().await;
    let request = network
        .post_request("/v1/payment_intents", &authorization("pm_card_visa", "pay_1"))
        .header("Idempotency-Key", "k");
    let response = request.send().await.expect("an answer");
    let request_id = response.headers()["request-id"].to_str().expect("an id is text").to_owned();
    for event in network.events().await {
        assert_eq!(event["request"]["id"], *request_id);
        assert_eq!(event["request"]["idempotency_key"], "k");
    }
}

#[tokio::test]
async fn what_changed_nothing_is_not_told() {
    let network = Network::start().await;
    let fields = authorization("pm_card_visa", "pay_1");
    let intent = id(&network.post_with_key("k", "/v1/payment_intents", &fields).await.ok());
    assert!(network.post_with_key("k", "/v1/payment_intents", &fields).await.replayed);
    let too_much = [("amount_to_capture", "1001")];
    let capture = format!("/v1/payment_intents/{intent}/capture");
    assert_eq!(network.post(&capture, &too_much).await.status, 400);
    let failing = network.post_request(&capture, &[]).header("Paysim-Fault", "error_before");
    assert_eq!(failing.send().await.expect("an answer").status(), 500);
    assert_eq!(network.events().await.len(), 2);
}

#[tokio::test]
async fn events_are_listed_by_type_and_time_in_pages() {
    let network = Network::start().await;
    for number in 0..3 {
        network.authorize(&format!("pay_{number}")).await;
    }
    let created = network.events().await[0]["created"].to_string();
    let kind = ("type", "payment_intent.created");
    let since = ("created[gte]", &*created);
    let first = network.get("/v1/events", &[kind, since, ("limit", "2")]).await.ok();
    assert_eq!(first["has_more"], true);
    let last = id(&first["data"][1]);
    let rest = network.get("/v1/events", &[kind, since, ("starting_after", &last)]).await.ok();
    assert_eq!(
        (rest["data"].as_array().map(Vec::len), &rest["has_more"]),
        (Some(1), &false.into())
    );
    assert_eq!(rest["data"][0]["data"]["object"]["metadata"]["payment_id"], "pay_0");

    let none = network.get("/v1/events", &[("type", "charge.dispute.created")]).await.ok();
    assert_eq!(none["data"].as_array().map(Vec::len), Some(0));
    let missing = network.get("/v1/events/evt_nope", &[]).await;
    missing.error(404, "invalid_request_error", Some("resource_missing"));
    let bare = network.request(Method::POST, "/v1/events").send().await.expect("an answer");
    assert_eq!(bare.status(), 404);
}
