//! Bad input to every endpoint: each is refused with a precise problem, none is our fault, and
//! nothing changes.

use std::{collections::BTreeMap, iter::repeat_n};

use domain::CheckoutId;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Customer, JWT_SECRET, Shop, checkout_body};

/// Every endpoint that needs a token. `CHK` and `ORD` stand for ids of the first customer's.
const ENDPOINTS: [(&str, &str); 12] = [
    ("GET", "/v1/cart"),
    ("POST", "/v1/cart/items"),
    ("PUT", "/v1/cart/items/MUG-1"),
    ("DELETE", "/v1/cart/items/MUG-1"),
    ("POST", "/v1/checkouts"),
    ("GET", "/v1/checkouts/CHK"),
    ("POST", "/v1/checkouts/CHK/payment"),
    ("POST", "/v1/checkouts/CHK/cancel"),
    ("GET", "/v1/checkouts/CHK/events"),
    ("GET", "/v1/orders"),
    ("GET", "/v1/orders/ORD"),
    ("GET", "/v1/orders?limit=1"),
];
/// Those that read a JSON body.
const WITH_BODY: [(&str, &str); 4] = [
    ("POST", "/v1/cart/items"),
    ("PUT", "/v1/cart/items/MUG-1"),
    ("POST", "/v1/checkouts"),
    ("POST", "/v1/checkouts/CHK/payment"),
];
/// Those that take none, or an empty object.
const WITHOUT_BODY: [(&str, &str); 2] = [("POST", "/v1/sessions"), ("POST", "/v1/checkouts/CHK/cancel")];
const JSON: (&str, &[u8]) = ("Content-Type", b"application/json");
const KEY: (&str, &[u8]) = ("Idempotency-Key", b"k");

/// A shop that nothing may change.
struct World {
    shop: Shop,
    /// Has a checkout that waits to be paid.
    ada: Customer,
    waiting: CheckoutId,
    /// Has something in her cart.
    bea: Customer,
    before: BTreeMap<String, String>,
}

impl World {
    async fn open() -> Self {
        let shop = Shop::open().await;
        shop.stock("MUG-1", 10, 1299).await;
        let ada = shop.customer().await.with("MUG-1", 2).await;
        let waiting = ada.start("once", json!({})).await.checkout();
        let bea = shop.customer().await.with("MUG-1", 1).await;
        let before = shop.contents().await;
        Self { shop, ada, waiting, bea, before }
    }

    fn path(&self, template: &str) -> String {
        let order = self.waiting.order().to_string();
        template.replace("CHK", &self.waiting.to_string()).replace("ORD", &order)
    }

    /// Sends it as the customer whose it is.
    async fn send(&self, (method, path): (&str, &str), headers: &[(&str, &[u8])], body: &[u8]) -> Answer {
        let customer = if path.contains("CHK") { &self.ada } else { &self.bea };
        let method = method.parse().expect("a method");
        customer.send_bytes(method, &self.path(path), headers, body.to_vec()).await
    }

    /// Claims that nothing has changed and that no answer was our fault.
    async fn assert_unharmed(self) {
        assert_eq!(self.shop.contents().await, self.before);
        let metrics = self.ada.get("/metrics").await.text;
        // It was not ready until it was.
        let ours = |line: &&str| line.contains("status=\"5") && !line.contains("/readyz");
        assert_eq!(metrics.lines().filter(ours).collect::<Vec<_>>(), Vec::<&str>::new());
        assert_eq!(self.ada.cancel(self.waiting).await.state(), Some("cancelled"));
        self.shop.assert_lawful().await;
    }
}

