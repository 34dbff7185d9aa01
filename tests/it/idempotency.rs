//! Asking twice: the same key is the same checkout, however often and however fast it is sent.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::{Answer, Payment, Shop};

const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

#[tokio::test]
async fn the_same_key_twenty_times_at_once_is_one_checkout_and_one_charge() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 100, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;

    let answers = join_all((0..20).map(|_| ada.buy_as("once", "pm_card_visa"))).await;

    let id = answers[0].checkout();
    for answer in &answers {
        assert!(answer.status.is_success(), "{} {:#}", answer.status, answer.body);
        assert_eq!(answer.checkout(), id);
    }
    assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
    ada.until(id, "completed").await;
    assert_eq!(shop.counters("MUG-1").await, (98, 0, 2));
    assert_eq!(shop.payment(id).await, ONCE);
    assert_eq!(shop.network_totals().await, ONCE);
    assert_eq!(checkouts(&shop).await, 1);

    let other = ada.buy_as("once", "pm_card_mastercard").await;
    assert_eq!(
        (other.status, other.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("idempotency_key_reused")),
        "{:#}",
        other.body
    );
    assert_eq!(checkouts(&shop).await, 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_replay_after_the_end_tells_the_same_end_and_does_nothing() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let bea = shop.customer().await.with("MUG-1", 3).await;

    let bought = ada.buy_as("k", "pm_card_visa").await;
    let short = bea.buy_as("k", "pm_card_visa").await;
    assert_eq!(
        (bought.status, short.status),
        (StatusCode::CREATED, StatusCode::CONFLICT),
        "{:#}",
        short.body
    );
    let before = shop.contents().await;

    for (customer, first) in [(&ada, &bought), (&bea, &short)] {
        let again = customer.buy_as("k", "pm_card_visa").await;
        assert!(replayed(&again) && !replayed(first));
        assert_eq!((again.status, &again.body), (first.status, &first.body));
    }
    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_customer() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let bea = shop.customer().await.with("MUG-1", 1).await;

    let [first, second] =
        [ada.buy_as("k", "pm_card_visa").await, bea.buy_as("k", "pm_card_visa").await];

    assert_eq!([first.status, second.status], [StatusCode::CREATED; 2]);
    assert_ne!(first.checkout(), second.checkout());
    shop.assert_lawful().await;
}

