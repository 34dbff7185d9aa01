//! What a customer bought, over gRPC: listed, read and called off as over HTTP.

use api::grpc::proto::{
    CancelOrderRequest, CancelRequest, GetOrderRequest, ListOrdersRequest, Order, OrderPage,
    OrderState, StartRequest,
};
use tests::Shop;
use tonic::{Code, Response, Status};

use super::caller::{Caller, assert_refused, error_info, eur, order_form, visa};

impl Caller {
    /// Buys one mug; the order's id.
    async fn buys(&mut self, key: &str) -> String {
        self.add("MUG-1", 1).await.expect("added");
        let bought = self.start(key, StartRequest { payment: visa(), ..order_form() }).await;
        bought.expect("sold").into_inner().order_id.expect("an order")
    }

    async fn list(&mut self, cursor: Option<&str>, limit: u32) -> Result<OrderPage, Status> {
        let message = ListOrdersRequest { cursor: cursor.map(Into::into), limit: Some(limit) };
        let request = self.asks(message);
        self.orders.list(request).await.map(Response::into_inner)
    }

    async fn order(&mut self, id: &str) -> Result<Order, Status> {
        let request = self.asks(GetOrderRequest { id: id.to_owned() });
        self.orders.get(request).await.map(Response::into_inner)
    }

    async fn call_off(&mut self, id: &str) -> Result<Order, Status> {
        let message = CancelOrderRequest { id: id.to_owned(), wait_seconds: Some(20) };
        let request = self.asks(message);
        self.orders.cancel(request).await.map(Response::into_inner)
    }
}

fn state(order: &Order) -> OrderState {
    order.summary.as_ref().expect("a summary").state()
}

#[tokio::test]
async fn a_customer_lists_reads_and_calls_off_their_orders() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let mut ada = Caller::arrive(&shop).await;
    let mut ids = Vec::new();
    for key in ["one", "two", "three"] {
        ids.insert(0, ada.buys(key).await);
    }

    let first = ada.list(None, 2).await.expect("a page");
    let rest = ada.list(first.next_cursor.as_deref(), 2).await.expect("a page");
    let order = ada.order(&ids[0]).await.expect("an order");
    let cancelled = ada.call_off(&ids[0]).await.expect("called off");
    let again = ada.call_off(&ids[0]).await.expect("called off before");

    let listed: Vec<&str> =
        first.orders.iter().chain(&rest.orders).map(|order| order.id.as_str()).collect();
    assert_eq!(listed, ids);
    assert_eq!((first.orders.len(), rest.next_cursor), (2, None));
    assert_eq!(order.summary.as_ref(), first.orders.first());
    assert_eq!((state(&order), order.called_off_at), (OrderState::Paid, None));
    let [line] = &order.lines[..] else { panic!("{order:?}") };
    assert_eq!(
        (line.sku.as_str(), line.quantity, line.unit_price.clone()),
        ("MUG-1", 1, Some(eur(1299)))
    );
    let kinds: Vec<&str> = order.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["opened", "placed", "paid"]);
    assert_eq!(state(&cancelled), OrderState::Refunded);
    assert!(cancelled.called_off_at.is_some(), "{cancelled:?}");
    assert_eq!(again, cancelled);
    // The two faces show one order.
    let http = shop.customer().await.bearing(&ada.token);
    let over_http = http.get(&format!("/v1/orders/{}", ids[0])).await;
    assert_eq!(over_http.state(), Some("refunded"), "{:#}", over_http.body);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_order_is_for_its_customer_and_its_refusals_are_those_of_http() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let mut ada = Caller::arrive(&shop).await;
    let mut bea = Caller::arrive(&shop).await;
    let sold = ada.buys("one").await;
    ada.add("MUG-1", 1).await.expect("added");
    let waiting = ada.start("two", order_form()).await.expect("started").into_inner();
    let unpaid = waiting.order_id.clone().expect("an order");

    for id in [sold.as_str(), "x"] {
        let refused = bea.order(id).await.expect_err("not hers");
        assert_refused(&refused, Code::NotFound, "not_found");
        let refused = bea.call_off(id).await.expect_err("not hers");
        assert_refused(&refused, Code::NotFound, "not_found");
    }
    assert_eq!(bea.list(None, 1).await.expect("a page"), OrderPage::default());
    for (cursor, limit) in [(None, 0), (None, 101), (Some("x"), 1)] {
        let refused = ada.list(cursor, limit).await.expect_err("no such page");
        assert_refused(&refused, Code::InvalidArgument, "validation_failed");
    }
    let early = ada.call_off(&unpaid).await.expect_err("not paid yet");
    assert_refused(&early, Code::FailedPrecondition, "invalid_state");
    assert_eq!(error_info(&early).metadata["checkout_id"], waiting.id);
    let token = shop.operator("ada").await.token().to_owned();
    let mut operator = Caller { token, ..bea };
    let refused = operator.list(None, 1).await.expect_err("no customer");
    assert_refused(&refused, Code::Unauthenticated, "unauthenticated");

    let cancel = CancelRequest { id: waiting.id, wait_seconds: Some(20) };
    let cancel = ada.asks(cancel);
    ada.checkouts.cancel(cancel).await.expect("called off");
    shop.assert_lawful().await;
}
