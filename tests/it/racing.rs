//! A sale and the end of its hold in the same instant: exactly one of them comes about, and whoever
//! wanted the other is told so.

use domain::{CheckoutId, StockLine};
use fastrand::Rng;
use futures::future::join_all;
use sqlx::PgPool;
use store::{
    Error,
    inventory::{Inventory, Places, Reserved, Resolution},
    law,
    order::Settled,
};
use tests::Books;
use uuid::Uuid;

const RACES: usize = 10_000;
/// How many are run at once.
const AT_ONCE: usize = 500;

/// What one of the two was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Sold,
    GivenBack,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_sale_and_the_end_of_its_hold_at_once_one_wins_and_the_other_is_told() {
    let books = Books::open().await;
    let mug = books.stock("MUG-1", i64::try_from(RACES).expect("few")).await;
    let lines = [StockLine { sku: mug.clone(), quantity: 1.try_into().expect("a quantity") }];
    // As two workers have them: what meets is in the database.
    let (selling, sweeping) = (books.inventory(), books.inventory());
    let mut rng = Rng::with_seed(11);
    let mut sold = 0;
    for _ in 0..RACES / AT_ONCE {
        let held = join_all((0..AT_ONCE).map(|_| hold(&selling, &lines))).await;

        for (sale, end) in race(&books, &selling, &sweeping, &held, &mut rng).await {
            assert_eq!(sale, end, "both were told the same");
            sold += i64::from(sale == Told::Sold);
        }
    }

    let races = i64::try_from(RACES).expect("few");
    eprintln!("of {RACES} races {sold} were sales");
    assert!((1..races).contains(&sold), "one of the two never wins: {sold} of {RACES} were sold");
    assert_eq!(books.counters(&mug).await, (races - sold, 0, sold));
    // The one law of books that hold nothing but stock.
    let mut conn = books.db.acquire().await.expect("a connection");
    let broken_by = law::STOCK.broken_by(&mut conn).await.expect("an audit");
    assert!(broken_by.is_empty(), "{}: {broken_by:?}", law::STOCK.claim);
}

/// Sells every hold and ends it, in an order of chance; what the two of each were told.
async fn race(
    books: &Books,
    selling: &Inventory,
    sweeping: &Inventory,
    held: &[CheckoutId],
    rng: &mut Rng,
) -> Vec<(Told, Told)> {
    let here = books.here();
    let mut entries: Vec<(usize, bool)> =
        (0..held.len()).flat_map(|number| [(number, true), (number, false)]).collect();
    rng.shuffle(&mut entries);
    let told = join_all(entries.iter().map(async |(number, sale)| {
        let checkout = held[*number];
        if *sale {
            sell(selling, checkout, &here).await
        } else {
            end(sweeping, checkout, &here).await
        }
    }))
    .await;
    let mut both = vec![(None, None); held.len()];
    for ((number, sale), told) in entries.into_iter().zip(told) {
        let (sold, ended) = &mut both[number];
        *(if sale { sold } else { ended }) = Some(told);
    }
    both.into_iter().map(|(sold, ended)| (sold.expect("told"), ended.expect("told"))).collect()
}

/// A hold that has just run out.
async fn hold(stock: &Inventory, lines: &[StockLine]) -> CheckoutId {
    let checkout = CheckoutId::from(Uuid::new_v4());
    let held = stock.reserve(checkout, lines.to_vec(), 0).await.expect("a reservation");
    assert!(matches!(held, Reserved::Held { .. }), "{held:?}");
    checkout
}

async fn sell(stock: &Inventory, checkout: CheckoutId, here: &Places) -> Told {
    match stock.sell(checkout, here).await {
        Ok(()) => Told::Sold,
        Err(Error::Broken(_)) => Told::GivenBack,
        Err(error) => panic!("no definite answer: {error}"),
    }
}

async fn end(stock: &Inventory, checkout: CheckoutId, here: &Places) -> Told {
    match stock.give_back(checkout, here, Resolution::Expired).await.expect("a definite answer") {
        Resolution::Committed => Told::Sold,
        Resolution::Expired => Told::GivenBack,
        Resolution::Released => panic!("nobody released it"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_settlement_and_a_bar_on_the_sale_at_once_one_wins_and_the_other_is_told() {
    const ORDERS: usize = 400;

    let books = Books::open().await;
    let orders: Vec<CheckoutId> = captured(&books.db, ORDERS).await;
    let mut rng = Rng::with_seed(12);

    let told = join_all(orders.iter().map(|checkout| {
        let settling_first = rng.bool();
        let db = &books.db;
        async move {
            if settling_first {
                futures::join!(settle(db, *checkout), bar(db, *checkout))
            } else {
                let (barred, settled) = futures::join!(bar(db, *checkout), settle(db, *checkout));
                (settled, barred)
            }
        }
    }))
    .await;

    let sold = told.iter().filter(|(settled, _)| *settled).count();
    eprintln!("of {ORDERS} orders {sold} were settled");
    for (settled, barred) in &told {
        assert_ne!(settled, barred, "one of the two came about");
    }
    assert!((1..ORDERS).contains(&sold), "one of the two never wins: {sold} of {ORDERS}");
    let states = "SELECT count(*) FILTER (WHERE state = 'paid') FROM customer_order";
    let paid: i64 = sqlx::query_scalar(states).fetch_one(&books.db).await.expect("a count");
    assert_eq!(usize::try_from(paid), Ok(sold));
}

/// Placed orders whose money is taken, and which are not settled yet.
async fn captured(db: &PgPool, count: usize) -> Vec<CheckoutId> {
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    for statement in [
        "INSERT INTO checkout (id, customer_id, fingerprint, email, shipping_address)
         SELECT id, id, decode(repeat('00', 32), 'hex'), 'ada@example.com', '{}' FROM unnest($1::uuid[]) AS u (id)",
        "INSERT INTO customer_order (id, customer_id, state, total_minor, currency, cart_version)
         SELECT id, id, 'placed', 1299, 'EUR', 1 FROM unnest($1::uuid[]) AS u (id)",
        "INSERT INTO payment (id, amount_minor, currency)
         SELECT id, 1299, 'EUR' FROM unnest($1::uuid[]) AS u (id)",
    ] {
        sqlx::query(statement).bind(&ids).execute(db).await.expect("rows");
    }
    ids.into_iter().map(CheckoutId::from).collect()
}

/// Whether the sale became final.
async fn settle(db: &PgPool, checkout: CheckoutId) -> bool {
    let mut tx = db.begin().await.expect("a transaction");
    match store::order::settle(&mut tx, checkout).await {
        Ok(Settled::Final) => tx.commit().await.is_ok(),
        Ok(Settled::Undone) => false,
        Err(error) => panic!("no definite answer: {error}"),
    }
}

/// Whether the sale was barred.
async fn bar(db: &PgPool, checkout: CheckoutId) -> bool {
    let mut tx = db.begin().await.expect("a transaction");
    let closed = store::payment::close(&mut tx, checkout.payment()).await.expect("an answer");
    tx.commit().await.expect("a commit");
    closed
}
