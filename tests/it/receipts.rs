//! Stock comes in and goes out by receipts alone, each booked once.

use store::inventory::{self, Inventory, Received};
use tests::Books;
use uuid::Uuid;

#[tokio::test]
async fn what_is_held_for_checkouts_cannot_be_counted_away() {
    let books = Books::open().await;
    let mug = books.stock("MUG-1", 10).await;
    let lines =
        vec![domain::StockLine { sku: mug.clone(), quantity: 4.try_into().expect("a quantity") }];
    let stock = Inventory::new(books.db.clone());
    stock.reserve(Uuid::new_v4().into(), lines, 60_000).await.expect("a reservation");
    let mut conn = books.db.acquire().await.expect("a connection");

    let too_much = inventory::receive(&mut conn, &mug, -7, "shrinkage", "count-1").await;
    let as_much = inventory::receive(&mut conn, &mug, -6, "shrinkage", "count-1").await;
    let again = inventory::receive(&mut conn, &mug, -6, "shrinkage", "count-1").await;

    assert_eq!(too_much.expect("an answer"), Received::TooFew { available: 6, reserved: 4 });
    assert_eq!(as_much.expect("an answer"), Received::Booked);
    assert_eq!(again.expect("an answer"), Received::Known);
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
