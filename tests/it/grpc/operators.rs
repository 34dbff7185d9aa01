//! What operators do over gRPC: the same as over HTTP, under the same codes.

use api::grpc::proto::{
    self, CreateRefundRequest, CreateShipmentRequest, DeliveryState, GetOrderRequest,
    ListDeliveriesRequest, ListRefundsRequest, ListShipmentsRequest, ListWebhookEndpointsRequest,
    ParcelEvent, RecordShipmentEventRequest, RecordedShipmentEvent, Refund, RefundState,
    RegisterWebhookEndpointRequest, RemoveWebhookEndpointRequest, ResolutionAction,
    ResolveCheckoutRequest, RestockRequest, Restocked, RetryDeliveryRequest, Shipment,
    ShipmentState, StockLine,
};
use domain::CheckoutId;
use tests::{Listener, Shop, Spec, eventually};
use tonic::{Code, Response, Status};

use super::caller::{Admin, assert_refused, error_info, eur, replayed};
use crate::{
    admin::easily_alarmed,
    shipping::{sold, until},
};

/// An order that nobody has.
const NOBODYS: &str = "ord_00000000000000000000000000";

impl Admin {
    async fn olga(shop: &Shop) -> Self {
        Self::arrive(shop, shop.operator("olga").await.token()).await
    }

    async fn refund(&mut self, new: CreateRefundRequest) -> Result<Response<Refund>, Status> {
        let request = self.asks(new);
        self.client.create_refund(request).await
    }

    async fn ship(&mut self, new: CreateShipmentRequest) -> Result<Response<Shipment>, Status> {
        let request = self.asks(new);
        self.client.create_shipment(request).await
    }

    async fn restock(&mut self, new: RestockRequest) -> Result<Response<Restocked>, Status> {
        let request = self.asks(new);
        self.client.restock(request).await
    }

    async fn resolve(
        &mut self,
        checkout_id: &str,
        action: ResolutionAction,
        reason: &str,
    ) -> Result<proto::ResolvedCheckout, Status> {
        let request = self.asks(ResolveCheckoutRequest {
            checkout_id: checkout_id.to_owned(),
            action: action.into(),
            reason: reason.to_owned(),
        });
        self.client.resolve_checkout(request).await.map(Response::into_inner)
    }

    async fn record(
        &mut self,
        event: RecordShipmentEventRequest,
    ) -> Result<RecordedShipmentEvent, Status> {
        let request = self.asks(event);
        self.client.record_shipment_event(request).await.map(Response::into_inner)
    }

    async fn deliveries(&mut self, state: i32) -> Result<Vec<proto::Delivery>, Status> {
        let request = self.asks(ListDeliveriesRequest { state, ..Default::default() });
        self.client.list_deliveries(request).await.map(|listed| listed.into_inner().deliveries)
    }
}

fn mugs(quantity: i64) -> Vec<StockLine> {
    vec![StockLine { sku: "MUG-1".into(), quantity }]
}

fn parcel(order_id: &str, tracking_number: &str, lines: Vec<StockLine>) -> CreateShipmentRequest {
    let (order_id, tracking_number) = (order_id.to_owned(), tracking_number.to_owned());
    CreateShipmentRequest { order_id, carrier: "dhl".into(), tracking_number, lines }
}

fn money_back(order_id: &str, minor: i64, reference: &str) -> CreateRefundRequest {
    CreateRefundRequest {
        order_id: order_id.to_owned(),
        amount: Some(eur(minor)),
        reason: "damaged".into(),
        reference: reference.to_owned(),
        wait_seconds: Some(20),
    }
}

fn came_back(order_id: &str, quantity: i64, reference: &str) -> RestockRequest {
    let (order_id, reference) = (order_id.to_owned(), reference.to_owned());
    RestockRequest { order_id, lines: mugs(quantity), reason: "came back".into(), reference }
}

fn seen(shipment_id: &str, event_id: &str, kind: ParcelEvent) -> RecordShipmentEventRequest {
    RecordShipmentEventRequest {
        shipment_id: shipment_id.to_owned(),
        event_id: event_id.to_owned(),
        kind: kind.into(),
        at: None,
    }
}

async fn shop_with_mugs(quantity: i64) -> Shop {
    let shop = Shop::open().await;
    shop.stock("MUG-1", quantity, 1299).await;
    shop
}

async fn order_of(shop: &Shop, quantity: i64) -> (CheckoutId, String) {
    let (_, checkout) = sold(shop, quantity).await;
    (checkout, checkout.order().to_string())
}

