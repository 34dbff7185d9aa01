//! Stock that is split over several databases: sold, given back and audited as if it were in one, and
//! whose databases fail one at a time.

use std::time::Duration;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tests::{DatabaseServer, Shop, Spec, eventually};

use crate::{expiry::start, sweeper::terminate};

/// Two SKUs whose stock is in different halves.
const HERE: &str = "MUG-1";
const THERE: &str = "POT-4";

/// A shop whose stock is split over two servers of its own.
async fn split(spec: Spec) -> (Shop, [DatabaseServer; 2]) {
    let servers = [DatabaseServer::start().await, DatabaseServer::start().await];
    let stock_urls = vec![servers[0].database("stock").await, servers[1].database("stock").await];
    let shop = Shop::open_with(Spec { stock_urls, ..spec }).await;
    let part = |sku: &str| shop.shards.part_of(&sku.parse().expect("a SKU"));
    assert_ne!(part(HERE), part(THERE), "they are to live apart");
    (shop, servers)
}

#[tokio::test]
async fn a_checkout_that_spans_two_databases_sells_from_both_or_from_neither() {
    let (shop, _servers) = split(Spec::default()).await;
    shop.stock(HERE, 5, 1299).await;
    shop.stock(THERE, 1, 3000).await;
    let ada = shop.customer().await.with(HERE, 2).await.with(THERE, 1).await;
    let ben = shop.customer().await.with(HERE, 9).await.with(THERE, 1).await;
    let cy = shop.customer().await.with(HERE, 2).await.with(THERE, 1).await;

    let bought = ada.buy("pm_card_visa").await;
    let short = ben.buy("pm_card_visa").await;
    let declined = {
        shop.stock(THERE, 1, 3000).await;
        cy.buy("pm_card_visa_chargeDeclined").await
    };

    assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    assert_eq!((short.status, short.code()), (StatusCode::CONFLICT, Some("out_of_stock")));
    // Every short line, wherever its stock is.
    let lines = json!([
        { "sku": HERE, "wanted": 9, "available": 3 }, { "sku": THERE, "wanted": 1, "available": 0 },
    ]);
    assert_eq!(short.body["lines"], lines);
    assert_eq!(declined.code(), Some("payment_declined"), "{:#}", declined.body);
    assert_eq!(shop.counters(HERE).await, (3, 0, 2));
    assert_eq!(shop.counters(THERE).await, (1, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_is_short_in_one_database_is_not_left_held_in_the_other() {
    let (shop, _servers) = split(Spec::default()).await;
    shop.stock(HERE, 5, 1299).await;
    shop.stock(THERE, 0, 3000).await;
    let ada = shop.customer().await.with(HERE, 2).await.with(THERE, 1).await;

    let short = ada.buy("pm_card_visa").await;

    assert_eq!(short.body["lines"], json!([{ "sku": THERE, "wanted": 1, "available": 0 }]));
    assert_eq!(shop.counters(HERE).await, (5, 0, 0));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_hold_that_spans_two_databases_runs_out_in_both() {
    let spec = Spec { hold: Duration::from_secs(2), ..Spec::default() };
    let (shop, _servers) = split(spec).await;
    shop.stock(HERE, 5, 1299).await;
    shop.stock(THERE, 5, 3000).await;
    let ada = shop.customer().await.with(HERE, 2).await.with(THERE, 1).await;
    let checkout = start(&ada).await;
    assert_eq!(shop.counters(HERE).await, (3, 2, 0));
    // Nobody but the sweeper is left to do it.
    terminate(&shop, checkout).await;

    eventually("the stock is back", || async {
        let both = (shop.counters(HERE).await, shop.counters(THERE).await);
        (both == ((5, 0, 0), (5, 0, 0))).then_some(())
    })
    .await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_database_that_is_down_fails_only_the_checkouts_that_need_it() {
    let spec = Spec { attention_after: Duration::from_secs(2), ..Spec::default() };
    let (shop, mut servers) = split(spec).await;
    shop.stock(HERE, 50, 1299).await;
    shop.stock(THERE, 50, 3000).await;
    let waits = shop.customer().await.with(HERE, 1).await.with(THERE, 1).await;
    let mut later = Vec::new();
    for _ in 0..20 {
        later.push(shop.customer().await.with(THERE, 1).await);
    }
    let operator = shop.operator("ada").await;
    let part = shop.shards.part_of(&THERE.parse().expect("a SKU")).name();
    let down = usize::from(part.starts_with("part 2"));
    servers[down].kill();

    // The first to ask finds out, and waits; its stock elsewhere stays held for it.
    let waiting =
        waits.start_only("spanning", json!({ "payment": { "method": "pm_card_visa" } })).await;
    assert_eq!(waiting.status, StatusCode::ACCEPTED, "{:#}", waiting.body);
    // Whoever comes a little later is told so at the door, and nothing is started for them.
    let express = || json!({ "payment": { "method": "pm_card_visa" } });
    let refused = eventually("the door knows", || {
        let customer = later.pop().expect("a customer who has not tried");
        async move {
            let answer = customer.start_only("k", express()).await;
            assert!(matches!(
                answer.status,
                StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE
            ));
            (answer.code() == Some("unavailable")).then_some((customer, answer))
        }
    });
    let (refused, told) = refused.await;
    assert!(told.headers.contains_key("retry-after"));
    // A cart is shown, without what nobody can tell.
    let cart = refused.get("/v1/cart").await;
    assert_eq!(cart.body["lines"][0]["available"], json!(null), "{:#}", cart.body);
    for _ in 0..3 {
        let bought = shop.customer().await.with(HERE, 1).await.buy("pm_card_visa").await;
        assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    }
    waits.until(waiting.checkout(), "needs_attention").await;
    let audit = operator.get("/v1/admin/invariants").await;
    assert_eq!(audit.body["unreachable"].as_array().map(Vec::len), Some(1), "{:#}", audit.body);
    assert_eq!(audit.body["breaches"], json!([]), "{:#}", audit.body);

    servers[down].restart().await;
    waits.until(waiting.checkout(), "completed").await;
    let bought = eventually("the door opens", || async {
        let answer = refused.start("k", express()).await;
        (answer.code() != Some("unavailable")).then_some(answer)
    });
    assert_eq!(bought.await.state(), Some("completed"));
    assert_eq!(shop.counters(HERE).await, (46, 0, 4));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn checkouts_whose_databases_are_killed_under_them_sell_everything_once() {
    const BUYERS: usize = 30;
    let (shop, mut servers) = split(Spec { workers: 2, ..Spec::default() }).await;
    shop.stock(HERE, 100, 1299).await;
    shop.stock(THERE, 100, 3000).await;
    let mut buyers = Vec::new();
    for _ in 0..BUYERS {
        buyers.push(shop.customer().await.with(HERE, 1).await.with(THERE, 2).await);
    }

    let started = join_all(buyers.iter().map(|buyer| {
        buyer.start_only("spanning", json!({ "payment": { "method": "pm_card_visa" } }))
    }))
    .await;
    for server in &mut servers {
        server.kill();
        server.restart().await;
    }

    for (buyer, started) in buyers.iter().zip(started) {
        buyer.until(started.checkout(), "completed").await;
    }
    assert_eq!(shop.counters(HERE).await, (70, 0, 30));
    assert_eq!(shop.counters(THERE).await, (40, 0, 60));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn databases_in_another_order_are_refused_at_the_start() {
    let (shop, servers) = split(Spec::default()).await;
    let swapped = [servers[1].database("stock").await, servers[0].database("stock").await];

    for urls in [swapped.join(","), swapped[0].clone(), String::new()] {
        for command in ["migrate", "run"] {
            let said = shop.worker_refuses(command, &urls).await;
            assert!(said.contains("INVENTORY_DATABASE_URLS must name"), "{said}");
        }
    }
    shop.assert_lawful().await;
}
