//! The wire format: authentication, bad input, lists, search. Bad input is a precise refusal, never a
//! 500, and changes nothing.

use reqwest::{Method, header};

use crate::harness::{Network, Reply, authorization, client, id};

#[tokio::test]
async fn only_a_test_key_or_the_configured_key_is_let_in() {
    let network = Network::start_with(|config| config.api_key = Some("mine".to_owned())).await;
    for (key, status) in [("sk_test_any", 200), ("mine", 200), ("sk_live_1", 401), ("", 401)] {
        let client = client();
        let bearer = client.get(network.url("/v1/payment_intents")).bearer_auth(key);
        assert_eq!(bearer.send().await.expect("an answer").status(), status, "Bearer {key}");
        let basic = client.get(network.url("/v1/payment_intents")).basic_auth(key, Some(""));
        assert_eq!(basic.send().await.expect("an answer").status(), status, "Basic {key}");
    }
    let bare = client().get(network.url("/v1/payment_intents")).send().await;
    let reply = Reply::read(bare.expect("an answer")).await;
    reply.error(401, "invalid_request_error", None);
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let network = Network::start().await;
    let base = [("amount", "1000"), ("currency", "eur")];
    let with = |name: &'static str, value: &'static str| {
        let mut fields = base.to_vec();
        fields.retain(|(field, _)| *field != name);
        fields.push((name, value));
        fields
    };
    let long = [("amount", "1"), ("currency", "eur"), ("metadata[a]", &"x".repeat(501))];
    let cases = [
        (vec![("currency", "eur")], "amount", Some("parameter_missing")),
        (vec![("amount", "1")], "currency", Some("parameter_missing")),
        (with("amount", "0"), "amount", Some("parameter_invalid_integer")),
        (with("amount", "1.5"), "amount", Some("parameter_invalid_integer")),
        (with("amount", "1e9"), "amount", Some("parameter_invalid_integer")),
        (with("amount", "100000000"), "amount", Some("amount_too_large")),
        (with("amount", ""), "amount", Some("parameter_invalid_empty")),
        (with("currency", "xxz"), "currency", None),
        (with("currency", "euro"), "currency", None),
        (with("capture_method", "later"), "capture_method", None),
        (with("confirm", "maybe"), "confirm", None),
        (with("confirm", "true"), "payment_method", Some("parameter_missing")),
        (with("payment_method", "pm_nope"), "payment_method", Some("resource_missing")),
        (with("return_url", "javascript:1"), "return_url", Some("url_invalid")),
        (with("card[number]", "4242424242424242"), "card", Some("parameter_unknown")),
        (with("metadata", "x"), "metadata", None),
        (long.to_vec(), "metadata", None),
    ];
    for (fields, param, code) in cases {
        let reply = network.post("/v1/payment_intents", &fields).await;
        let error = reply.error(400, "invalid_request_error", code);
        assert_eq!(error["param"], param, "{error}");
    }
    let list = network.get("/v1/payment_intents", &[]).await.ok();
    assert_eq!(list["data"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn what_is_no_form_or_too_large_is_refused() {
    let network = Network::start().await;
    let post = || network.request(Method::POST, "/v1/payment_intents");
    for (request, status) in [
        (post().header(header::CONTENT_TYPE, "application/json").body("{}"), 400),
        (post().body(&b"amount=%ff"[..]), 400),
        (post().body(&b"amount=\xff\xfe"[..]), 400),
        (post().body(&b"metadata[a]=%00&amount=1&currency=eur"[..]), 400),
        (post().body("a=1&".repeat(201)), 400),
        (post().body("a".repeat(64 * 1024 + 1)), 413),
    ] {
        let reply = Reply::read(request.send().await.expect("an answer")).await;
        assert_eq!(reply.json["error"]["type"], "invalid_request_error");
        assert_eq!(reply.status, status, "{}", reply.json);
    }
}

#[tokio::test]
async fn unknown_ids_and_urls_are_not_found() {
    let network = Network::start().await;
    let missing =
        |reply: Reply| reply.error(404, "invalid_request_error", Some("resource_missing"));
    missing(network.get("/v1/payment_intents/pi_nope", &[]).await);
    for operation in ["confirm", "capture", "cancel"] {
        missing(network.post(&format!("/v1/payment_intents/pi_nope/{operation}"), &[]).await);
    }
    missing(network.post("/v1/refunds", &[("payment_intent", "pi_nope")]).await);
    network.get("/v1/charges", &[]).await.error(404, "invalid_request_error", None);
    network.post("/v1/payment_intents/search", &[]).await.error(404, "invalid_request_error", None);
    for strange in ["%00", "%ff", "a%2Fb", &"x".repeat(256)] {
        let reply = network.get(&format!("/v1/payment_intents/{strange}"), &[]).await;
        assert_eq!(reply.status, 404, "{}", reply.json);
    }
    let page = network.request(Method::GET, "/3ds/pi_nope").send().await.expect("an answer");
    assert_eq!(page.status(), 404);
}

#[tokio::test]
async fn lists_run_from_new_to_old_in_pages() {
    let network = Network::start().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(network.authorize(&format!("pay_{number}")).await);
    }
    ids.reverse();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let mut query = vec![("limit", "2")];
        if let Some(last) = seen.last() {
            query.push(("starting_after", last));
        }
        let page = network.get("/v1/payment_intents", &query).await.ok();
        seen.extend(page["data"].as_array().expect("a list has data").iter().map(id));
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, ids);
    for limit in ["0", "101", "x"] {
        assert_eq!(network.get("/v1/payment_intents", &[("limit", limit)]).await.status, 400);
    }
}

#[tokio::test]
async fn lists_keep_to_a_range_of_creation_times() {
    let network = Network::start().await;
    let mut created = Vec::new();
    for number in 0..2 {
        let intent = network.authorize(&format!("pay_{number}")).await;
        network.post(&format!("/v1/payment_intents/{intent}/capture"), &[]).await.ok();
        network.post("/v1/refunds", &[("payment_intent", &intent)]).await.ok();
        created.push(network.intent(&intent).await["created"].as_i64().expect("a time"));
    }
    let first = created[0];
    let last = network.get("/v1/refunds", &[]).await.ok()["data"][0]["created"].clone();
    let last = last.as_i64().expect("a time");
    for path in ["/v1/payment_intents", "/v1/refunds"] {
        for (bound, at, expected) in [
            ("created[gte]", first, 2),
            ("created[gt]", last, 0),
            ("created[lte]", last, 2),
            ("created[lt]", first, 0),
            ("created", last + 1, 0),
        ] {
            let page = network.get(path, &[(bound, &at.to_string())]).await.ok();
            let found = page["data"].as_array().map(Vec::len);
            assert_eq!(found, Some(expected), "{path}?{bound}={at}");
        }
        let window = [("created[gte]", &*first.to_string()), ("limit", "1")];
        assert_eq!(network.get(path, &window).await.ok()["has_more"], true);
        assert_eq!(network.get(path, &[("created[gte]", "soon")]).await.status, 400);
    }
}

#[tokio::test]
async fn search_finds_intents_by_all_the_metadata_named() {
    let network = Network::start().await;
    let mut fields = authorization("pm_card_visa", "pay_1");
    fields.push(("metadata[order]", "it's"));
    let both = id(&network.post("/v1/payment_intents", &fields).await.ok());
    let other = network.authorize("pay_1").await;
    network.authorize("pay_2").await;
    for (query, expected) in [
        ("metadata['payment_id']:'pay_1'", vec![&*other, &*both]),
        (r"metadata['payment_id']:'pay_1' AND metadata['order']:'it\'s'", vec![&*both]),
        ("metadata[\"order\"]:\"it's\"", vec![&*both]),
        ("metadata['payment_id']:'pay_3'", vec![]),
    ] {
        let found = network.get("/v1/payment_intents/search", &[("query", query)]).await.ok();
        assert_eq!(found["object"], "search_result");
        let found: Vec<_> =
            found["data"].as_array().expect("a result has data").iter().map(id).collect();
        assert_eq!(found, expected, "{query}");
    }
    for query in ["status:'succeeded'", "metadata['a']:'b' OR metadata['c']:'d'", ""] {
        let reply = network.get("/v1/payment_intents/search", &[("query", query)]).await;
        assert_eq!(reply.status, 400, "{query}");
    }
}