/// Whoever comes while the one that was first waits to be paid finds the cart locked, always.
#[tokio::test]
async fn of_tabs_that_hold_the_same_cart_one_gets_it() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 100, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let answers = join_all(["1", "2", "3", "4"].map(|tab| ada.start(tab, json!({})))).await;

    let held: Vec<&Answer> =
        answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).collect();
    let [held] = held[..] else { panic!("{} tabs hold the cart", held.len()) };
    assert_eq!(held.state(), Some("awaiting_payment"));
    for locked in answers.iter().filter(|answer| answer.status != StatusCode::ACCEPTED) {
        assert_eq!(
            (locked.status, locked.code()),
            (StatusCode::CONFLICT, Some("cart_locked")),
            "{}",
            locked.text
        );
        assert_eq!(locked.body["checkout_id"], held.body["id"]);
    }
    assert_eq!(shop.counters("MUG-1").await, (99, 1, 0));
    assert_eq!(ada.pay(held.checkout(), "pm_card_visa").await.state(), Some("completed"));
    assert_eq!(shop.network_totals().await, ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn two_tabs_that_buy_the_same_cart_make_one_order() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 100, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let answers = join_all(["1", "2", "3", "4"].map(|tab| ada.buy_as(tab, "pm_card_visa"))).await;

    let mut sold: Vec<&Answer> = Vec::new();
    for answer in &answers {
        match (answer.status, answer.code()) {
            (StatusCode::CREATED, None) => sold.push(answer),
            (StatusCode::CONFLICT, Some("cart_locked"))
            | (StatusCode::UNPROCESSABLE_ENTITY, Some("cart_empty")) => {}
            _ => panic!("{} {:#}", answer.status, answer.body),
        }
    }
    let [sold] = sold[..] else { panic!("{} tabs bought", sold.len()) };
    for answer in answers.iter().filter(|answer| answer.code() == Some("cart_locked")) {
        assert_eq!(answer.body["checkout_id"], sold.body["id"]);
    }
    assert_eq!(shop.counters("MUG-1").await, (99, 0, 1));
    assert_eq!(shop.network_totals().await, ONCE);
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM customer_order")
        .fetch_one(&shop.db)
        .await
        .expect("a count");
    assert_eq!(orders, 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refusal_that_had_no_effect_is_not_kept_against_its_key() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1299).await;
    let ada = shop.customer().await;

    let empty = ada.buy_as("k", "pm_card_visa").await;
    assert_eq!(
        (empty.status, empty.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("cart_empty"))
    );
    let ada = ada.with("MUG-1", 1).await;
    let other_tab = ada.start("other tab", json!({})).await.checkout();
    let locked = ada.buy_as("k", "pm_card_visa").await;
    assert_eq!((locked.status, locked.code()), (StatusCode::CONFLICT, Some("cart_locked")));
    assert_eq!(locked.body["checkout_id"], json!(other_tab.to_string()));
    ada.cancel(other_tab).await;

    let bought = ada.buy_as("k", "pm_card_visa").await;

    assert_eq!(
        (bought.status, bought.state()),
        (StatusCode::CREATED, Some("completed")),
        "{:#}",
        bought.body
    );
    assert_eq!(shop.payment(bought.checkout()).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (4, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_price_refused_under_a_key_can_be_tried_again_under_it_once_it_is_right() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 5, 1500).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let body = json!({
        "expected_total": { "minor": 1299, "currency": "EUR" }, "payment": { "method": "pm_card_visa" },
    });

    let refused = ada.start("k", body.clone()).await;
    assert_eq!(refused.code(), Some("quote_changed"), "{:#}", refused.body);
    shop.stock("MUG-1", 0, 1299).await;

    assert_eq!(ada.start("k", body).await.status, StatusCode::CREATED);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn paying_twice_under_one_key_is_one_attempt() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let id = ada.start("once", json!({})).await.checkout();
    let path = format!("/v1/checkouts/{id}/payment");
    let pay = || {
        let body = json!({ "method": "pm_card_visa" });
        ada.send(
            Method::POST,
            &path,
            &[("Idempotency-Key", "pay-1"), ("Prefer", "wait=20")],
            Some(body),
        )
    };

    let answers = join_all((0..5).map(|_| pay())).await;

    for answer in &answers {
        assert!(answer.status.is_success(), "{} {:#}", answer.status, answer.body);
    }
    assert!(answers.iter().any(|answer| answer.state() == Some("completed")));
    let seen = ada.until(id, "completed").await;
    assert_eq!(seen.body["attempts"], 1);
    // Its answer may have been lost; under another key it would be another attempt, and comes too late.
    let replay = pay().await;
    assert_eq!((replay.status, replay.state()), (StatusCode::OK, Some("completed")));
    let late = ada.pay(id, "pm_card_visa").await;
    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, Some("invalid_state")));
    assert_eq!(shop.payment(id).await, ONCE);
    shop.assert_lawful().await;
}

/// A client that gave up waiting and asks again meets its own checkout, wherever that has got to.
#[tokio::test]
async fn a_replay_while_it_waits_tells_where_it_stands() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;

    let first = ada.start("k", json!({})).await;
    assert_eq!(first.state(), Some("awaiting_payment"));
    ada.pay(first.checkout(), "pm_card_chargeDeclined").await;
    let again = ada.start("k", json!({})).await;

    assert!(replayed(&again));
    assert_eq!((again.status, again.state()), (StatusCode::ACCEPTED, Some("awaiting_payment")));
    assert_eq!(again.body["attempts"], 1, "{:#}", again.body);
    assert_eq!(ada.cancel(first.checkout()).await.state(), Some("cancelled"));
    shop.assert_lawful().await;
}

fn replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

async fn checkouts(shop: &Shop) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM checkout").fetch_one(&shop.db).await.expect("a count")
}
