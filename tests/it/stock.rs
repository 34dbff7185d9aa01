//! The stock by itself: receipts, a full queue, requests that no database takes, and the audit.

use domain::{Sku, StockLine};
use futures::future::join_all;
use store::{
    Error,
    inventory::{self, Receipt, Received, Reserved},
    law,
};
use tests::{Books, eventually};
use uuid::Uuid;

#[tokio::test]
async fn what_is_held_for_checkouts_cannot_be_counted_away() {
    let books = Books::open().await;
    let mug = books.stock("MUG-1", 10).await;
    let lines = lines(&mug, 4);
    let stock = books.inventory();
    stock.reserve(Uuid::new_v4().into(), lines, 60_000).await.expect("a reservation");
    let mut conn = books.db.acquire().await.expect("a connection");
    let mut lose = async |delta| {
        let receipt =
            Receipt { sku: &mug, delta, reason: "shrinkage", reference: "count-1", actor: "ada" };
        inventory::receive(&mut conn, receipt).await.expect("an answer")
    };

    assert_eq!(lose(-7).await, Received::TooFew { available: 6, reserved: 4 });
    assert_eq!(lose(-6).await, Received::Booked);
    assert_eq!(lose(-6).await, Received::Known);
    assert_eq!(lose(-5).await, Received::Other { delta: -6 });
    assert_eq!(books.counters(&mug).await, (0, 4, 0));
    books.assert_lawful().await;
}

#[tokio::test]
async fn a_receipt_cannot_be_changed_or_taken_back() {
    let books = Books::open().await;
    books.stock("MUG-1", 10).await;
    for sql in ["UPDATE receipt SET delta = 20", "DELETE FROM receipt"] {
        let refused = sqlx::query(sql).execute(&books.db).await.expect_err("it is append-only");
        let code = refused.as_database_error().and_then(|error| error.code().map(Into::into));
        assert_eq!(code, Some("23001".to_owned()), "{sql}");
    }
    books.assert_lawful().await;
}

#[tokio::test]
async fn a_full_queue_says_so_at_once_and_serves_who_is_in_it() {
    /// More than wait and are being served together.
    const CALLERS: usize = 5000;
    let books = Books::open().await;
    let mug = books.stock("MUG-1", 10_000).await;
    let stock = books.inventory();
    let mut lock = books.db.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM inventory FOR UPDATE").execute(&mut *lock).await.expect("a lock");

    let calls: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (stock, lines) = (stock.clone(), lines(&mug, 1));
            tokio::spawn(async move { stock.reserve(Uuid::new_v4().into(), lines, 60_000).await })
        })
        .collect();
    eventually("somebody is told that the queue is full", || async {
        calls.iter().any(tokio::task::JoinHandle::is_finished).then_some(())
    })
    .await;
    lock.rollback().await.expect("the lock is gone");

    let (mut held, mut busy) = (0, 0);
    for answer in join_all(calls).await {
        match answer.expect("a call") {
            Ok(Reserved::Held { .. }) => held += 1,
            Err(Error::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(busy > 0 && held > 0, "{held} held, {busy} busy");
    assert_eq!(books.counters(&mug).await, (10_000 - held, held, 0));
    books.assert_lawful().await;
}

#[tokio::test]
async fn a_request_that_no_database_takes_fails_alone() {
    let books = Books::open().await;
    let mug = books.stock("MUG-1", 100).await;
    let stock = books.inventory();
    // Longer than time itself.
    let poison = stock.reserve(Uuid::new_v4().into(), lines(&mug, 1), u64::MAX);
    let neighbours = (0..20).map(|_| stock.reserve(Uuid::new_v4().into(), lines(&mug, 1), 60_000));

    let (poisoned, served) = futures::join!(poison, join_all(neighbours));

    assert!(matches!(poisoned, Err(Error::Broken(_))), "{poisoned:?}");
    assert!(served.iter().all(|answer| matches!(answer, Ok(Reserved::Held { .. }))), "{served:?}");
    assert_eq!(books.counters(&mug).await, (80, 20, 0));
    books.assert_lawful().await;
}

#[tokio::test]
async fn the_audit_names_a_unit_that_came_from_nowhere() {
    let books = Books::open().await;
    books.stock("MUG-1", 10).await;
    sqlx::query("UPDATE inventory SET received = received + 1, available = available + 1")
        .execute(&books.db)
        .await
        .expect("what the row alone cannot see");
    let mut conn = books.db.acquire().await.expect("a connection");

    let breaches = law::STOCK.broken_by(&mut conn).await.expect("an audit");

    assert_eq!(breaches, ["MUG-1"]);
}

fn lines(sku: &Sku, units: i64) -> Vec<StockLine> {
    vec![StockLine { sku: sku.clone(), quantity: units.try_into().expect("a quantity") }]
}
