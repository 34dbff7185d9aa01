//! An order's life after it is paid: in parcels, from the operator's word to the last one's arrival.

use std::time::Duration;

use domain::CheckoutId;
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::law::{self, When};
use temporalio_client::{WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowQueryOptions};
use tests::{Answer, Customer, Shop, Spec, eventually};
use workflows::{FulfilmentStatus, FulfilmentWorkflow};

/// A customer with an order of so many mugs, paid.
pub(crate) async fn sold(shop: &Shop, quantity: i64) -> (Customer, CheckoutId) {
    let ada = shop.customer().await.with("MUG-1", quantity).await;
    let sold = ada.buy("pm_card_visa").await;
    assert_eq!(sold.state(), Some("completed"), "{:#}", sold.body);
    (ada, sold.checkout())
}

/// Sends so many mugs of an order, or all that is left of it.
pub(crate) async fn ship(
    operator: &Customer,
    checkout: CheckoutId,
    tracking_number: &str,
    quantity: Option<i64>,
) -> Answer {
    let mut body = json!({ "carrier": "dhl", "tracking_number": tracking_number });
    if let Some(quantity) = quantity {
        body["lines"] = json!([{ "sku": "MUG-1", "quantity": quantity }]);
    }
    operator.send(Method::POST, &shipments_of(checkout), &[], Some(body)).await
}

/// Says of the shipment in an answer that this has happened to it.
pub(crate) async fn tell(operator: &Customer, made: &Answer, event_id: &str, kind: &str) -> Answer {
    let id = made.body["id"].as_str().unwrap_or_else(|| panic!("no shipment in {:#}", made.body));
    let body = json!({ "event_id": event_id, "kind": kind });
    operator.send(Method::POST, &format!("/v1/admin/shipments/{id}/events"), &[], Some(body)).await
}

/// What a fulfilment wants people to look at, once it does.
pub(crate) async fn attention(shop: &Shop, checkout: CheckoutId) -> String {
    eventually("somebody is called for", || async { status(shop, checkout).await?.attention() })
        .await
}

pub(crate) async fn until(shop: &Shop, checkout: CheckoutId, state: &str) {
    eventually(&format!("the order is {state}"), || async {
        (shop.order_state(checkout).await.as_deref() == Some(state)).then_some(())
    })
    .await;
}

/// How often something was announced of anything.
pub(crate) async fn announced(shop: &Shop, topic: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM outbox WHERE topic = $1")
        .bind(topic)
        .fetch_one(&shop.db)
        .await
        .expect("a count")
}

/// Waits until the workers have told of every event that carriers told us.
pub(crate) async fn all_told(shop: &Shop) {
    eventually("every event is told", || async {
        let waiting = "SELECT count(*) FROM carrier_event_waiting";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&shop.db).await.expect("a count");
        (waiting == 0).then_some(())
    })
    .await;
}

fn shipments_of(checkout: CheckoutId) -> String {
    format!("/v1/admin/orders/{}/shipments", checkout.order())
}

async fn status(shop: &Shop, checkout: CheckoutId) -> Option<FulfilmentStatus> {
    let handle =
        shop.engine.get_workflow_handle::<FulfilmentWorkflow>(checkout.order().to_string());
    handle.query(FulfilmentWorkflow::status, (), WorkflowQueryOptions::default()).await.ok()
}

pub(crate) async fn cancel_fulfilment(shop: &Shop, checkout: CheckoutId) {
    let id = checkout.order().to_string();
    let handle = shop.engine.get_workflow_handle::<FulfilmentWorkflow>(id);
    handle.cancel(WorkflowCancelOptions::default()).await.expect("it is running");
}

pub(crate) async fn fulfilment_ended(shop: &Shop, checkout: CheckoutId) {
    let handle =
        shop.engine.get_workflow_handle::<FulfilmentWorkflow>(checkout.order().to_string());
    eventually("the fulfilment has ended", || async {
        handle.describe(WorkflowDescribeOptions::default()).await.ok()?.close_time()
    })
    .await;
}

/// What happened to an order, as its customer reads it.
async fn story(customer: &Customer, checkout: CheckoutId) -> Vec<String> {
    let order = customer.get(&format!("/v1/orders/{}", checkout.order())).await;
    let events = order.body["events"].as_array().expect("events");
    events.iter().map(|event| event["kind"].as_str().expect("a kind").to_owned()).collect()
}

