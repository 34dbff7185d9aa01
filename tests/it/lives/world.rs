//! What all lives share: the shop, who runs it, the tally, and a client that asks again until it is
//! answered, as a real one would.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use domain::CheckoutId;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Customer, Shop};
use tokio::time::sleep;

use super::tally::Tally;

/// How long anybody asks again who is not answered.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The shop and what is noted of it.
pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) operator: Customer,
    pub(crate) tally: Tally,
    /// Follows no redirect, as the bank's answer is one.
    pub(crate) browser: Client,
}

/// What happened in one life, for whoever has to find out why it went wrong.
#[derive(Clone)]
pub(crate) struct Journal {
    begun: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), lines: Arc::default() }
    }

    pub(crate) fn note(&self, what: impl AsRef<str>) {
        let line = format!("  {:>8.3}  {}", self.begun.elapsed().as_secs_f64(), what.as_ref());
        self.lines.lock().expect("unpoisoned").push(line);
    }

    pub(crate) fn text(&self) -> String {
        self.lines.lock().expect("unpoisoned").join("\n")
    }
}

/// One request to the shop.
#[derive(Clone)]
pub(crate) struct Request {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self { method: Method::PUT, ..Self::get(path) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text(body.to_string()).header("Content-Type", "application/json")
    }

    pub(crate) fn text(self, body: String) -> Self {
        Self { body: body.into_bytes(), ..self }
    }
}

impl World {
    /// Sends a request, and again for as long as there is no answer or the answer is to try again.
    pub(crate) async fn ask(&self, journal: &Journal, who: &Customer, request: Request) -> Answer {
        let Request { method, path, headers, body } = request;
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = who.try_send_bytes(method.clone(), &path, &headers, body.clone()).await;
            match sent {
                Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                    journal.note(format!("{method} {path}: 503"));
                    self.tally.note("client: asked again after 503");
                }
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    journal.note(format!("{method} {path}: 429"));
                    self.tally.note("client: asked again after 429");
                }
                Ok(answer) => {
                    let (status, state) = (answer.status.as_u16(), answer.state().unwrap_or("-"));
                    let code = answer.code().unwrap_or("");
                    journal.note(format!("{method} {path}: {status} {state} {code}"));
                    assert!(!answer.status.is_server_error(), "{method} {path}: {}", answer.text);
                    return answer;
                }
                Err(error) => {
                    let what = if error.is_connect() { "nobody there" } else { "broken off" };
                    journal.note(format!("{method} {path}: {what}"));
                    self.tally.note("client: asked again after a broken connection");
                }
            }
            assert!(Instant::now() < deadline, "{method} {path}: nobody answers");
            sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// Arms a fault of the card network for the next request of that kind about a payment.
    pub(crate) async fn arm(&self, id: CheckoutId, fault: (&str, &str, u64)) {
        let (operation, kind, delay_ms) = fault;
        let payment_id = id.payment().to_string();
        let order = json!({ "operation": operation, "kind": kind, "delay_ms": delay_ms, "payment_id": payment_id });
        self.network(|http, url| http.post(format!("{url}/faults")).json(&order)).await;
    }

    /// Arms a fault of the next webhook about a payment.
    pub(crate) async fn arm_word(&self, id: CheckoutId, kind: &str) {
        let order =
            json!({ "kind": kind, "delay_ms": 2000, "payment_id": id.payment().to_string() });
        self.network(|http, url| http.post(format!("{url}/webhooks/faults")).json(&order)).await;
    }

    /// Forgets what is armed for a payment and did not strike: the card network remembers so many only.
    pub(crate) async fn disarm(&self, id: CheckoutId) {
        for path in ["faults", "webhooks/faults"] {
            let query = [("payment_id", id.payment().to_string())];
            self.network(|http, url| http.delete(format!("{url}/{path}")).query(&query)).await;
        }
    }

    /// Has the card network tell once more all that it told of a payment. Nothing befalls that.
    pub(crate) async fn resend(&self, id: CheckoutId) {
        let order = json!({ "payment_id": id.payment().to_string() });
        self.network(|http, url| http.post(format!("{url}/webhooks/resend")).json(&order)).await;
    }

    /// Something of the card network's own that is read with a GET.
    pub(crate) async fn network_shows(&self, path: &str) -> Value {
        self.network(|http, url| http.get(format!("{url}/{path}"))).await
    }

    /// Asks the card network by its API, as somebody else with a key might.
    pub(crate) async fn network_makes(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let key = "sk_test_of_somebody_else";
        self.network(|http, url| http.post(format!("{url}/v1/{path}")).bearer_auth(key).form(form))
            .await
    }

    /// Asks the card network until it is there and does as asked.
    async fn network(&self, request: impl Fn(&Client, &str) -> RequestBuilder) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = request(&self.browser, &self.shop.paysim_url).send().await {
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                if status.is_success() {
                    return serde_json::from_str(&text).expect("JSON of the card network");
                }
                assert!(status.is_server_error(), "the card network says {status}: {text}");
            }
            assert!(Instant::now() < deadline, "the card network does not answer");
            sleep(ASK_AGAIN_AFTER).await;
        }
    }
}
