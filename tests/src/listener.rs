//! Somebody who listens to the shop's webhooks: writes down what is posted, and answers as told.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::eventually;

/// An event as it was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The same as JSON.
    pub body: Value,
}

impl Posted {
    /// The event's id.
    pub fn event_id(&self) -> &str {
        self.body["id"].as_str().expect("an event has an id")
    }

    /// What it tells of.
    pub fn topic(&self) -> &str {
        self.body["topic"].as_str().expect("an event has a topic")
    }

    /// Whether the signature is one by that secret over this body, and when it was made.
    pub fn signed_at(&self, secret: &str) -> Option<i64> {
        let header = self.headers.get("holdfast-signature")?.to_str().ok()?;
        let (time, signature) = header.strip_prefix("t=")?.split_once(",v1=")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
        mac.update(format!("{time}.{}", self.text).as_bytes());
        let mut expected = String::new();
        for byte in mac.finalize().into_bytes() {
            write!(expected, "{byte:02x}").expect("writing to a String cannot fail");
        }
        (signature == expected).then(|| time.parse().ok())?
    }
}

#[derive(Clone)]
struct Ears {
    posted: Arc<Mutex<Vec<Posted>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    open: Arc<Semaphore>,
}

/// Somebody who listens on this machine.
pub struct Listener {
    /// Where to post to.
    pub url: String,
    ears: Ears,
}

impl Listener {
    /// Listens, and answers 200.
    pub async fn start() -> Self {
        Self::start_answering([]).await
    }

    /// Listens, and answers with these first.
    pub async fn start_answering(answers: impl IntoIterator<Item = u16>) -> Self {
        let ears = Ears {
            posted: Arc::default(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            open: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(hear).with_state(ears.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, ears }
    }

    /// From now on hears, and does not answer until it is told to.
    pub fn hesitate(&self) {
        self.ears.open.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Answers what waits, and everything that comes.
    pub fn answer(&self) {
        self.ears.open.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// What was posted so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.ears.posted.lock().expect("unpoisoned").clone()
    }

    /// The event of that topic, once it was posted.
    pub async fn hears_of(&self, topic: &str) -> Posted {
        eventually(&format!("{topic} is posted"), || async {
            self.posted().into_iter().find(|posted| posted.topic() == topic)
        })
        .await
    }
}

async fn hear(State(ears): State<Ears>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    let body = serde_json::from_str(&text).expect("JSON");
    ears.posted.lock().expect("unpoisoned").push(Posted { headers, text, body });
    drop(ears.open.acquire().await.expect("never closed"));
    let answer = ears.answers.lock().expect("unpoisoned").pop_front().unwrap_or(200);
    StatusCode::from_u16(answer).expect("a status")
}
