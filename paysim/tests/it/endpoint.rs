//! A merchant's endpoint: takes deliveries, remembers them, answers as told. It judges signatures by
//! Stripe's own rule, written here a second time so that the network cannot agree with itself.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    future::pending,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use paysim::Config;
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep},
};

pub(crate) const SECRET: &str = "whsec_it";
/// In a script, an answer that never comes.
pub(crate) const NEVER: u16 = 0;
const TOLERANCE_S: i64 = 300;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) event: Value,
    pub(crate) valid: bool,
    pub(crate) age_s: i64,
}

#[derive(Debug)]
struct Shared {
    received: Mutex<Vec<Delivery>>,
    script: Mutex<VecDeque<u16>>,
    usually: Mutex<u16>,
}

/// Gone with the test.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Endpoint {
    /// Answers with the statuses of `script`, then 200 to what is validly signed and 400 to the rest.
    pub(crate) async fn start(script: &[u16]) -> Self {
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            script: Mutex::new(script.iter().copied().collect()),
            usually: Mutex::new(200),
        });
        let router = Router::new().route("/hooks", post(take)).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let server = tokio::spawn(async {
            axum::serve(listener, router).await.expect("the endpoint serves");
        });
        Self { url: format!("http://{address}/hooks"), shared, server }
    }

    /// From now on the answer to what is validly signed.
    pub(crate) fn usually(&self, status: u16) {
        *self.shared.usually.lock().expect("no panic") = status;
    }

    /// Points a network here, with short pauses.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.webhooks.urls = vec![self.url.clone()];
        config.webhooks.secret = Some(SECRET.to_owned());
        config.webhooks.retry_ms = 10;
        config.webhooks.timeout_ms = 500;
    }

    pub(crate) fn received(&self) -> Vec<Delivery> {
        self.shared.received.lock().expect("no panic").clone()
    }

    /// Waits until so many deliveries came.
    pub(crate) async fn received_count(&self, count: usize) -> Vec<Delivery> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(Instant::now() < deadline, "only {received:?} of {count} came");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> StatusCode {
    let header = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let (age_s, signed) = judge(header.unwrap_or_default(), &body);
    let valid = signed && age_s <= TOLERANCE_S;
    let event = serde_json::from_str(&body).expect("a delivery is JSON");
    shared.received.lock().expect("no panic").push(Delivery { event, valid, age_s });
    let scripted = shared.script.lock().expect("no panic").pop_front();
    let usually = if valid { *shared.usually.lock().expect("no panic") } else { 400 };
    match scripted.unwrap_or(usually) {
        NEVER => pending().await,
        status => StatusCode::from_u16(status).expect("a script has statuses"),
    }
}

fn judge(header: &str, body: &str) -> (i64, bool) {
    let part = |name: &str| {
        header.split(',').find_map(|part| part.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let timestamp = part("t=");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let mut expected = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(expected, "{byte:02x}").expect("writing to a String cannot fail");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let now = i64::try_from(now).expect("seconds fit");
    (now - timestamp.parse::<i64>().unwrap_or_default(), part("v1=") == expected)
}
