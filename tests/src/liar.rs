//! Somebody between the shop and its card network who, when told to, misreports payments that were
//! approved. Everything else goes through as it is.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Response, header},
};
use reqwest::Client;
use serde_json::Value;

const BODY_BYTES_MAX: usize = 1024 * 1024;

#[derive(Clone, Default)]
struct Tongue {
    http: Client,
    network: Arc<Mutex<String>>,
    lie: Arc<Mutex<Option<(&'static str, Value)>>>,
}

/// Somebody in the middle.
pub struct Liar {
    /// Where the shop is to find its card network.
    pub url: String,
    tongue: Tongue,
}

impl Liar {
    /// Listens, and tells the truth about no card network yet.
    pub async fn start() -> Self {
        let _already = rustls::crypto::ring::default_provider().install_default();
        let tongue = Tongue::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(pass_on).with_state(tongue.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, tongue }
    }

    /// Speaks for this card network.
    pub fn speak_for(&self, network_url: &str) {
        network_url.clone_into(&mut self.tongue.network.lock().expect("unpoisoned"));
    }

    /// From now on gives another value of this field for every payment that is approved.
    pub fn lie(&self, field: &'static str, value: Value) {
        *self.tongue.lie.lock().expect("unpoisoned") = Some((field, value));
    }
}

async fn pass_on(State(tongue): State<Tongue>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.expect("a body");
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("{}{path}", tongue.network.lock().expect("unpoisoned"));
    let mut headers = head.headers;
    headers.remove(header::HOST);
    let asked = tongue.http.request(head.method, url).headers(headers).body(body).send().await;
    let answer = asked.expect("the card network answers");
    let mut passed = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
            passed = passed.header(name, value);
        }
    }
    let text = answer.text().await.expect("a body");
    let lie = tongue.lie.lock().expect("unpoisoned").clone();
    let text = lie.and_then(|(field, value)| twisted(&text, field, value)).unwrap_or(text);
    passed.body(Body::from(text)).expect("an answer")
}

/// The answer with a lie in it, if it is about a payment that is approved.
fn twisted(text: &str, field: &str, value: Value) -> Option<String> {
    let mut answer: Value = serde_json::from_str(text).ok()?;
    if answer["object"] != "payment_intent" || answer["status"] != "requires_capture" {
        return None;
    }
    answer[field] = value;
    Some(answer.to_string())
}