#[tokio::test]
async fn an_order_in_two_parcels_is_shipped_when_both_have_left_and_delivered_when_both_arrived() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let (ada, order) = sold(&shop, 3).await;
    let operator = shop.operator("ada").await;

    let one = ship(&operator, order, "T-1", Some(1)).await;
    let rest = ship(&operator, order, "T-2", None).await;

    assert_eq!((one.status, one.state()), (StatusCode::CREATED, Some("created")), "{:#}", one.body);
    assert_eq!(rest.body["lines"], json!([{ "sku": "MUG-1", "quantity": 2 }]), "{:#}", rest.body);
    assert_eq!(shop.order_state(order).await.as_deref(), Some("paid"));
    for (parcel, event, kind, state) in [
        (&one, "e-1", "dispatched", "partially_shipped"),
        (&rest, "e-2", "dispatched", "shipped"),
        (&one, "e-3", "delivered", "shipped"),
        (&rest, "e-4", "delivered", "delivered"),
    ] {
        let told = tell(&operator, parcel, event, kind).await;
        assert_eq!((told.status, told.state()), (StatusCode::OK, Some(kind)), "{:#}", told.body);
        assert_eq!(shop.order_state(order).await.as_deref(), Some(state));
    }

    fulfilment_ended(&shop, order).await;
    let mut expected = vec!["opened", "placed", "paid", "shipment_created", "shipment_created"];
    expected.extend(["shipment_dispatched", "partially_shipped", "shipment_dispatched", "shipped"]);
    expected.extend(["shipment_delivered", "shipment_delivered", "delivered"]);
    assert_eq!(story(&ada, order).await, expected);
    for topic in ["shipment.created", "shipment.dispatched", "shipment.delivered"] {
        assert_eq!(announced(&shop, topic).await, 2, "{topic}");
    }
    for topic in ["order.partially_shipped", "order.shipped", "order.delivered"] {
        assert_eq!(announced(&shop, topic).await, 1, "{topic}");
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_parcel_asked_for_many_times_at_once_is_one_and_no_unit_is_shipped_twice() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    let (_, order) = sold(&shop, 3).await;
    let (_, another) = sold(&shop, 2).await;
    let operator = shop.operator("ada").await;

    let answers = join_all((0..8).map(|_| ship(&operator, order, "T-1", Some(2)))).await;
    let too_many = ship(&operator, order, "T-2", Some(2)).await;
    let other_lines = ship(&operator, order, "T-1", Some(1)).await;
    let other_order = ship(&operator, another, "T-1", None).await;
    let rest = ship(&operator, order, "T-2", None).await;
    let nothing = ship(&operator, order, "T-3", None).await;

    let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(created, 1);
    for answer in &answers {
        assert!(answer.status.is_success(), "{:#}", answer.body);
        assert_eq!(answer.body["id"], answers[0].body["id"]);
    }
    assert_eq!(
        (too_many.status, too_many.code()),
        (StatusCode::CONFLICT, Some("not_left_to_ship"))
    );
    assert_eq!(too_many.body["lines"], json!([{ "sku": "MUG-1", "wanted": 2, "available": 1 }]));
    assert_eq!(other_lines.code(), Some("tracking_number_reused"), "{:#}", other_lines.body);
    assert_eq!(other_order.code(), Some("tracking_number_reused"), "{:#}", other_order.body);
    assert_eq!(rest.body["lines"], json!([{ "sku": "MUG-1", "quantity": 1 }]));
    assert_eq!(nothing.code(), Some("not_left_to_ship"), "{:#}", nothing.body);
    assert_eq!(announced(&shop, "shipment.created").await, 2);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn events_that_come_twice_or_out_of_order_deliver_an_order_once_and_it_stays_delivered() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let (_, order) = sold(&shop, 2).await;
    let operator = shop.operator("ada").await;
    let parcel = ship(&operator, order, "T-1", None).await;

    let delivered = tell(&operator, &parcel, "e-2", "delivered").await;
    all_told(&shop).await;
    let before = shop.contents().await;
    let again = tell(&operator, &parcel, "e-2", "delivered").await;
    assert_eq!(shop.contents().await, before);
    let late = tell(&operator, &parcel, "e-1", "dispatched").await;
    // Told again when nobody listens any more, it was applied all the same.
    fulfilment_ended(&shop, order).await;
    let much_later = tell(&operator, &parcel, "e-2", "delivered").await;
    let other = tell(&operator, &parcel, "e-1", "delivered").await;
    let shipped_again = ship(&operator, order, "T-1", None).await;

    let replayed = |answer: &Answer| answer.headers.contains_key("idempotency-replayed");
    assert!(!replayed(&delivered) && replayed(&again) && replayed(&much_later));
    assert_eq!(much_later.status, StatusCode::OK, "{:#}", much_later.body);
    for answer in [&delivered, &again, &late, &much_later, &shipped_again] {
        assert!(answer.status.is_success(), "{:#}", answer.body);
        assert_eq!(answer.state(), Some("delivered"));
    }
    assert_eq!((other.status, other.code()), (StatusCode::CONFLICT, Some("event_id_reused")));
    all_told(&shop).await;
    assert_eq!(shop.order_state(order).await.as_deref(), Some("delivered"));
    assert_eq!(announced(&shop, "order.delivered").await, 1);
    assert_eq!(announced(&shop, "order.shipped").await, 0);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_customer_sees_the_shipments_of_their_own_orders_and_only_operators_ship() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let (ada, order) = sold(&shop, 2).await;
    let eve = shop.customer().await.with("MUG-1", 1).await;
    let unpaid = crate::expiry::start(&eve).await;
    let operator = shop.operator("ada").await;
    let parcel = ship(&operator, order, "T-1", None).await;
    let path = format!("/v1/orders/{}", order.order());

    let mine = ada.get(&path).await;
    let theirs = eve.get(&path).await;
    let listed = operator.get(&shipments_of(order)).await;
    let by_customer = ship(&ada, order, "T-2", None).await;
    let told_by_customer = tell(&ada, &parcel, "e-1", "delivered").await;
    let not_paid = ship(&operator, unpaid, "T-3", None).await;
    let nobodys = ship(&operator, CheckoutId::from(uuid::Uuid::nil()), "T-4", None).await;

    assert_eq!(mine.body["shipments"], json!([parcel.body]));
    assert_eq!(listed.body["shipments"], mine.body["shipments"]);
    assert_eq!(theirs.status, StatusCode::NOT_FOUND);
    assert_eq!(by_customer.status, StatusCode::FORBIDDEN);
    assert_eq!(told_by_customer.status, StatusCode::FORBIDDEN);
    assert_eq!((not_paid.status, not_paid.code()), (StatusCode::CONFLICT, Some("invalid_state")));
    assert_eq!(nobodys.status, StatusCode::NOT_FOUND);
    eve.cancel(unpaid).await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_operator_reads_what_to_ship_and_where_to_and_who_sent_it_is_on_record() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let (ada, order) = sold(&shop, 2).await;
    let operator = shop.operator("olga").await;
    let path = format!("/v1/admin/orders/{}", order.order());

    let to_ship = operator.get(&path).await;
    let by_customer = ada.get(&path).await;
    let nobodys = operator.get("/v1/admin/orders/ord_00000000000000000000000000").await;
    let parcel = ship(&operator, order, "T-1", None).await;
    tell(&shop.operator("bob").await, &parcel, "e-1", "dispatched").await;
    until(&shop, order, "shipped").await;
    let told = operator.get(&format!("{path}/timeline")).await;

    let mine = ada.get(&format!("/v1/orders/{}", order.order())).await;
    assert_eq!(to_ship.status, StatusCode::OK, "{:#}", to_ship.body);
    assert_eq!(to_ship.body["lines"], mine.body["lines"]);
    assert_eq!(to_ship.body["email"], "ada@example.com");
    assert_eq!(to_ship.body["shipping_address"]["city"], "Berlin");
    assert_eq!(by_customer.status, StatusCode::FORBIDDEN);
    assert_eq!(nobodys.status, StatusCode::NOT_FOUND);
    let by = |kind: &str| {
        let entries = told.body["entries"].as_array().expect("entries");
        let of_order = entries.iter().find(|e| e["source"] == "order" && e["kind"] == kind);
        of_order.unwrap_or_else(|| panic!("no {kind} in {:#}", told.body))["detail"]["actor"]
            .clone()
    };
    assert_eq!((by("shipment_created"), by("shipment_dispatched")), (json!("olga"), json!("bob")));
    let named: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox WHERE payload::text LIKE '%olga%'")
            .fetch_one(&shop.db)
            .await
            .expect("a count");
    assert_eq!(named, 0, "who works here is nobody else's business");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_shipment_that_cannot_be_is_refused_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let (_, order) = sold(&shop, 1).await;
    let operator = shop.operator("ada").await;
    shop.fulfilment(order).await;
    let before = shop.contents().await;
    let line = |quantity: i64| json!({ "sku": "MUG-1", "quantity": quantity });

    for (lines, carrier, tracking_number, pointer) in [
        (Value::Null, "DHL", "T-1", "/carrier"),
        (Value::Null, "dhl", "T 1", "/tracking_number"),
        (json!([]), "dhl", "T-1", "/lines"),
        (json!([line(1), line(1)]), "dhl", "T-1", "/lines"),
        (json!([line(0)]), "dhl", "T-1", "/lines/0/quantity"),
    ] {
        let body =
            json!({ "carrier": carrier, "tracking_number": tracking_number, "lines": lines });
        let refused = operator.send(Method::POST, &shipments_of(order), &[], Some(body)).await;
        assert_eq!(refused.code(), Some("validation_failed"), "{:#}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{:#}", refused.body);
    }

    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_is_not_shipped_or_does_not_arrive_calls_for_people_once_and_is_still_delivered() {
    let second = Duration::from_secs(1);
    let shop =
        Shop::open_with(Spec { ship_within: second, deliver_within: second, ..Spec::default() })
            .await;
    shop.stock("MUG-1", 1, 1299).await;
    let (_, order) = sold(&shop, 1).await;
    let operator = shop.operator("ada").await;

    let unshipped = attention(&shop, order).await;
    let parcel = ship(&operator, order, "T-1", None).await;
    tell(&operator, &parcel, "e-1", "dispatched").await;
    let lost = eventually("the parcel is missed", || async {
        status(&shop, order).await?.attention().filter(|text| text.contains("arrived"))
    })
    .await;
    let attentions = announced(&shop, "order.attention").await;
    let delivered = tell(&operator, &parcel, "e-2", "delivered").await;

    assert!(unshipped.contains("not everything is shipped"), "{unshipped}");
    assert!(lost.contains(parcel.body["id"].as_str().expect("an id")), "{lost}");
    assert_eq!(attentions, 2);
    assert_eq!(delivered.state(), Some("delivered"), "{:#}", delivered.body);
    fulfilment_ended(&shop, order).await;
    assert_eq!(status(&shop, order).await.and_then(|status| status.attention()), None);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_fulfilment_that_continues_as_new_forgets_nothing() {
    let shop = Shop::open_with(Spec { fulfilment_events_per_run: 2, ..Spec::default() }).await;
    shop.stock("MUG-1", 3, 1299).await;
    let (_, order) = sold(&shop, 3).await;
    let operator = shop.operator("ada").await;
    let first_run = shop.fulfilment(order).await;

    let mut parcels = Vec::new();
    for number in ["T-1", "T-2", "T-3"] {
        parcels.push(shipped(&operator, order, number).await);
    }
    let second_run = eventually("it goes on in a new run", || async {
        shop.fulfilment_run(order).await.filter(|run| *run != first_run)
    })
    .await;
    let kept = eventually("the new run knows everything", || async {
        status(&shop, order).await.filter(|status| status.shipments.len() == 3)
    })
    .await;
    for (number, parcel) in parcels.iter().enumerate() {
        told(&operator, parcel, &format!("e-{number}"), "dispatched").await;
        told(&operator, parcel, &format!("f-{number}"), "delivered").await;
    }

    assert_ne!(first_run, second_run);
    assert_eq!(kept.order.as_str(), "paid");
    until(&shop, order, "delivered").await;
    fulfilment_ended(&shop, order).await;
    shop.assert_lawful().await;
}

/// Sends one mug, again for as long as nobody can say whether it was done.
async fn shipped(operator: &Customer, order: CheckoutId, number: &str) -> Answer {
    let answer = eventually("the parcel is made", || async {
        let answer = ship(operator, order, number, Some(1)).await;
        (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await;
    assert!(answer.status.is_success(), "{:#}", answer.body);
    answer
}

async fn told(operator: &Customer, parcel: &Answer, event_id: &str, kind: &str) {
    let answer = tell(operator, parcel, event_id, kind).await;
    assert!(answer.status.is_success(), "{:#}", answer.body);
}

#[tokio::test]
async fn a_worker_killed_while_it_makes_a_parcel_makes_it_once() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let (_, order) = sold(&shop, 2).await;
    let operator = shop.operator("ada").await;
    shop.fulfilment(order).await;
    let mut lock = shop.db.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM customer_order WHERE id = $1 FOR UPDATE")
        .bind(order.uuid())
        .execute(&mut *lock)
        .await
        .expect("a lock");

    let asking = {
        let operator = operator.clone();
        tokio::spawn(async move { ship(&operator, order, "T-1", None).await })
    };
    eventually("the step waits for the order", || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&shop.db).await.expect("a count");
        (waiting > 0).then_some(())
    })
    .await;
    shop.kill_worker(0);
    lock.rollback().await.expect("an end");
    shop.start_worker(0);
    drop(asking.await.expect("an answer"));

    let parcel = eventually("somebody answers", || async {
        let answer = ship(&operator, order, "T-1", None).await;
        answer.status.is_success().then_some(answer)
    })
    .await;
    assert_eq!(parcel.body["lines"], json!([{ "sku": "MUG-1", "quantity": 2 }]));
    assert_eq!(announced(&shop, "shipment.created").await, 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_fulfilment_called_off_before_anything_left_ends_and_its_parcels_with_it() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let (_, order) = sold(&shop, 2).await;
    let operator = shop.operator("ada").await;
    let parcel = ship(&operator, order, "T-1", Some(1)).await;

    cancel_fulfilment(&shop, order).await;
    fulfilment_ended(&shop, order).await;
    let late = tell(&operator, &parcel, "e-1", "dispatched").await;

    assert!(late.status.is_success(), "{:#}", late.body);
    assert_eq!(late.state(), Some("cancelled"));
    assert_eq!(shop.order_state(order).await.as_deref(), Some("paid"));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_fulfilment_called_off_after_something_left_goes_on_until_it_is_delivered() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let (_, order) = sold(&shop, 2).await;
    let operator = shop.operator("ada").await;
    let one = ship(&operator, order, "T-1", Some(1)).await;
    told(&operator, &one, "e-1", "dispatched").await;

    cancel_fulfilment(&shop, order).await;
    let other = shipped(&operator, order, "T-2").await;
    told(&operator, &one, "e-2", "delivered").await;
    told(&operator, &other, "e-3", "delivered").await;

    until(&shop, order, "delivered").await;
    fulfilment_ended(&shop, order).await;
    shop.assert_lawful().await;
}

/// Between the step that calls it off and the word of that to its fulfilment.
#[tokio::test]
async fn a_parcel_that_leaves_as_its_order_is_called_off_is_followed_and_the_order_is_not_shipped()
{
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let (_, order) = sold(&shop, 1).await;
    let operator = shop.operator("ada").await;
    let parcel = ship(&operator, order, "T-1", None).await;
    let call_off = "UPDATE customer_order SET called_off_at = now() WHERE id = $1";
    sqlx::query(call_off).bind(order.uuid()).execute(&shop.db).await.expect("an update");

    for (event, kind) in [("e-1", "dispatched"), ("e-2", "delivered")] {
        let told = tell(&operator, &parcel, event, kind).await;
        assert_eq!((told.status, told.state()), (StatusCode::OK, Some(kind)), "{:#}", told.body);
        assert_eq!(shop.order_state(order).await.as_deref(), Some("paid"));
    }
    fulfilment_ended(&shop, order).await;
    let audit = law::audit(&shop.db, &shop.shards, When::Always).await.expect("an audit");
    assert!(audit.breaches.is_empty(), "{:#?}", audit.breaches);
}
