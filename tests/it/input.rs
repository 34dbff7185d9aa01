//! Bad input to every endpoint: each is refused with a precise problem, none is our fault, and
//! nothing changes. Bad values of single fields are in `fields`, bytes that are no HTTP in `wire`.

mod paths;
mod world;

use std::iter::repeat_n;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{JWT_SECRET, checkout_body};

use self::world::{ENDPOINTS, JSON, KEY, WITH_BODY, WITHOUT_BODY, World, assert_problem};

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
        sign(
            claims("holdfast", 3600),
            Algorithm::HS256,
            "another secret, as long as it needs to be",
        ),
        sign(claims("somebody else", 3600), Algorithm::HS256, JWT_SECRET),
        sign(claims("holdfast", 3600), Algorithm::HS512, JWT_SECRET),
        sign(
            json!({ "iss": "holdfast", "sub": "root", "iat": 0, "exp": 9_999_999_999_i64 }),
            Algorithm::HS256,
            JWT_SECRET,
        ),
    ];
    // The crafted tokens differ from a good one only where they are meant to.
    let crafted = world.ada.bearing(&sign(claims("holdfast", 3600), Algorithm::HS256, JWT_SECRET));
    assert_eq!(crafted.get("/v1/cart").await.status, StatusCode::OK);

    for endpoint @ (method, path) in ENDPOINTS {
        let path = world.path(path);
        for bearer in &bearers {
            let answer = world
                .ada
                .bearing(bearer)
                .send(method.parse().expect("a method"), &path, &[], None)
                .await;
            assert_problem(&answer, 401, "unauthenticated", &format!("{endpoint:?} {bearer}"));
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        for header in
            [format!("Basic {good}"), good.to_owned(), "Bearer".into(), "Bearer \u{e9}".into()]
        {
            let headers = [("Authorization", header.as_bytes())];
            let anonymous = world.ada.anonymous();
            let answer = anonymous
                .send_bytes(method.parse().expect("a method"), &path, &headers, Vec::new())
                .await;
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
    assert_problem(
        &world.bea.pay(world.waiting, "pm_card_visa").await,
        404,
        "not_found",
        "payment",
    );
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
            assert_problem(
                &answer,
                status,
                code,
                &format!("{endpoint:?} {:?}", String::from_utf8_lossy(body)),
            );
        }
        let answer = world.send(endpoint, &[JSON, KEY], &deep).await;
        assert!(answer.status.is_client_error(), "{endpoint:?} {}", answer.text);
        for kind in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("\u{e9}")]
        {
            let kind: Vec<(&str, &[u8])> =
                kind.iter().map(|kind| ("Content-Type", kind.as_bytes())).collect();
            let answer = world.send(endpoint, &[&kind[..], &[KEY]].concat(), b"{}").await;
            assert_problem(
                &answer,
                415,
                "unsupported_media_type",
                &format!("{endpoint:?} {kind:?}"),
            );
        }
    }
    for endpoint in WITHOUT_BODY {
        for (body, status, code) in bodies.iter().skip(1) {
            let answer = world.send(endpoint, &[JSON], body).await;
            assert_problem(
                &answer,
                *status,
                code,
                &format!("{endpoint:?} {:?}", String::from_utf8_lossy(body)),
            );
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
    assert_problem(
        &world.send(start, &[JSON], &body).await,
        400,
        "idempotency_key_missing",
        "no key",
    );
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
    for prefer in [
        &b"wait=soon"[..],
        b"wait=-1",
        b"wait=99999999999999999999",
        b"\xff",
        b"",
        b"wait",
        b",;=,",
    ] {
        let headers = [JSON, KEY, ("Prefer", prefer)];
        let answer = carl.send_bytes(Method::POST, "/v1/checkouts", &headers, body.clone()).await;
        assert_problem(&answer, 422, "cart_empty", &format!("Prefer {prefer:?}"));
    }
    world.assert_unharmed().await;
}
