//! Deliveries of events: signed, tried again, and never lost by accident.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    endpoint::{Endpoint, NEVER},
    harness::{Fields, Network, Reply, authorization, id, types},
};

/// One event: an intent nobody confirmed.
const BARE: Fields<'_> =
    &[("amount", "500"), ("currency", "eur"), ("metadata[payment_id]", "pay_bare")];

#[tokio::test]
async fn an_event_is_delivered_with_a_signature_over_its_body() {
    let endpoint = Endpoint::start(&[]).await;
    let network = Network::start_with(|config| endpoint.configure(config)).await;
    network.authorize("pay_1").await;
    let received = endpoint.received_count(2).await;
    let mut told: Vec<String> = received.iter().map(|delivery| id(&delivery.event)).collect();
    let mut happened: Vec<String> = network.events().await.iter().map(id).collect();
    told.sort();
    happened.sort();
    assert_eq!(told, happened);
    for delivery in received {
        assert!(delivery.valid);
        assert_eq!(delivery.event["pending_webhooks"], 1);
    }
    assert_settled(&network, &["delivered", "delivered"]).await;
    for event in network.events().await {
        assert_eq!(event["pending_webhooks"], 0);
    }
}

#[tokio::test]
async fn a_delivery_is_tried_again_and_signed_anew_until_it_is_taken() {
    let endpoint = Endpoint::start(&[500, NEVER, 302]).await;
    let network = Network::start_with(|config| endpoint.configure(config)).await;
    network.post("/v1/payment_intents", BARE).await.ok();
    let received = endpoint.received_count(4).await;
    for delivery in &received {
        assert!(delivery.valid, "{delivery:?}");
        assert_eq!(delivery.event, received[0].event);
    }
    assert_settled(&network, &["delivered"]).await;
    let delivery = &deliveries(&network, &[]).await[0];
    assert_eq!((&delivery["attempts"], &delivery["last_status"]), (&json!(4), &json!(200)));
}

#[tokio::test]
async fn a_silent_endpoint_has_at_most_sixteen_tries_open() {
    let endpoint = Endpoint::start(&[NEVER; 20]).await;
    let network = Network::start_with(|config| {
        endpoint.configure(config);
        config.webhooks.timeout_ms = 60_000;
    })
    .await;
    for _ in 0..20 {
        network.post("/v1/payment_intents", BARE).await.ok();
    }
    endpoint.received_count(16).await;
    let queue = deliveries(&network, &[]).await;
    let open = queue.iter().filter(|delivery| delivery["attempts"] == 1).count();
    assert_eq!((open, queue.len()), (16, 20));
}

#[tokio::test]
async fn every_endpoint_is_told() {
    let (first, second) = (Endpoint::start(&[]).await, Endpoint::start(&[]).await);
    let network = Network::start_with(|config| {
        first.configure(config);
        config.webhooks.urls.push(second.url.clone());
    })
    .await;
    network.post("/v1/payment_intents", BARE).await.ok();
    first.received_count(1).await;
    second.received_count(1).await;
    let urls: Vec<Value> =
        deliveries(&network, &[]).await.iter().map(|delivery| delivery["url"].clone()).collect();
    assert_eq!(urls, [json!(first.url), json!(second.url)]);
}

#[tokio::test]
async fn what_was_not_taken_before_a_restart_is_sent_after_it() {
    let endpoint = Endpoint::start(&[]).await;
    endpoint.usually(503);
    let network = Network::start_with(|config| endpoint.configure(config)).await;
    network.post("/v1/payment_intents", BARE).await.ok();
    endpoint.received_count(1).await;
    let database = network.stop().await;
    endpoint.usually(200);
    let url = database.url().to_owned();
    let network = Network::start_with(|config| {
        endpoint.configure(config);
        config.database_url = url;
    })
    .await;
    assert_settled(&network, &["delivered"]).await;
    network.stop().await;
    drop(database);
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_queued() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    assert!(deliveries(&network, &[]).await.is_empty());
    let reply = network.order("/webhooks/resend", &json!({ "payment_intent": intent })).await;
    reply.error(400, "invalid_request_error", None);
    assert_eq!(network.events().await.len(), 2);
}

