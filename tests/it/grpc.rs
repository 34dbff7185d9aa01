//! The same shop over gRPC: the same answers, the same refusals under the same codes.

pub(crate) mod caller;
mod cases;
mod operators;
mod orders;

use api::grpc::proto::{
    self, CancelRequest, Checkout, CheckoutState, GetCartRequest, Payment, RemoveItemRequest,
    SetItemRequest, StartRequest, WatchRequest, next_action::Action,
};
use futures::{StreamExt, TryStreamExt};
use tests::Shop;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use self::caller::{Caller, assert_refused, channel, error_info, eur, order_form, replayed, visa};

#[tokio::test]
async fn a_cart_and_an_express_checkout_go_round() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    shop.stock("POT-1", 5, 3000).await;
    let mut ada = Caller::arrive(&shop).await;

    ada.add("MUG-1", 1).await.expect("added");
    ada.add("POT-1", 1).await.expect("added");
    let set = SetItemRequest { sku: "MUG-1".into(), quantity: 3, expected_version: Some(2) };
    let cart = ada.carts.set_item(ada.asks(set)).await.expect("set").into_inner();
    assert_eq!((cart.version, cart.total), (3, Some(eur(3 * 1299 + 3000))));
    let remove = RemoveItemRequest { sku: "POT-1".into(), expected_version: None };
    ada.carts.remove_item(ada.asks(remove)).await.expect("removed");
    let cart = ada.carts.get_cart(ada.asks(GetCartRequest {})).await.expect("a cart").into_inner();
    let [line] = &cart.lines[..] else { panic!("{cart:?}") };
    assert_eq!(
        (line.sku.as_str(), line.quantity, line.available, line.on_sale),
        ("MUG-1", 3, Some(5), true)
    );
    assert_eq!(
        (line.seen_price.clone(), line.current_price.clone()),
        (Some(eur(1299)), Some(eur(1299)))
    );

    let express =
        || StartRequest { expected_total: Some(eur(3897)), payment: visa(), ..order_form() };
    let bought = ada.start("once", express()).await.expect("sold");
    assert!(!replayed(&bought));
    let bought = bought.into_inner();
    assert_eq!((bought.state(), bought.total.clone()), (CheckoutState::Completed, Some(eur(3897))));
    assert!(bought.order_id.as_ref().is_some_and(|id| id.starts_with("ord_")), "{bought:?}");
    let again = ada.start("once", express()).await.expect("the same");
    assert!(replayed(&again));
    assert_eq!(again.into_inner(), bought);
    assert_eq!(ada.get(&bought.id).await.expect("there"), bought);
    assert_eq!(shop.counters("MUG-1").await, (2, 0, 3));
    // The two faces show one shop.
    let http = shop.customer().await.bearing(&ada.token);
    assert_eq!(http.checkout(bought.id.parse().expect("an id")).await.state(), Some("completed"));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_watched_checkout_is_told_of_until_it_is_completed() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let mut ada = Caller::arrive(&shop).await;
    ada.add("MUG-1", 1).await.expect("added");
    let started = ada.start("once", order_form()).await.expect("started").into_inner();
    assert_eq!(started.state(), CheckoutState::AwaitingPayment);
    let watch = ada.asks(WatchRequest { id: started.id.clone() });
    let mut watched = ada.checkouts.watch(watch).await.expect("a stream").into_inner();
    let first = watched.next().await.expect("a state").expect("a checkout");
    assert_eq!(first.state(), CheckoutState::AwaitingPayment);
    let action = first.next_action.and_then(|next| next.action);
    assert!(matches!(action, Some(Action::SubmitPayment(_))), "{action:?}");

    let declined = ada.pay(&started.id, "pm_card_chargeDeclined").await.expect_err("a decline");
    assert_refused(&declined, Code::FailedPrecondition, "payment_declined");
    assert_eq!(error_info(&declined).metadata["decline_code"], "generic_decline");
    let paid = ada.pay(&started.id, "pm_card_visa").await.expect("paid");
    assert_eq!(paid.state(), CheckoutState::Completed);

    let rest: Vec<Checkout> = watched.try_collect().await.expect("an orderly end");
    assert_eq!(rest.last().map(Checkout::state), Some(CheckoutState::Completed), "{rest:?}");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_checkout_is_called_off() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let mut ada = Caller::arrive(&shop).await;
    ada.add("MUG-1", 1).await.expect("added");
    let id = ada.start("once", order_form()).await.expect("started").into_inner().id;

    let cancel = CancelRequest { id: id.clone(), wait_seconds: Some(20) };
    let cancelled = ada.checkouts.cancel(ada.asks(cancel)).await.expect("called off").into_inner();

    assert_eq!(cancelled.state(), CheckoutState::Cancelled);
    assert_eq!(cancelled.problem.map(|problem| problem.code).as_deref(), Some("cancelled"));
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    let late = ada.pay(&id, "pm_card_visa").await.expect_err("it is over");
    assert_refused(&late, Code::FailedPrecondition, "invalid_state");
    assert_eq!(error_info(&late).metadata["state"], "cancelled");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refusal_carries_the_same_code_as_over_http() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let mut ada = Caller::arrive(&shop).await;
    let mut bea = Caller::arrive(&shop).await;
    let mut nobody = Caller::with_token(channel(&shop).await, "garbage".into());
    ada.add("MUG-1", 2).await.expect("added");

    let short = ada
        .start("short", StartRequest { payment: visa(), ..order_form() })
        .await
        .expect_err("too few");
    assert_refused(&short, Code::FailedPrecondition, "out_of_stock");
    let lines: serde_json::Value = serde_json::from_str(&error_info(&short).metadata["lines"])
        .expect("what is not text is JSON");
    assert_eq!(lines, serde_json::json!([{ "sku": "MUG-1", "wanted": 2, "available": 1 }]));
    let id = error_info(&short).metadata["checkout_id"].clone();
    let before = shop.contents().await;

    assert_refused(
        &nobody.add("MUG-1", 1).await.expect_err("no token"),
        Code::Unauthenticated,
        "unauthenticated",
    );
    assert_refused(
        &nobody.get(&id).await.expect_err("no token"),
        Code::Unauthenticated,
        "unauthenticated",
    );
    assert_refused(&bea.get(&id).await.expect_err("not hers"), Code::NotFound, "not_found");
    assert_refused(&bea.get("garbage").await.expect_err("no id"), Code::NotFound, "not_found");
    let watch = bea.asks(WatchRequest { id: id.clone() });
    assert_refused(
        &bea.checkouts.watch(watch).await.expect_err("not hers"),
        Code::NotFound,
        "not_found",
    );
    let other = StartRequest { email: "eve@example.com".into(), ..order_form() };
    assert_refused(
        &ada.start("short", other).await.expect_err("used"),
        Code::AlreadyExists,
        "idempotency_key_reused",
    );
    let no_key = ada.asks(order_form());
    let no_key = ada.checkouts.start(no_key).await.expect_err("no key");
    assert_refused(&no_key, Code::InvalidArgument, "idempotency_key_missing");
    assert_refused(
        &bea.start("k", order_form()).await.expect_err("empty"),
        Code::FailedPrecondition,
        "cart_empty",
    );
    let stale = SetItemRequest { sku: "MUG-1".into(), quantity: 1, expected_version: Some(9) };
    let stale = ada.asks(stale);
    let stale = ada.carts.set_item(stale).await.expect_err("stale");
    assert_refused(&stale, Code::Aborted, "cart_version_conflict");

    for (sku, quantity) in
        [("MUG-1", 0), ("MUG-1", -1), ("MUG-1", 1_000_000_000), ("", 1), ("mug", 1), ("NONE-1", 1)]
    {
        let refused = ada.add(sku, quantity).await.expect_err("bad input");
        assert_refused(&refused, Code::InvalidArgument, "validation_failed");
    }
    let money = |minor, currency: &str| Some(proto::Money { minor, currency: currency.to_owned() });
    for bad in [
        StartRequest { expected_total: money(1, "ZZZ"), ..order_form() },
        StartRequest { expected_total: money(-1, "EUR"), ..order_form() },
        StartRequest { email: String::new(), ..order_form() },
        StartRequest { shipping_address: None, ..order_form() },
        StartRequest { payment: Some(Payment { method: "visa".into() }), ..order_form() },
    ] {
        let refused = ada.start("k", bad).await.expect_err("bad input");
        assert_refused(&refused, Code::InvalidArgument, "validation_failed");
    }
    // More than a message may have is refused before it is read.
    let large = ada.add(&"X".repeat(100_000), 1).await.expect_err("too large");
    assert_eq!(large.code(), Code::OutOfRange, "{large:?}");
    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn reflection_lists_the_services_and_health_says_serving() {
    let shop = Shop::open().await;
    let channel = channel(&shop).await;
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(futures::stream::iter([list]))
        .await
        .expect("reflection")
        .into_inner();
    let answer = answers.next().await.expect("an answer").expect("a list").message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
    let services: Vec<&str> = listed.service.iter().map(|service| service.name.as_str()).collect();
    for service in [
        "holdfast.v1.SessionService",
        "holdfast.v1.CartService",
        "holdfast.v1.CheckoutService",
        "holdfast.v1.OrderService",
        "holdfast.v1.AdminService",
        "grpc.health.v1.Health",
    ] {
        assert!(services.contains(&service), "{service} is not among {services:?}");
    }
    let health =
        HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await;
    assert_eq!(health.expect("health").into_inner().status(), ServingStatus::Serving);
    shop.assert_lawful().await;
}