#[tokio::test]
async fn who_shows_no_valid_token_is_told_so_and_nothing_else() {
    let world = World::open().await;
    let claims = |iss: &str, expires_in: i64| {
        let now = i64::try_from(jsonwebtoken::get_current_timestamp()).expect("a time");
        let sub = domain::CustomerId::from(uuid::Uuid::from_u128(7)).to_string();
        json!({ "iss": iss, "sub": sub, "iat": now, "exp": now + expires_in })
    };
    let sign = |claims: Value, algorithm, secret: &str| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("a token")
    };
    let good = world.ada.token();
    let tampered = good.replacen("eyJ", "eyK", 2);
    let bearers = [
        String::new(),
        "garbage".into(),
        "a.b.c".into(),
        tampered,
        good[..good.len() - 4].to_owned(),
        "x".repeat(10_000),
        sign(claims("holdfast", -3600), Algorithm::HS256, JWT_SECRET),
        sign(claims("holdfast", 3600), Algorithm::HS256, "another secret, as long as it needs to be"),
        sign(claims("somebody else", 3600), Algorithm::HS256, JWT_SECRET),
        sign(claims("holdfast", 3600), Algorithm::HS512, JWT_SECRET),
        sign(json!({ "iss": "holdfast", "sub": "root", "iat": 0, "exp": 9_999_999_999_i64 }), Algorithm::HS256, JWT_SECRET),
    ];
    // The crafted tokens differ from a good one only where they are meant to.
    let crafted = world.ada.bearing(&sign(claims("holdfast", 3600), Algorithm::HS256, JWT_SECRET));
    assert_eq!(crafted.get("/v1/cart").await.status, StatusCode::OK);

    for endpoint @ (method, path) in ENDPOINTS {
        let path = world.path(path);
        for bearer in &bearers {
            let answer = world.ada.bearing(bearer).send(method.parse().expect("a method"), &path, &[], None).await;
            assert_problem(&answer, 401, "unauthenticated", &format!("{endpoint:?} {bearer}"));
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        for header in [format!("Basic {good}"), good.to_owned(), "Bearer".into(), "Bearer \u{e9}".into()] {
            let headers = [("Authorization", header.as_bytes())];
            let anonymous = world.ada.anonymous();
            let answer = anonymous.send_bytes(method.parse().expect("a method"), &path, &headers, Vec::new()).await;
            assert_problem(&answer, 401, "unauthenticated", &format!("{endpoint:?} {header}"));
        }
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_found() {
    let world = World::open().await;
    let order = world.path("/v1/orders/ORD");
    let checkout = world.path("/v1/checkouts/CHK");

    for path in [&order, &checkout, &format!("{checkout}/events")] {
        assert_problem(&world.bea.get(path).await, 404, "not_found", path);
    }
    assert_problem(&world.bea.pay(world.waiting, "pm_card_visa").await, 404, "not_found", "payment");
    assert_problem(&world.bea.cancel(world.waiting).await, 404, "not_found", "cancel");
    // To her, her own key is free, though it is the one that he used.
    let cart = world.bea.get("/v1/cart").await;
    assert_eq!(cart.body["checkout_id"], Value::Null);
    assert_eq!(world.ada.get(&order).await.status, StatusCode::OK);
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_is_no_json_object_of_the_right_size_and_kind_is_refused() {
    let world = World::open().await;
    let large = format!(r#"{{"sku":"MUG-1","quantity":1}}{}"#, " ".repeat(64 * 1024));
    let deep: Vec<u8> = repeat_n(b'[', 60_000).collect();
    let bodies: [(&[u8], u16, &str); 14] = [
        (b"", 400, "malformed"),
        (b"{", 400, "malformed"),
        (b"{]", 400, "malformed"),
        (b"sku=MUG-1&quantity=1", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b"\xef\xbb\xbf{}", 400, "malformed"),
        (b"\0", 400, "malformed"),
        (b"{\"\xff\": 1}", 400, "malformed"),
        (b"{\"\\ud800\": 1}", 400, "malformed"),
        (b"null", 422, "validation_failed"),
        (b"\"text\"", 422, "validation_failed"),
        (b"5", 422, "validation_failed"),
        (b"{\"nothing_of_ours\": 1}", 422, "validation_failed"),
        (large.as_bytes(), 413, "payload_too_large"),
    ];
    for endpoint in WITH_BODY {
        for (body, status, code) in bodies {
            let answer = world.send(endpoint, &[JSON, KEY], body).await;
            assert_problem(&answer, status, code, &format!("{endpoint:?} {:?}", String::from_utf8_lossy(body)));
        }
        let answer = world.send(endpoint, &[JSON, KEY], &deep).await;
        assert!(answer.status.is_client_error(), "{endpoint:?} {}", answer.text);
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("\u{e9}")] {
            let kind: Vec<(&str, &[u8])> = kind.iter().map(|kind| ("Content-Type", kind.as_bytes())).collect();
            let answer = world.send(endpoint, &[&kind[..], &[KEY]].concat(), b"{}").await;
            assert_problem(&answer, 415, "unsupported_media_type", &format!("{endpoint:?} {kind:?}"));
        }
    }
    for endpoint in WITHOUT_BODY {
        for (body, status, code) in bodies.iter().skip(1) {
            let answer = world.send(endpoint, &[JSON], body).await;
            assert_problem(&answer, *status, code, &format!("{endpoint:?} {:?}", String::from_utf8_lossy(body)));
        }
        let answer = world.send(endpoint, &[], b"{}").await;
        assert_problem(&answer, 415, "unsupported_media_type", &format!("{endpoint:?}"));
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn headers_that_make_no_sense_are_refused_or_ignored_as_their_standards_say() {
    let world = World::open().await;
    let start = ("POST", "/v1/checkouts");
    let body = checkout_body(json!({})).to_string().into_bytes();
    assert_problem(&world.send(start, &[JSON], &body).await, 400, "idempotency_key_missing", "no key");
    for key in [&b""[..], &[b'k'; 256], "schl\u{fc}ssel".as_bytes(), b"\xff", b"a\tb"] {
        let answer = world.send(start, &[JSON, ("Idempotency-Key", key)], &body).await;
        assert_problem(&answer, 400, "idempotency_key_missing", &format!("{key:?}"));
    }
    let item = br#"{"sku":"MUG-1","quantity":1}"#;
    for tag in [&b""[..], b"1", b"\"1", b"\"1\" \"2\"x", b"\"\xff\"", b"W/1"] {
        let answer = world.send(("POST", "/v1/cart/items"), &[JSON, ("If-Match", tag)], item).await;
        assert_problem(&answer, 400, "malformed", &format!("If-Match {tag:?}"));
    }
    // A preference that cannot be understood is none; this customer has nothing to buy.
    let carl = world.shop.customer().await;
    for prefer in [&b"wait=soon"[..], b"wait=-1", b"wait=99999999999999999999", b"\xff", b"", b"wait", b",;=,"] {
        let headers = [JSON, KEY, ("Prefer", prefer)];
        let answer = carl.send_bytes(Method::POST, "/v1/checkouts", &headers, body.clone()).await;
        assert_problem(&answer, 422, "cart_empty", &format!("Prefer {prefer:?}"));
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn paths_methods_and_queries_that_name_nothing_are_refused() {
    let world = World::open().await;
    for path in ["/v1", "/v1/nothing", "/v2/cart", "/v1/cart/", "/v1/checkouts/CHK/nothing", "/../etc/passwd", "//"] {
        let answer = world.send(("GET", path), &[], b"").await;
        assert_problem(&answer, 404, "not_found", path);
    }
    let order = world.waiting.order().to_string();
    let upper = world.waiting.to_string().to_uppercase();
    let long = "x".repeat(8000);
    for id in ["x", "chk_", "%00", "..%2f..", "%F0%9F%92%A9", "chk_00000000000000000000000000", &order, &upper, &long] {
        for suffix in ["", "/events"] {
            let path = format!("/v1/checkouts/{id}{suffix}");
            assert_problem(&world.send(("GET", &path), &[], b"").await, 404, "not_found", &path);
        }
        for action in ["payment", "cancel"] {
            let path = format!("/v1/checkouts/{id}/{action}");
            let body: &[u8] = if action == "payment" { br#"{"method":"pm_card_visa"}"# } else { b"" };
            assert_problem(&world.send(("POST", &path), &[JSON], body).await, 404, "not_found", &path);
        }
    }
    for id in ["x", "ord_", &world.waiting.to_string(), "ord_00000000000000000000000000", "%00"] {
        let path = format!("/v1/orders/{id}");
        assert_problem(&world.send(("GET", &path), &[], b"").await, 404, "not_found", &path);
    }
    for sku in ["mug", "%00", "MUG%2f1", "NONE-1", &"X".repeat(33)] {
        let path = format!("/v1/cart/items/{sku}");
        let answer = world.send(("PUT", &path), &[JSON], br#"{"quantity":1}"#).await;
        assert_problem(&answer, 404, "not_found", &path);
    }
    for (method, path) in [
        ("GET", "/v1/checkouts/%ff"), ("GET", "/v1/checkouts/%ff/events"), ("POST", "/v1/checkouts/%ff/cancel"),
        ("POST", "/v1/checkouts/%ff/payment"), ("GET", "/v1/orders/%ff"), ("PUT", "/v1/cart/items/%ff"),
        ("DELETE", "/v1/cart/items/%ff"),
    ] {
        let answer = world.send((method, path), &[JSON], b"{}").await;
        assert_problem(&answer, 400, "malformed", path);
    }
    for query in ["limit=0", "limit=101", "limit=-1", "limit=ten", "limit=", "limit=1&limit=2", "limit=%ff",
        "cursor=x", "cursor=", "cursor=%ff", "page=2"] {
        let path = format!("/v1/orders?{query}");
        assert_problem(&world.send(("GET", &path), &[], b"").await, 422, "validation_failed", &path);
    }
    let others = [("/v1/sessions", "POST"), ("/livez", "GET"), ("/readyz", "GET"), ("/metrics", "GET"), ("/docs", "GET")];
    let known: Vec<(&str, &str)> = ENDPOINTS.iter().map(|(method, path)| (*path, *method)).chain(others).collect();
    for (path, _) in &known {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if known.contains(&(path, method)) {
                continue;
            }
            let answer = world.send((method, path), &[], b"").await;
            assert_problem(&answer, 405, "method_not_allowed", &format!("{method} {path}"));
            assert!(answer.headers.contains_key("allow"), "{method} {path}");
        }
    }
    world.assert_unharmed().await;
}

/// Claims that the answer is the problem of that code, in full.
fn assert_problem(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status.as_u16(), answer.code()), (status, Some(code)), "{what}: {}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    assert_eq!(answer.body["status"], status, "{what}");
    assert_eq!(answer.body["type"], format!("urn:holdfast:problem:{code}"), "{what}");
    for member in ["title", "detail"] {
        assert!(answer.body[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {}", answer.text);
    }
}