#[tokio::test]
async fn an_event_or_all_of_a_payment_is_sent_again_on_demand() {
    let endpoint = Endpoint::start(&[]).await;
    let network = Network::start_with(|config| endpoint.configure(config)).await;
    network.authorize("pay_1").await;
    network.authorize("pay_2").await;
    endpoint.received_count(4).await;
    let event = id(&network.events().await[0]);
    let one = network.order("/webhooks/resend", &json!({ "event": event })).await.ok();
    assert_eq!(one["queued"], 1);
    assert_eq!(id(&endpoint.received_count(5).await[4].event), event);
    let all = network.order("/webhooks/resend", &json!({ "payment_id": "pay_2" })).await.ok();
    assert_eq!(all["queued"], 2);
    for delivery in &endpoint.received_count(7).await[5..] {
        assert_eq!(delivery.event["data"]["object"]["metadata"]["payment_id"], "pay_2");
    }
    assert_eq!(deliveries(&network, &[("event", &event)]).await.len(), 2);
    assert_eq!(deliveries(&network, &[("payment_id", "pay_2")]).await.len(), 4);
    for senseless in
        [json!({}), json!({ "event": "evt_1", "payment_id": "pay_1" }), json!({ "id": 1 })]
    {
        let reply = network.order("/webhooks/resend", &senseless).await;
        reply.error(400, "invalid_request_error", None);
    }
    let missing = network.order("/webhooks/resend", &json!({ "event": "evt_nope" })).await;
    missing.error(404, "invalid_request_error", Some("resource_missing"));
}

#[tokio::test]
async fn a_duplicated_delivery_comes_several_times() {
    let endpoint = Endpoint::start(&[]).await;
    let network = network_with(&endpoint, json!({ "kind": "duplicate" })).await;
    network.post("/v1/payment_intents", BARE).await.ok();
    let received = endpoint.received_count(3).await;
    assert!(received.iter().all(|delivery| id(&delivery.event) == id(&received[0].event)));
    assert_settled(&network, &["delivered", "delivered", "delivered"]).await;
}

#[tokio::test]
async fn a_delayed_delivery_comes_late_and_others_do_not_wait() {
    let endpoint = Endpoint::start(&[]).await;
    let fault = json!({ "kind": "delay", "payment_id": "pay_bare", "delay_ms": 2_000 });
    let network = network_with(&endpoint, fault).await;
    let ordered_at = Instant::now();
    let late = id(&network.post("/v1/payment_intents", BARE).await.ok());
    network.authorize("pay_1").await;
    let received = endpoint.received_count(3).await;
    assert!(ordered_at.elapsed() >= Duration::from_millis(2_000));
    assert_eq!(received[2].event["data"]["object"]["id"], *late);
}

#[tokio::test]
async fn a_held_back_delivery_is_overtaken_by_a_later_one_of_its_payment() {
    let endpoint = Endpoint::start(&[]).await;
    let fault =
        json!({ "kind": "reorder", "event_type": "payment_intent.created", "delay_ms": 600_000 });
    let network = network_with(&endpoint, fault).await;
    network.authorize("pay_1").await;
    let received = endpoint.received_count(2).await;
    let events: Vec<Value> = received.into_iter().map(|delivery| delivery.event).collect();
    let expected = ["payment_intent.amount_capturable_updated", "payment_intent.created"];
    assert_eq!(types(&events), expected);
}

#[tokio::test]
async fn a_lost_delivery_is_still_listed_and_can_be_sent_again() {
    let endpoint = Endpoint::start(&[]).await;
    let fault = json!({ "kind": "lose", "event_type": "payment_intent.created" });
    let network = network_with(&endpoint, fault).await;
    network.authorize("pay_1").await;
    assert_settled(&network, &["lost", "delivered"]).await;
    let kind = ("type", "payment_intent.created");
    let listed = network.get("/v1/events", &[kind]).await.ok();
    let event = id(&listed["data"][0]);
    assert_eq!(endpoint.received().len(), 1);
    network.order("/webhooks/resend", &json!({ "event": event })).await.ok();
    assert_eq!(id(&endpoint.received_count(2).await[1].event), event);
}

