//! A customer and an operator who speak gRPC, and how a refusal is read. No tests.

use std::collections::HashMap;

use api::grpc::proto::{
    self, AddItemRequest, Cart, Checkout, CreateSessionRequest, GetRequest, Payment, StartRequest,
    SubmitPaymentRequest, admin_service_client::AdminServiceClient,
    cart_service_client::CartServiceClient, checkout_service_client::CheckoutServiceClient,
    order_service_client::OrderServiceClient, session_service_client::SessionServiceClient,
};
use prost::Message;
use tests::Shop;
use tonic::{Code, Request, Response, Status, transport::Channel};

/// A customer who speaks gRPC.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) carts: CartServiceClient<Channel>,
    pub(super) checkouts: CheckoutServiceClient<Channel>,
    pub(super) orders: OrderServiceClient<Channel>,
    pub(super) token: String,
}

impl Caller {
    pub(super) async fn arrive(shop: &Shop) -> Self {
        let channel = channel(shop).await;
        let session = SessionServiceClient::new(channel.clone())
            .create_session(CreateSessionRequest {})
            .await;
        Self::with_token(channel, session.expect("a session").into_inner().token)
    }

    pub(super) fn with_token(channel: Channel, token: String) -> Self {
        let carts = CartServiceClient::new(channel.clone());
        let checkouts = CheckoutServiceClient::new(channel.clone());
        Self { carts, checkouts, orders: OrderServiceClient::new(channel), token }
    }

    pub(super) fn asks<T>(&self, message: T) -> Request<T> {
        asks(&self.token, message)
    }

    pub(super) async fn add(&mut self, sku: &str, quantity: i64) -> Result<Cart, Status> {
        let request =
            self.asks(AddItemRequest { sku: sku.to_owned(), quantity, expected_version: None });
        self.carts.add_item(request).await.map(Response::into_inner)
    }

    pub(super) async fn start(
        &mut self,
        key: &str,
        start: StartRequest,
    ) -> Result<Response<Checkout>, Status> {
        let mut request = self.asks(start);
        request.metadata_mut().insert("idempotency-key", key.parse().expect("metadata"));
        self.checkouts.start(request).await
    }

    pub(super) async fn get(&mut self, id: &str) -> Result<Checkout, Status> {
        let request = self.asks(GetRequest { id: id.to_owned() });
        self.checkouts.get(request).await.map(Response::into_inner)
    }

    pub(super) async fn pay(&mut self, id: &str, method: &str) -> Result<Checkout, Status> {
        let message = SubmitPaymentRequest {
            id: id.to_owned(),
            method: method.to_owned(),
            wait_seconds: Some(20),
        };
        let request = self.asks(message);
        self.checkouts.submit_payment(request).await.map(Response::into_inner)
    }
}

/// An operator, or whoever has that token, who speaks gRPC.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) client: AdminServiceClient<Channel>,
    token: String,
}

impl Admin {
    pub(crate) async fn arrive(shop: &Shop, token: &str) -> Self {
        let client = AdminServiceClient::new(channel(shop).await);
        Self { client, token: token.to_owned() }
    }

    pub(crate) fn asks<T>(&self, message: T) -> Request<T> {
        asks(&self.token, message)
    }
}

fn asks<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().expect("metadata");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// Whether an answer says that it was given before.
pub(crate) fn replayed<T>(answer: &Response<T>) -> bool {
    answer.metadata().get("idempotency-replayed").is_some_and(|value| value == "true")
}

pub(super) async fn channel(shop: &Shop) -> Channel {
    Channel::from_shared(shop.api_url.clone())
        .expect("an address")
        .connect()
        .await
        .expect("a connection")
}

pub(super) fn order_form() -> StartRequest {
    StartRequest {
        expected_total: None,
        payment: None,
        email: "ada@example.com".into(),
        shipping_address: Some(proto::Address {
            name: "Ada Example".into(),
            line1: "1 Test Lane".into(),
            line2: None,
            city: "Berlin".into(),
            postal_code: "10115".into(),
            country: "DE".into(),
        }),
        wait_seconds: Some(20),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the message's field is optional")]
pub(super) fn visa() -> Option<Payment> {
    Some(Payment { method: "pm_card_visa".into() })
}

pub(super) fn eur(minor: i64) -> proto::Money {
    proto::Money { minor, currency: "EUR".into() }
}

pub(crate) fn assert_refused(status: &Status, code: Code, reason: &str) {
    assert_eq!((status.code(), error_info(status).reason.as_str()), (code, reason), "{status:?}");
}

/// `google.rpc.Status`, as the details of an error are sent.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(super) reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    pub(super) metadata: HashMap<String, String>,
}

pub(super) fn error_info(status: &Status) -> ErrorInfo {
    let details = RpcStatus::decode(status.details()).expect("google.rpc.Status");
    let info =
        details.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.ErrorInfo"));
    let info = ErrorInfo::decode(&info.unwrap_or_else(|| panic!("{status:?}")).value[..])
        .expect("an ErrorInfo");
    assert_eq!(info.domain, "holdfast");
    info
}