#[tokio::test]
async fn an_operator_sends_an_order_in_parcels_and_says_where_they_are() {
    let shop = shop_with_mugs(3).await;
    let (checkout, order) = order_of(&shop, 3).await;
    let mut olga = Admin::olga(&shop).await;

    let one = olga.ship(parcel(&order, "T-1", mugs(1))).await.expect("made");
    let again = olga.ship(parcel(&order, "T-1", mugs(1))).await.expect("the same");
    let rest = olga.ship(parcel(&order, "T-2", vec![])).await.expect("made").into_inner();
    assert_eq!((replayed(&one), replayed(&again)), (false, true));
    let one = one.into_inner();
    assert_eq!(one, again.into_inner());
    assert_eq!((one.state(), rest.state()), (ShipmentState::Created, ShipmentState::Created));
    assert_eq!((one.lines, rest.lines), (mugs(1), mugs(2)));
    for (id, event_id) in [(&one.id, "e-1"), (&rest.id, "e-2")] {
        let told = olga.record(seen(id, event_id, ParcelEvent::Dispatched)).await.expect("kept");
        let shipment = told.shipment.expect("a shipment");
        assert_eq!((told.applied, shipment.state()), (true, ShipmentState::Dispatched));
        assert!(shipment.dispatched_at.is_some(), "{shipment:?}");
    }

    until(&shop, checkout, "shipped").await;
    let list = olga.asks(ListShipmentsRequest { order_id: order.clone() });
    let listed = olga.client.list_shipments(list).await.expect("shipments").into_inner();
    let numbers = listed.shipments.iter().map(|shipment| shipment.tracking_number.as_str());
    assert_eq!(numbers.collect::<Vec<_>>(), ["T-1", "T-2"]);
    let seen_whole = olga.asks(GetOrderRequest { id: order.clone() });
    let to_ship = olga.client.get_order(seen_whole).await.expect("the order").into_inner();
    assert_eq!(to_ship.order.expect("an order").shipments, listed.shipments);
    assert_eq!(to_ship.email, "ada@example.com");
    assert_eq!(to_ship.shipping_address.expect("an address").country, "DE");

    let reused = olga.ship(parcel(&order, "T-1", mugs(2))).await.expect_err("another parcel");
    assert_refused(&reused, Code::AlreadyExists, "tracking_number_reused");
    let none_left = olga.ship(parcel(&order, "T-3", mugs(1))).await.expect_err("all is sent");
    assert_refused(&none_left, Code::FailedPrecondition, "not_left_to_ship");
    let reused = olga.record(seen(&one.id, "e-2", ParcelEvent::Delivered)).await;
    assert_refused(&reused.expect_err("another"), Code::AlreadyExists, "event_id_reused");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_operator_gives_money_back_once_for_each_reference() {
    let shop = shop_with_mugs(1).await;
    let (checkout, order) = order_of(&shop, 1).await;
    let mut olga = Admin::olga(&shop).await;

    let part = olga.refund(money_back(&order, 500, "part")).await.expect("made");
    let again = olga.refund(money_back(&order, 500, "part")).await.expect("the same");
    let other = olga.refund(money_back(&order, 501, "part")).await.expect_err("another");
    let too_much = olga.refund(money_back(&order, 800, "more")).await.expect_err("too much");
    let all = CreateRefundRequest { amount: None, ..money_back(&order, 0, "rest") };
    let rest = olga.refund(all).await.expect("made").into_inner();

    assert_eq!((replayed(&part), replayed(&again)), (false, true));
    let part = part.into_inner();
    assert_eq!(part, again.into_inner());
    assert_eq!((part.state(), part.actor.as_str()), (RefundState::Succeeded, "olga"));
    assert!(part.provider_ref.is_some() && part.decided_at.is_some(), "{part:?}");
    assert_refused(&other, Code::AlreadyExists, "reference_reused");
    assert_refused(&too_much, Code::FailedPrecondition, "refund_exceeds_captured");
    let left: serde_json::Value =
        serde_json::from_str(&error_info(&too_much).metadata["left"]).expect("JSON");
    assert_eq!(left, serde_json::json!({ "minor": 799, "currency": "EUR" }));
    assert_eq!(rest.amount, Some(eur(799)));
    let list = olga.asks(ListRefundsRequest { order_id: order });
    let listed = olga.client.list_refunds(list).await.expect("refunds").into_inner();
    assert_eq!((listed.refunds, listed.left), (vec![part, rest], Some(eur(0))));
    assert_eq!(shop.payment(checkout).await.refunds, 2);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_operator_puts_what_came_back_on_the_shelf_once() {
    let shop = shop_with_mugs(2).await;
    let (_, order) = order_of(&shop, 2).await;
    let mut olga = Admin::olga(&shop).await;

    let first = olga.restock(came_back(&order, 1, "box-1")).await.expect("booked");
    let again = olga.restock(came_back(&order, 1, "box-1")).await.expect("the same");
    let other = olga.restock(came_back(&order, 2, "box-1")).await.expect_err("another");
    let too_many = olga.restock(came_back(&order, 2, "box-2")).await.expect_err("too many");

    assert_eq!((replayed(&first), replayed(&again)), (false, true));
    assert_eq!(first.into_inner().lines, mugs(1));
    assert_refused(&other, Code::AlreadyExists, "reference_reused");
    assert_refused(&too_many, Code::FailedPrecondition, "restock_exceeds_sold");
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 2));
    let actor: String = sqlx::query_scalar("SELECT actor FROM restock")
        .fetch_one(&shop.db)
        .await
        .expect("a record");
    assert_eq!(actor, "olga");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_resolution_over_grpc_is_recorded_with_its_operator_and_reason() {
    let shop = easily_alarmed().await;
    let mut olga = Admin::olga(&shop).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    shop.kill_paysim();
    let checkout = ada.buy("pm_card_visa").await.checkout();
    ada.until(checkout, "needs_attention").await;
    let id = checkout.to_string();

    let silent = olga.resolve(&id, ResolutionAction::GiveUp, "").await.expect_err("no reason");
    let vague = olga.resolve(&id, ResolutionAction::Unspecified, "x").await.expect_err("no action");
    let told = olga.resolve(&id, ResolutionAction::GiveUp, "the network is down").await;

    for refused in [silent, vague] {
        assert_refused(&refused, Code::InvalidArgument, "validation_failed");
    }
    assert_eq!(told.expect("told").checkout_id, id);
    ada.until(checkout, "cancelled").await;
    let late =
        olga.resolve(&id, ResolutionAction::Retry, "too late").await.expect_err("it is over");
    assert_refused(&late, Code::FailedPrecondition, "invalid_state");
    assert_eq!(error_info(&late).metadata["state"], "cancelled");
    let recorded: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT action, actor, reason, taken_at IS NOT NULL FROM checkout_resolution ORDER BY id",
    )
    .fetch_all(&shop.db)
    .await
    .expect("a record");
    let row = |action: &str, reason: &str, taken| {
        (action.to_owned(), "olga".to_owned(), reason.to_owned(), taken)
    };
    assert_eq!(
        recorded,
        [row("give_up", "the network is down", true), row("retry", "too late", false)]
    );
    shop.start_paysim().await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_operator_has_events_posted_and_what_was_given_up_tried_again() {
    let shop = Shop::open_with(Spec {
        worker_settings: vec![
            ("WEBHOOKS_ALLOW_PRIVATE", "true".to_owned()),
            ("DELIVERY_TRIES_MAX", "1".to_owned()),
        ],
        ..Spec::default()
    })
    .await;
    shop.stock("MUG-1", 1, 1299).await;
    let mut olga = Admin::olga(&shop).await;
    let listener = Listener::start_answering([500]).await;
    let topics = vec!["order.paid".to_owned()];
    let new =
        |url: &str| RegisterWebhookEndpointRequest { url: url.into(), topics: topics.clone() };
    let register = olga.asks(new(&listener.url));
    let registered = olga.client.register_webhook_endpoint(register).await.expect("registered");
    let registered = registered.into_inner();
    let register = olga.asks(new("http://example.com/"));
    let refused = olga.client.register_webhook_endpoint(register).await.expect_err("no https");
    let list = olga.asks(ListWebhookEndpointsRequest {});
    let listed = olga.client.list_webhook_endpoints(list).await.expect("endpoints").into_inner();

    sold(&shop, 1).await;
    let dead = eventually("the delivery is given up", || {
        let mut olga = olga.clone();
        async move { olga.deliveries(DeliveryState::Dead.into()).await.ok()?.pop() }
    })
    .await;
    let retry = olga.asks(RetryDeliveryRequest { id: dead.id.clone() });
    let retried = olga.client.retry_delivery(retry).await.expect("retried").into_inner();

    assert!(registered.secret.as_ref().is_some_and(|secret| secret.starts_with("whsec_")));
    assert_refused(&refused, Code::InvalidArgument, "validation_failed");
    assert_eq!(listed.endpoints, [proto::WebhookEndpoint { secret: None, ..registered.clone() }]);
    assert_eq!(
        (dead.topic.as_str(), dead.tries, dead.last_error.as_deref(), &dead.endpoint_id),
        ("order.paid", 1, Some("the endpoint answered 500"), &Some(registered.id.clone()))
    );
    assert_eq!((retried.state(), retried.ended_at), (DeliveryState::Waiting, None));
    listener.hears_of("order.paid").await;
    eventually("it is delivered", || {
        let mut olga = olga.clone();
        async move { olga.deliveries(DeliveryState::Delivered.into()).await.ok()?.pop() }
    })
    .await;
    let nonsense = olga.deliveries(99).await.expect_err("no such state");
    assert_refused(&nonsense, Code::InvalidArgument, "validation_failed");
    for expected in [None, Some((Code::NotFound, "not_found"))] {
        let remove = olga.asks(RemoveWebhookEndpointRequest { id: registered.id.clone() });
        match (olga.client.remove_webhook_endpoint(remove).await, expected) {
            (Ok(_), None) => {}
            (Err(refused), Some((code, reason))) => assert_refused(&refused, code, reason),
            (answer, expected) => panic!("{answer:?}, not {expected:?}"),
        }
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_the_codes_of_http_and_changes_nothing() {
    let shop = shop_with_mugs(1).await;
    let (checkout, order) = order_of(&shop, 1).await;
    shop.fulfilment(checkout).await;
    let mut olga = Admin::olga(&shop).await;
    let before = shop.contents().await;

    let none: Vec<StockLine> = vec![];
    let twice = [mugs(1), mugs(1)].concat();
    let invalid = [
        olga.refund(money_back(&order, 0, "r")).await.map(drop),
        olga.refund(money_back(&order, 1, "cancel")).await.map(drop),
        olga.refund(money_back(&order, -1, "r")).await.map(drop),
        olga.refund(CreateRefundRequest { reason: String::new(), ..money_back(&order, 1, "r") })
            .await
            .map(drop),
        olga.ship(parcel(&order, "T 1", mugs(1))).await.map(drop),
        olga.ship(parcel(&order, "T-1", mugs(0))).await.map(drop),
        olga.ship(parcel(&order, "T-1", twice)).await.map(drop),
        olga.restock(RestockRequest { lines: none, ..came_back(&order, 1, "r") }).await.map(drop),
        olga.restock(came_back(&order, 0, "r")).await.map(drop),
        olga.restock(came_back(&order, 1, "a b")).await.map(drop),
    ];
    for refused in invalid {
        let refused = refused.expect_err("bad input");
        assert_refused(&refused, Code::InvalidArgument, "validation_failed");
    }
    let unknown = [
        olga.refund(money_back(NOBODYS, 1, "r")).await.map(drop),
        olga.refund(money_back("x", 1, "r")).await.map(drop),
        olga.ship(parcel(NOBODYS, "T-1", mugs(1))).await.map(drop),
        olga.restock(came_back(NOBODYS, 1, "r")).await.map(drop),
        olga.record(seen("shp_00000000000000000000000000", "e-1", ParcelEvent::Dispatched))
            .await
            .map(drop),
        olga.resolve("chk_00000000000000000000000000", ResolutionAction::Retry, "x")
            .await
            .map(drop),
    ];
    for refused in unknown {
        assert_refused(&refused.expect_err("nothing there"), Code::NotFound, "not_found");
    }

    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_customers_token_is_refused_for_everything_that_operators_do() {
    let shop = shop_with_mugs(1).await;
    let (checkout, order) = order_of(&shop, 1).await;
    shop.fulfilment(checkout).await;
    let token = shop.customer().await.token().to_owned();
    let mut eve = Admin::arrive(&shop, &token).await;
    let before = shop.contents().await;

    let refunds = eve.asks(ListRefundsRequest { order_id: order.clone() });
    let shipments = eve.asks(ListShipmentsRequest { order_id: order.clone() });
    let retry = eve.asks(RetryDeliveryRequest { id: "x".into() });
    let url = "https://example.com/".to_owned();
    let register = eve.asks(RegisterWebhookEndpointRequest { url, topics: vec![] });
    let endpoints = eve.asks(ListWebhookEndpointsRequest {});
    let remove = eve.asks(RemoveWebhookEndpointRequest { id: "x".into() });
    let refusals = [
        eve.refund(money_back(&order, 1, "r")).await.map(drop),
        eve.client.list_refunds(refunds).await.map(drop),
        eve.restock(came_back(&order, 1, "r")).await.map(drop),
        eve.ship(parcel(&order, "T-1", mugs(1))).await.map(drop),
        eve.client.list_shipments(shipments).await.map(drop),
        eve.record(seen("x", "e-1", ParcelEvent::Dispatched)).await.map(drop),
        eve.resolve(&checkout.to_string(), ResolutionAction::Retry, "x").await.map(drop),
        eve.client.register_webhook_endpoint(register).await.map(drop),
        eve.client.list_webhook_endpoints(endpoints).await.map(drop),
        eve.client.remove_webhook_endpoint(remove).await.map(drop),
        eve.deliveries(0).await.map(drop),
        eve.client.retry_delivery(retry).await.map(drop),
    ];

    for refusal in refusals {
        let refusal = refusal.expect_err("not for customers");
        assert_refused(&refusal, Code::PermissionDenied, "forbidden");
    }
    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}
