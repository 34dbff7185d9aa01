//! Starts a network on a database of its own and talks to it. The only place that knows where the
//! tests' Postgres comes from.

use std::net::SocketAddr;

use devstack::{TestDatabase, TestServers};
use paysim::Config;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// The Postgres of this test process.
static SERVERS: TestServers = TestServers::new();

/// A database that is gone when the test ends, also when it panics.
pub(crate) async fn database() -> TestDatabase {
    SERVERS.empty_database().await.expect("a database can be made")
}

/// A running network.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    pub(crate) database: TestDatabase,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<anyhow::Result<()>>,
}

/// A status with its JSON.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) json: Value,
}

impl Reply {
    pub(crate) async fn read(response: Response) -> Self {
        Self {
            status: response.status().as_u16(),
            replayed: response.headers().get("idempotent-replayed").is_some(),
            json: response.json().await.expect("every API answer is JSON"),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.json);
        self.json
    }

    /// The error object, after a look at what identifies it.
    #[track_caller]
    pub(crate) fn error(self, status: u16, kind: &str, code: Option<&str>) -> Value {
        let error = &self.json["error"];
        let found = (self.status, error["type"].as_str(), error["code"].as_str());
        assert_eq!(found, (status, Some(kind), code), "{}", self.json);
        error.clone()
    }
}

pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

/// A manual authorization of 1,000 EUR cents for `payment_id`.
pub(crate) fn authorization<'a>(method: &'a str, payment_id: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("amount", "1000"),
        ("currency", "eur"),
        ("capture_method", "manual"),
        ("confirm", "true"),
        ("payment_method", method),
        ("automatic_payment_methods[enabled]", "true"),
        ("return_url", "https://shop.example/back"),
        ("metadata[payment_id]", payment_id),
    ]
}

impl Network {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let database = database().await;
        let mut config = Config::new(database.url());
        config.database_connections_max = 4;
        configure(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(paysim::serve(listener, config, async {
            let _ = stopped.await;
        }));
        let network = Self { address, database, client: client(), stop: Some(stop), server };
        let ready = network.client.get(network.url("/readyz")).send().await;
        assert_eq!(ready.expect("the network answers").status(), StatusCode::OK);
        network
    }

    /// Stops as SIGTERM would, and gives the database back for a look or another start.
    pub(crate) async fn stop(mut self) -> TestDatabase {
        self.stop.take().map(|stop| stop.send(()));
        self.server.await.expect("the server's task ends").expect("the server ends well");
        self.database
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth("sk_test_it")
    }

    pub(crate) fn post_request(&self, path: &str, fields: Fields<'_>) -> RequestBuilder {
        self.request(Method::POST, path).form(fields)
    }

    pub(crate) async fn post(&self, path: &str, fields: Fields<'_>) -> Reply {
        Reply::read(self.post_request(path, fields).send().await.expect("an answer")).await
    }

    pub(crate) async fn post_with_key(&self, key: &str, path: &str, fields: Fields<'_>) -> Reply {
        let request = self.post_request(path, fields).header("Idempotency-Key", key);
        Reply::read(request.send().await.expect("an answer")).await
    }

    /// An order to one of the network's own endpoints.
    pub(crate) async fn order(&self, path: &str, body: &Value) -> Reply {
        let request = self.request(Method::POST, path).json(body);
        Reply::read(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn get(&self, path: &str, query: Fields<'_>) -> Reply {
        let request = self.request(Method::GET, path).query(query);
        Reply::read(request.send().await.expect("an answer")).await
    }

    /// Authorizes and gives the intent's id.
    pub(crate) async fn authorize(&self, payment_id: &str) -> String {
        let intent =
            self.post("/v1/payment_intents", &authorization("pm_card_visa", payment_id)).await.ok();
        assert_eq!(intent["status"], "requires_capture");
        id(&intent)
    }

    pub(crate) async fn intent(&self, id: &str) -> Value {
        self.get(&format!("/v1/payment_intents/{id}"), &[]).await.ok()
    }

    /// The events of the whole network, oldest first.
    pub(crate) async fn events(&self) -> Vec<Value> {
        let page = self.get("/v1/events", &[("limit", "100")]).await.ok();
        assert_eq!(page["has_more"], false);
        let mut events = page["data"].as_array().expect("a list has data").clone();
        events.reverse();
        events
    }

    /// What the ledger says of a payment: kind and amount in order.
    pub(crate) async fn ledger(&self, payment_id: &str) -> Vec<(String, i64)> {
        let ledger = self.get("/ledger", &[("payment_id", payment_id)]).await.ok();
        let entries = ledger["entries"].as_array().expect("a ledger has entries");
        entries
            .iter()
            .map(|entry| {
                let kind = entry["kind"].as_str().expect("an entry has a kind");
                (kind.to_owned(), entry["amount"].as_i64().expect("an entry has an amount"))
            })
            .collect()
    }
}

pub(crate) fn id(object: &Value) -> String {
    object["id"].as_str().expect("an object has an id").to_owned()
}

/// The types of some events, in their order.
pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("an event has a type")).collect()
}

pub(crate) fn entries(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(kind, amount)| ((*kind).to_owned(), *amount)).collect()
}

/// A client that follows no redirects, so that tests see them.
pub(crate) fn client() -> Client {
    // A second installation is refused, which is the state wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}