#[tokio::test]
async fn a_forged_or_stale_try_is_followed_by_a_good_one_when_refused() {
    for (kind, ages_s) in [("forge", 0..60), ("stale", 301..1_000)] {
        let endpoint = Endpoint::start(&[]).await;
        let network = network_with(&endpoint, json!({ "kind": kind })).await;
        network.post("/v1/payment_intents", BARE).await.ok();
        let received = endpoint.received_count(2).await;
        assert!(!received[0].valid && received[1].valid, "{kind}: {received:?}");
        assert!(ages_s.contains(&received[0].age_s), "{kind}: {received:?}");
        assert_settled(&network, &["delivered"]).await;
    }
}

#[tokio::test]
async fn under_seeded_faults_a_strict_endpoint_hears_of_all_that_was_not_lost() {
    let endpoint = Endpoint::start(&[]).await;
    let network = Network::start_with(|config| {
        endpoint.configure(config);
        config.webhooks.fault_seed = Some(7);
        config.webhooks.fault_rate_percent = 80;
    })
    .await;
    for payment in 0..10 {
        let payment_id = format!("pay_{payment}");
        let fields = authorization("pm_card_visa", &payment_id);
        network.post("/v1/payment_intents", &fields).await.ok();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while !deliveries(&network, &[("state", "pending")]).await.is_empty() {
        assert!(Instant::now() < deadline, "some are never delivered");
        sleep(Duration::from_millis(20)).await;
    }
    let lost = deliveries(&network, &[("state", "lost")]).await;
    assert!(!lost.is_empty());
    let heard: Vec<String> = endpoint
        .received()
        .iter()
        .filter(|delivery| delivery.valid)
        .map(|d| id(&d.event))
        .collect();
    for event in network.events().await {
        let lost = lost.iter().any(|delivery| delivery["event"] == event["id"]);
        assert_eq!(heard.contains(&id(&event)), !lost, "{event}");
    }
}

#[tokio::test]
async fn armed_faults_of_deliveries_are_shown_and_disarmed() {
    let network = Network::start().await;
    let fault = json!({ "kind": "lose", "times": 3, "payment_id": "pay_1" });
    let armed = network.order("/webhooks/faults", &fault).await.ok();
    assert_eq!(armed["armed"][0]["times"], 3);
    for senseless in [json!({ "kind": "melt" }), json!({ "kind": "lose", "times": 0 }), json!({})] {
        assert_eq!(network.order("/webhooks/faults", &senseless).await.status, 400);
    }
    let request = network.request(Method::DELETE, "/webhooks/faults?payment_id=pay_2");
    let left = Reply::read(request.send().await.expect("an answer")).await.ok();
    assert_eq!(left["armed"][0]["payment_id"], "pay_1", "{left}");
    let request = network.request(Method::DELETE, "/webhooks/faults");
    Reply::read(request.send().await.expect("an answer")).await.ok();
    assert_eq!(network.get("/webhooks/faults", &[]).await.ok()["armed"], json!([]));
}

async fn network_with(endpoint: &Endpoint, fault: Value) -> Network {
    let network = Network::start_with(|config| endpoint.configure(config)).await;
    network.order("/webhooks/faults", &fault).await.ok();
    network
}

async fn deliveries(network: &Network, query: Fields<'_>) -> Vec<Value> {
    let list = network.get("/webhooks", query).await.ok();
    list["deliveries"].as_array().expect("deliveries").clone()
}

/// Waits until the deliveries, in their order, are in these states.
async fn assert_settled(network: &Network, states: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let deliveries = deliveries(network, &[]).await;
        if deliveries.iter().map(|delivery| &delivery["state"]).eq(states) {
            return;
        }
        assert!(Instant::now() < deadline, "not {states:?}: {deliveries:#?}");
        sleep(Duration::from_millis(10)).await;
    }
}
