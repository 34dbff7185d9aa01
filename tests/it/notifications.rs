//! Telling others: every event reaches whoever listens, at least once and under one id, and nobody hears
//! of what did not happen.

use std::{fs, time::Duration};

use devstack::workspace_root;
use domain::CheckoutId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::outbox::TOPICS;
use tests::{Answer, Customer, Listener, PostOffice, Posted, Shop, Spec, eventually};

const ENDPOINTS: &str = "/v1/admin/webhook-endpoints";
const SALES: [&str; 3] = ["order.placed", "order.paid", "order.cancelled"];

/// A shop that posts to this machine, and gives up after so many tries.
fn spec(tries_max: u32) -> Spec {
    Spec {
        worker_settings: vec![
            ("WEBHOOKS_ALLOW_PRIVATE", "true".to_owned()),
            ("DELIVERY_TRIES_MAX", tries_max.to_string()),
        ],
        ..Spec::default()
    }
}

/// Has somebody told of sales; the secret they are given.
async fn told(shop: &Shop, url: &str) -> String {
    told_of(shop, url, &SALES).await
}

async fn told_of(shop: &Shop, url: &str, topics: &[&str]) -> String {
    let ada = shop.operator("ada").await;
    let body = json!({ "url": url, "topics": topics });
    let registered = ada.send(Method::POST, ENDPOINTS, &[], Some(body)).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{:#}", registered.body);
    registered.body["secret"].as_str().expect("a secret").to_owned()
}

async fn buy(shop: &Shop) -> CheckoutId {
    let bought = shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await;
    assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    bought.checkout()
}

/// How many deliveries are in that state.
async fn deliveries(shop: &Shop, state: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM delivery WHERE state = $1")
        .bind(state)
        .fetch_one(&shop.db)
        .await
        .expect("a count")
}

async fn until_delivered(shop: &Shop, count: i64) {
    eventually(&format!("{count} deliveries are marked"), || async {
        (deliveries(shop, "delivered").await == count).then_some(())
    })
    .await;
}

async fn dead_letters(operator: &Customer, count: usize) -> Vec<Value> {
    eventually(&format!("{count} deliveries are given up"), || async {
        let dead = operator.get("/v1/admin/deliveries?state=dead").await;
        assert_eq!(dead.status, StatusCode::OK, "{:#}", dead.body);
        let dead = dead.body["deliveries"].as_array().expect("deliveries").clone();
        (dead.len() == count).then_some(dead)
    })
    .await
}

#[tokio::test]
async fn a_sales_events_reach_an_endpoint_once_each_signed_and_under_their_ids() {
    let shop = Shop::open_with(spec(5)).await;
    shop.stock("MUG-1", 1, 1299).await;
    let listener = Listener::start().await;
    let secret = told(&shop, &listener.url).await;

    let sold = buy(&shop).await;

    until_delivered(&shop, 2).await;
    let posted = listener.posted();
    assert_eq!(posted.len(), 2, "{posted:#?}");
    for topic in ["order.placed", "order.paid"] {
        let event = listener.hears_of(topic).await;
        assert!(event.event_id().starts_with("evt_"), "{}", event.text);
        assert_eq!(event.headers["holdfast-event-id"], event.event_id());
        assert!(event.signed_at(&secret).is_some(), "{:?}", event.headers);
        assert_eq!(event.signed_at("whsec_of_another"), None);
        let total = json!({ "minor": 1299, "currency": "EUR" });
        let data = json!({ "order_id": sold.order().to_string(), "total": total });
        assert_eq!(event.body["data"], data);
        assert!(event.body["created_at"].is_string(), "{}", event.text);
    }
    assert_ne!(posted[0].event_id(), posted[1].event_id());
    assert!(!listener.posted().iter().any(|event| event.text.contains("ada@example.com")));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_endpoint_that_fails_twice_gets_it_in_the_end() {
    let shop = Shop::open_with(spec(5)).await;
    shop.stock("MUG-1", 1, 1299).await;
    let listener = Listener::start_answering([500, 301]).await;
    let secret = told_of(&shop, &listener.url, &["order.paid"]).await;

    buy(&shop).await;

    until_delivered(&shop, 1).await;
    let posted = listener.posted();
    let [first, _, last] = &posted[..] else { panic!("{posted:#?}") };
    assert!(posted.iter().all(|event| event.event_id() == first.event_id()), "{posted:#?}");
    // Signed anew, at a later time.
    assert!(first.signed_at(&secret).is_some(), "{first:?}");
    assert!(last.signed_at(&secret) > first.signed_at(&secret), "{last:?}");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_nobody_takes_is_listed_and_a_retry_delivers_it() {
    let shop = Shop::open_with(spec(2)).await;
    shop.stock("MUG-1", 1, 1299).await;
    let listener = Listener::start_answering([500, 500, 500, 500]).await;
    told(&shop, &listener.url).await;
    let ada = shop.operator("ada").await;

    buy(&shop).await;

    let dead = dead_letters(&ada, 2).await;
    for delivery in &dead {
        assert_eq!(delivery["tries"], 2, "{delivery:#}");
        assert_eq!(delivery["last_error"], "the endpoint answered 500", "{delivery:#}");
        let retry =
            format!("/v1/admin/deliveries/{}/retry", delivery["id"].as_str().expect("an id"));
        let retried = ada.send(Method::POST, &retry, &[], None).await;
        assert_eq!((retried.status, retried.state()), (StatusCode::OK, Some("waiting")));
    }
    until_delivered(&shop, 2).await;
    assert!(dead_letters(&ada, 0).await.is_empty());
    let first = ada.get("/v1/admin/deliveries?state=delivered&limit=1").await;
    let cursor = first.body["next_cursor"].as_str().expect("there is more");
    let rest = ada.get(&format!("/v1/admin/deliveries?state=delivered&cursor={cursor}")).await;
    let page = |answer: &Answer| answer.body["deliveries"].as_array().expect("one").clone();
    let mut listed = [page(&first), page(&rest)].concat();
    listed.sort_by_key(|delivery| delivery["id"].to_string());
    let mut ids: Vec<_> = dead.iter().map(|delivery| &delivery["id"]).collect();
    ids.sort_by_key(ToString::to_string);
    assert_eq!(listed.iter().map(|delivery| &delivery["id"]).collect::<Vec<_>>(), ids);
    assert_eq!(rest.body["next_cursor"], Value::Null);
    // What was delivered stays so.
    let id = dead[0]["id"].as_str().expect("an id");
    let again =
        ada.send(Method::POST, &format!("/v1/admin/deliveries/{id}/retry"), &[], None).await;
    assert_eq!((again.status, again.state()), (StatusCode::OK, Some("delivered")));
    assert_eq!(listener.posted().len(), 6);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_slow_endpoint_delays_nobody_else() {
    let shop = Shop::open_with(spec(5)).await;
    shop.stock("MUG-1", 20, 1299).await;
    let (slow, quick) = (Listener::start().await, Listener::start().await);
    slow.hesitate();
    told(&shop, &slow.url).await;
    told(&shop, &quick.url).await;

    for _ in 0..6 {
        buy(&shop).await;
    }

    // The slow one has answered nothing so far.
    until_delivered(&shop, 12).await;
    assert_eq!(quick.posted().len(), 12);
    slow.answer();
    until_delivered(&shop, 24).await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_delivery_whose_worker_dies_before_it_is_marked_is_made_again_under_the_same_id() {
    let shop = Shop::open_with(spec(5)).await;
    shop.stock("MUG-1", 1, 1299).await;
    let listener = Listener::start().await;
    told_of(&shop, &listener.url, &["order.paid"]).await;
    listener.hesitate();
    buy(&shop).await;
    listener.hears_of("order.paid").await;

    shop.kill_worker(0);
    listener.answer();
    shop.start_worker(0);

    until_delivered(&shop, 1).await;
    let posted = listener.posted();
    let [first, second] = &posted[..] else { panic!("{posted:#?}") };
    assert_eq!(first.event_id(), second.event_id(), "the receiver can tell");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM delivery")
        .fetch_one(&shop.db)
        .await
        .expect("rows");
    assert_eq!(rows, 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_placed_order_that_is_undone_is_told_as_cancelled_and_never_as_paid() {
    let post_office = PostOffice::open_refusing([]).await;
    let mut spec = spec(5);
    spec.worker_settings.push(("SMTP_URL", post_office.url.clone()));
    spec.worker_settings.push(("MAIL_FROM", "shop@example.com".to_owned()));
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, 1299).await;
    let listener = Listener::start().await;
    told(&shop, &listener.url).await;
    // The order is placed by then.
    shop.fault("capture", "refuse", Duration::ZERO).await;

    let failed = shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await;

    assert_eq!(shop.order_state(failed.checkout()).await.as_deref(), Some("cancelled"));
    let cancelled = listener.hears_of("order.cancelled").await;
    let placed = listener.hears_of("order.placed").await;
    for event in [&placed, &cancelled] {
        assert_eq!(event.body["data"]["order_id"], failed.checkout().order().to_string());
    }
    let at = |event: &Posted| event.body["created_at"].as_str().expect("a time").to_owned();
    assert!(at(&placed) < at(&cancelled), "{placed:#?} {cancelled:#?}");
    // What is told goes by order, so once a later sale has come through, an earlier event would have.
    let sold = buy(&shop).await;
    until_delivered(&shop, 5).await;
    let posted = listener.posted();
    let paid = posted.iter().filter(|event| event.topic() == "order.paid").count();
    assert_eq!(paid, 1, "only the later sale is told as paid: {posted:#?}");
    let [mail] = &post_office.taken()[..] else { panic!("{:#?}", post_office.taken()) };
    assert!(mail.message.contains(&sold.order().to_string()), "{}", mail.message);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_step_that_is_rolled_back_tells_nobody() {
    let shop = Shop::open_with(spec(5)).await;
    shop.stock("MUG-1", 1, 1299).await;
    let listener = Listener::start().await;
    told(&shop, &listener.url).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let checkout = ada.start("once", json!({})).await.checkout();

    let mut tx = shop.db.begin().await.expect("a transaction");
    let placed = store::order::place(&mut tx, checkout, "pi_of_nobody", true).await;
    assert_eq!(placed.expect("an answer"), store::order::Placed::Placed);
    let announced: i64 = sqlx::query_scalar("SELECT count(*) FROM announcement")
        .fetch_one(&mut *tx)
        .await
        .expect("a count");
    assert_eq!(announced, 1, "it would have been told");
    tx.rollback().await.expect("a rollback");
    let cancelled = ada.cancel(checkout).await;
    assert_eq!(cancelled.state(), Some("cancelled"), "{:#}", cancelled.body);

    // What is told goes by order, so once a later sale has come through, an earlier event would have.
    let sold = buy(&shop).await;
    until_delivered(&shop, 2).await;
    let orders: Vec<Value> =
        listener.posted().iter().map(|event| event.body["data"]["order_id"].clone()).collect();
    assert_eq!(orders, vec![json!(sold.order().to_string()); 2]);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_customer_is_written_to_once_though_the_mail_server_refuses_at_first() {
    let post_office = PostOffice::open_refusing(["451 later", "550 unknown"]).await;
    let mut spec = spec(5);
    spec.worker_settings.push(("SMTP_URL", post_office.url.clone()));
    spec.worker_settings.push(("MAIL_FROM", "The Shop <shop@example.com>".to_owned()));
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 2, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;

    let sold = ada.buy("pm_card_visa").await.checkout();

    post_office.takes(1).await;
    until_delivered(&shop, 1).await;
    assert_eq!(post_office.refused(), 2);
    let [mail] = &post_office.taken()[..] else { panic!("{:#?}", post_office.taken()) };
    assert_eq!(mail.to, ["ada@example.com"]);
    let confirmed = format!("Your order {} is confirmed", sold.order());
    assert_eq!(mail.header("Subject"), Some(confirmed.as_str()), "{}", mail.message);
    assert!(
        mail.header("Message-ID").is_some_and(|id| id.starts_with("<dlv_")),
        "{}",
        mail.message
    );
    assert!(mail.message.contains("2 x Test MUG-1 (MUG-1), 12.99 EUR each"), "{}", mail.message);
    assert!(mail.message.contains("Total: 25.98 EUR"), "{}", mail.message);
    // The address stands where the checkout is, and in no second place.
    let copies: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (
            SELECT to_jsonb(d)::text AS row FROM delivery d UNION ALL SELECT to_jsonb(o)::text FROM outbox o
        ) rows WHERE row LIKE '%ada@example.com%'",
    )
    .fetch_one(&shop.db)
    .await
    .expect("a count");
    assert_eq!(copies, 0);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refused_mail_is_given_up_without_a_word_of_whose_it_was() {
    let post_office = PostOffice::open_refusing(["550 unknown"; 2]).await;
    let mut spec = spec(2);
    spec.worker_settings.push(("SMTP_URL", post_office.url.clone()));
    spec.worker_settings.push(("MAIL_FROM", "shop@example.com".to_owned()));
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.operator("ada").await;

    buy(&shop).await;

    let dead = dead_letters(&ada, 1).await;
    assert_eq!(dead[0]["last_error"], "the mail server answered 550", "{:#}", dead[0]);
    assert_eq!((&dead[0]["topic"], &dead[0]["endpoint_id"]), (&json!("order.paid"), &Value::Null));
    assert!(post_office.taken().is_empty());
    shop.assert_lawful().await;
}

#[tokio::test]
async fn private_addresses_are_not_posted_to_unless_the_shop_is_told_so() {
    let shop = Shop::open_with(Spec {
        worker_settings: vec![("DELIVERY_TRIES_MAX", "1".to_owned())],
        ..Spec::default()
    })
    .await;
    shop.stock("MUG-1", 1, 1299).await;
    let listener = Listener::start().await;
    told(&shop, &listener.url).await;
    told(&shop, &listener.url.replace("127.0.0.1", "localhost")).await;
    let ada = shop.operator("ada").await;

    buy(&shop).await;

    for delivery in dead_letters(&ada, 4).await {
        let error = delivery["last_error"].as_str().expect("an error");
        assert!(error.contains("private"), "{delivery:#}");
    }
    assert!(listener.posted().is_empty());
    shop.assert_lawful().await;
}

#[tokio::test]
async fn endpoints_are_for_operators_and_their_secrets_are_told_once() {
    let shop = Shop::open_with(spec(2)).await;
    shop.stock("MUG-1", 2, 1299).await;
    let (ada, customer) = (shop.operator("ada").await, shop.customer().await);
    let listener = Listener::start().await;
    let secret = told(&shop, &listener.url).await;
    assert!(secret.starts_with("whsec_"));

    let listed = ada.get(ENDPOINTS).await;
    let [endpoint] = &listed.body["endpoints"].as_array().expect("endpoints")[..] else {
        panic!("{:#}", listed.body)
    };
    assert_eq!((&endpoint["url"], &endpoint["topics"]), (&json!(listener.url), &json!(SALES)));
    assert!(!listed.text.contains(&secret), "{}", listed.text);
    let id = endpoint["id"].as_str().expect("an id");
    for (method, path) in [
        (Method::GET, ENDPOINTS.to_owned()),
        (Method::POST, ENDPOINTS.to_owned()),
        (Method::DELETE, format!("{ENDPOINTS}/{id}")),
        (Method::GET, "/v1/admin/deliveries".to_owned()),
        (Method::POST, "/v1/admin/deliveries/dlv_00000000000000000000000000/retry".to_owned()),
    ] {
        let refused = customer.send(method.clone(), &path, &[], None).await;
        assert_eq!(refused.code(), Some("forbidden"), "{method} {path}");
    }
    for (body, pointer) in [
        (json!({ "url": "http://example.com/", "topics": SALES }), "/url"),
        (json!({ "url": "https://ada:x@example.com/", "topics": SALES }), "/url"),
        (json!({ "url": "https://example.com/", "topics": [] }), "/topics"),
        (
            json!({ "url": "https://example.com/", "topics": ["order.paid", "order.payed"] }),
            "/topics/1",
        ),
        (json!({ "url": "https://example.com/", "topics": ["*"] }), "/topics/0"),
    ] {
        let refused = ada.send(Method::POST, ENDPOINTS, &[], Some(body)).await;
        assert_eq!(refused.code(), Some("validation_failed"), "{:#}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{:#}", refused.body);
    }
    let unheard_of = json!({ "url": "https://example.com/", "topics": ["order.payed"] });
    let refused = ada.send(Method::POST, ENDPOINTS, &[], Some(unheard_of)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{:#}", refused.body);
    let detail = refused.body["errors"][0]["detail"].as_str().expect("a detail");
    for topic in TOPICS {
        assert!(detail.contains(topic), "{topic} is not in {detail}");
    }
    assert_eq!(unknown(&ada.get("/v1/admin/deliveries?state=lost").await), "state");

    let removed = ada.send(Method::DELETE, &format!("{ENDPOINTS}/{id}"), &[], None).await;
    let again = ada.send(Method::DELETE, &format!("{ENDPOINTS}/{id}"), &[], None).await;
    assert_eq!((removed.status, again.status), (StatusCode::NO_CONTENT, StatusCode::NOT_FOUND));
    let other = Listener::start().await;
    told(&shop, &other.url).await;
    buy(&shop).await;
    until_delivered(&shop, 2).await;
    assert!(listener.posted().is_empty());
    shop.assert_lawful().await;
}

fn unknown(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{:#}", answer.body);
    answer.body["errors"][0]["parameter"].as_str().expect("a parameter").to_owned()
}

#[test]
fn the_page_of_events_has_every_topic() {
    let page = workspace_root().join("docs/events.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut told: Vec<&str> = rows.map(|(topic, _)| topic).collect();
    told.sort_unstable();
    let mut topics = TOPICS;
    topics.sort_unstable();
    assert_eq!(told, topics);
}
