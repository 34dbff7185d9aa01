//! A customer: the shop's HTTP API from the outside.

use domain::CheckoutId;
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::eventually;

/// The longest that the API waits for an outcome before it answers.
const PREFER_THE_OUTCOME: &str = "wait=20";

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null where it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The problem's code, where the answer is a problem.
    pub fn code(&self) -> Option<&str> {
        self.body["code"].as_str()
    }

    /// The checkout that the answer is about.
    pub fn checkout(&self) -> CheckoutId {
        let id = self.body["id"].as_str().or_else(|| self.body["checkout_id"].as_str());
        id.unwrap_or_else(|| panic!("no checkout in {:#}", self.body))
            .parse()
            .expect("a checkout id")
    }

    /// The checkout's state.
    pub fn state(&self) -> Option<&str> {
        self.body["state"].as_str()
    }
}

/// Somebody who shops.
#[derive(Debug, Clone)]
pub struct Customer {
    http: Client,
    api_url: String,
    token: String,
}

impl Customer {
    pub(crate) fn unknown(http: Client, api_url: &str) -> Self {
        Self { http, api_url: api_url.to_owned(), token: String::new() }
    }

    pub(crate) async fn arrive(http: Client, api_url: &str) -> Self {
        let mut customer = Self::unknown(http, api_url);
        let answer = customer.send(Method::POST, "/v1/sessions", &[], None).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:#}", answer.body);
        answer.body["token"].as_str().expect("a token").clone_into(&mut customer.token);
        customer
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The same HTTP client and address, as nobody in particular.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        self.bearing("")
    }

    /// The same HTTP client and address, with another token.
    #[must_use]
    pub fn bearing(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Any request with a body that is JSON, if it has one.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        if body.is_some() {
            headers.push(("Content-Type", b"application/json"));
        }
        let body = body.map(|body| body.to_string().into_bytes());
        self.send_bytes(method, path, &headers, body.unwrap_or_default()).await
    }

    /// Any request, well-formed or not.
    pub async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Vec<u8>,
    ) -> Answer {
        self.try_send_bytes(method, path, headers, body).await.expect("an answer")
    }

    /// The same, of an API that may die before it has answered.
    pub async fn try_send_bytes(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.api_url)).body(body);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body, text })
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// Puts so many of a SKU into the cart.
    pub async fn add(&self, sku: &str, quantity: i64) -> Answer {
        let body = json!({ "sku": sku, "quantity": quantity });
        self.send(Method::POST, "/v1/cart/items", &[], Some(body)).await
    }

    /// The cart has this in it now, for certain.
    pub async fn with(self, sku: &str, quantity: i64) -> Self {
        let answer = self.add(sku, quantity).await;
        assert!(answer.status.is_success(), "{:#}", answer.body);
        self
    }

    /// Checks out with a payment method ("express"), under a key of its own.
    pub async fn buy(&self, method: &str) -> Answer {
        self.buy_as(&Uuid::new_v4().to_string(), method).await
    }

    /// Checks out with a payment method, under this key.
    pub async fn buy_as(&self, key: &str, method: &str) -> Answer {
        self.start(key, json!({ "payment": { "method": method } })).await
    }

    /// Starts a checkout, with these members beside the contact details.
    pub async fn start(&self, key: &str, members: Value) -> Answer {
        self.start_preferring(key, members, PREFER_THE_OUTCOME).await
    }

    /// Starts a checkout and does not wait for its outcome.
    pub async fn start_only(&self, key: &str, members: Value) -> Answer {
        self.start_preferring(key, members, "respond-async").await
    }

    async fn start_preferring(&self, key: &str, members: Value, prefer: &str) -> Answer {
        let headers = [("Idempotency-Key", key), ("Prefer", prefer)];
        self.send(Method::POST, "/v1/checkouts", &headers, Some(checkout_body(members))).await
    }

    /// Where a checkout stands.
    pub async fn checkout(&self, id: CheckoutId) -> Answer {
        self.get(&format!("/v1/checkouts/{id}")).await
    }

    /// Pays for a checkout that waits for it; asks again, under the same key, for as long as the
    /// answer is that nobody can say.
    pub async fn pay(&self, id: CheckoutId, method: &str) -> Answer {
        let key = Uuid::new_v4().to_string();
        let headers = [("Prefer", PREFER_THE_OUTCOME), ("Idempotency-Key", &key)];
        let path = format!("/v1/checkouts/{id}/payment");
        eventually("somebody answers", || async {
            let body = json!({ "method": method });
            let answer = self.send(Method::POST, &path, &headers, Some(body)).await;
            (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
        })
        .await
    }

    /// Calls a checkout off.
    pub async fn cancel(&self, id: CheckoutId) -> Answer {
        let headers = [("Prefer", PREFER_THE_OUTCOME)];
        self.send(Method::POST, &format!("/v1/checkouts/{id}/cancel"), &headers, None).await
    }

    /// Calls a paid order off.
    pub async fn cancel_order(&self, id: CheckoutId) -> Answer {
        let headers = [("Prefer", PREFER_THE_OUTCOME)];
        self.send(Method::POST, &format!("/v1/orders/{}/cancel", id.order()), &headers, None).await
    }

    /// Waits until a checkout is in that state.
    pub async fn until(&self, id: CheckoutId, state: &str) -> Answer {
        eventually(&format!("{id} is {state}"), || async {
            let answer = self.checkout(id).await;
            (answer.state() == Some(state)).then_some(answer)
        })
        .await
    }
}

/// The body that starts a checkout, with these members beside, or instead of, the contact details.
pub fn checkout_body(members: Value) -> Value {
    let mut body = json!({
        "email": "ada@example.com",
        "shipping_address": {
            "name": "Ada Example", "line1": "1 Test Lane", "city": "Berlin", "postal_code": "10115", "country": "DE",
        },
    });
    let Value::Object(members) = members else { panic!("no members: {members}") };
    for (name, value) in members {
        body[name] = value;
    }
    body
}
