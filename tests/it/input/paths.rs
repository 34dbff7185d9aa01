//! Paths, methods and queries that are none of ours.

use super::world::{ENDPOINTS, JSON, World, assert_problem};

#[tokio::test]
async fn a_path_that_names_nothing_is_not_found() {
    let world = World::open().await;
    for path in [
        "/v1",
        "/v1/nothing",
        "/v2/cart",
        "/v1/cart/",
        "/v1/checkouts/CHK/nothing",
        "/../etc/passwd",
        "//",
    ] {
        let answer = world.send(("GET", path), &[], b"").await;
        assert_problem(&answer, 404, "not_found", path);
    }
    let order = world.waiting.order().to_string();
    let upper = world.waiting.to_string().to_uppercase();
    let long = "x".repeat(8000);
    for id in [
        "x",
        "chk_",
        "%00",
        "..%2f..",
        "%F0%9F%92%A9",
        "chk_00000000000000000000000000",
        &order,
        &upper,
        &long,
    ] {
        for suffix in ["", "/events"] {
            let path = format!("/v1/checkouts/{id}{suffix}");
            assert_problem(&world.send(("GET", &path), &[], b"").await, 404, "not_found", &path);
        }
        for action in ["payment", "cancel"] {
            let path = format!("/v1/checkouts/{id}/{action}");
            let body: &[u8] =
                if action == "payment" { br#"{"method":"pm_card_visa"}"# } else { b"" };
            assert_problem(
                &world.send(("POST", &path), &[JSON], body).await,
                404,
                "not_found",
                &path,
            );
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
        ("GET", "/v1/checkouts/%ff"),
        ("GET", "/v1/checkouts/%ff/events"),
        ("POST", "/v1/checkouts/%ff/cancel"),
        ("POST", "/v1/checkouts/%ff/payment"),
        ("GET", "/v1/orders/%ff"),
        ("PUT", "/v1/cart/items/%ff"),
        ("DELETE", "/v1/cart/items/%ff"),
    ] {
        let answer = world.send((method, path), &[JSON], b"{}").await;
        assert_problem(&answer, 400, "malformed", path);
    }
    world.assert_unharmed().await;
}

#[tokio::test]
async fn a_query_or_a_method_that_is_none_of_ours_is_refused() {
    let world = World::open().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1&limit=2",
        "limit=%ff",
        "cursor=x",
        "cursor=",
        "cursor=%ff",
        "page=2",
    ] {
        let path = format!("/v1/orders?{query}");
        assert_problem(
            &world.send(("GET", &path), &[], b"").await,
            422,
            "validation_failed",
            &path,
        );
    }
    let others = [
        ("/v1/sessions", "POST"),
        ("/livez", "GET"),
        ("/readyz", "GET"),
        ("/metrics", "GET"),
        ("/docs", "GET"),
    ];
    let known: Vec<(&str, &str)> =
        ENDPOINTS.iter().map(|(method, path)| (*path, *method)).chain(others).collect();
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
