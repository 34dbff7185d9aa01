//! A storm over the stock: two processes' worth of queues, a crowd that reserves, sells, gives back and
//! asks twice, holds that run out, deliveries, a customer who fills one cart in several tabs, and a database
//! that is killed in the middle. After every round the books are audited, and whatever a caller was told must be what is written down.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{CheckoutId, CustomerId, Sku, StockLine, sku::QUANTITY_MAX};
use fastrand::Rng;
use futures::future::join_all;
use sqlx::{PgConnection, PgPool};
use store::{
    Error,
    cart::{self, Change},
    catalog::{self, Product},
    inventory::{self, Inventory, Receipt, Reserved, Resolution, Shards},
    law,
};
use tests::{DatabaseServer, eventually};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

const SKUS: usize = 40;
const BUYERS: u64 = 48;
/// How many tabs fill one customer's cart at the same time.
const TABS: usize = 4;
const ROUND: Duration = Duration::from_millis(2500);
/// When in a round the database is killed.
const KILL_AFTER: Duration = Duration::from_millis(1000);
const HOLD_MS: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_the_stock_with_the_database_killed_loses_and_invents_nothing() {
    storm(2, 1).await;
}

/// `STORM_ROUNDS` and `STORM_SEED` say how many and which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: for a change to the queues, and for the record"]
async fn a_long_storm_over_the_stock() {
    let number = |name: &str, otherwise| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    storm(number("STORM_ROUNDS", 20), number("STORM_SEED", 1)).await;
}

/// What one caller was told of one checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Held(Vec<StockLine>),
    Refused,
    Came(Resolution),
}

/// Everything that anybody was told.
#[derive(Default)]
struct Record {
    told: Mutex<HashMap<CheckoutId, Vec<Told>>>,
    /// Calls that ended without an answer.
    unanswered: Mutex<u64>,
}

impl Record {
    fn note(&self, checkout: CheckoutId, told: Told) {
        self.told.lock().expect("unpoisoned").entry(checkout).or_default().push(told);
    }

    fn unanswered(&self, error: &Error) {
        assert!(error.transient(), "an error that no caller should see: {error}");
        *self.unanswered.lock().expect("unpoisoned") += 1;
    }
}

async fn storm(rounds: u64, seed: u64) {
    let mut server = DatabaseServer::start().await;
    let db = store::connect(&server.database("shop").await, 8).expect("a pool");
    store::MIGRATOR.run(&db).await.expect("the schema");
    receive(&db, "opening", 200).await.expect("opening stock");
    list_cart_skus(&db).await;

    let record = Arc::new(Record::default());
    for round in 0..rounds {
        let here = Inventory::new(Shards::one(db.clone()));
        let there = Inventory::new(Shards::one(db.clone()));
        let deadline = Instant::now() + ROUND;
        let buyers = (0..BUYERS).map(|buyer| {
            let rng = Rng::with_seed(seed ^ (round << 32) ^ (buyer << 8));
            tokio::spawn(buy(here.clone(), there.clone(), Arc::clone(&record), rng, deadline))
        });
        let buyers: Vec<_> = buyers.collect();
        let sweeper = tokio::spawn(sweep(here.clone(), Arc::clone(&record), deadline));
        let deliveries = tokio::spawn(deliver(db.clone(), round, deadline));
        let customer = CustomerId::from(Uuid::from_u128(u128::from(round)));
        let tabs =
            (0..TABS).map(|tab| tokio::spawn(fill_cart(db.clone(), customer, tab, deadline)));
        let tabs: Vec<_> = tabs.collect();
        sleep(KILL_AFTER).await;
        // By turns one backend at work, which takes all of its fellows with it, and the server itself.
        if round % 2 == 0 {
            kill_a_backend(&db).await;
        } else {
            server.kill();
            server.restart().await;
        }
        for buyer in join_all(buyers).await {
            buyer.expect("a buyer");
        }
        sweeper.await.expect("a sweeper");
        deliveries.await.expect("deliveries");
        audit(&db, &record, round).await;
        let filled = join_all(tabs).await.into_iter().map(|filled| filled.expect("a tab"));
        audit_cart(&db, customer, filled.collect(), round).await;
    }
}

/// What one tab of a customer's browser was told of its own SKU.
struct Filled {
    sku: Sku,
    /// Units that were told to be in the cart by this tab's adding.
    added: i64,
    /// Units of which nothing was heard.
    unheard: i64,
}

/// Adds to the one cart that all tabs share, again and again.
async fn fill_cart(db: PgPool, customer: CustomerId, tab: usize, deadline: Instant) -> Filled {
    let mut filled = Filled { sku: cart_sku(tab), added: 0, unheard: 0 };
    while Instant::now() < deadline && filled.added + filled.unheard < i64::from(QUANTITY_MAX) {
        let added = async {
            let one = 1.try_into().expect("one is a quantity");
            cart::add(&mut *db.acquire().await?, customer, None, &filled.sku, one).await
        };
        match added.await {
            Ok(Change::Done(_)) => filled.added += 1,
            Ok(refused) => panic!("{refused:?}"),
            Err(error) if error.transient() => filled.unheard += 1,
            Err(error) => panic!("{error}"),
        }
    }
    filled
}

/// Nothing that was told to be in the cart is lost, nothing came twice, and each change is one version.
async fn audit_cart(db: &PgPool, customer: CustomerId, filled: Vec<Filled>, round: u64) {
    let mut conn = db.acquire().await.expect("a connection");
    let cart = cart::get(&mut conn, customer).await.expect("a cart");
    let mut units = 0;
    for Filled { sku, added, unheard } in filled {
        let line = cart.lines.iter().find(|line| line.sku == sku);
        let quantity = line.map_or(0, |line| i64::from(line.quantity));
        units += quantity;
        assert!(
            (added..=added + unheard).contains(&quantity),
            "round {round}: {quantity} of {sku}"
        );
    }
    assert_eq!(cart.version, units, "round {round}: each change steps the version once");
}

/// Puts the SKUs of the tabs into the catalog.
async fn list_cart_skus(db: &PgPool) {
    let products = (0..TABS).map(cart_sku).map(|sku| {
        serde_json::json!({
            "id": sku.to_string().to_lowercase(), "title": "A thing", "brand": "Storm", "category": "storm/things",
            "description": "A thing to put into a cart.", "attributes": {},
            "skus": [{"sku": sku, "options": {}, "price_minor": 100, "currency": "EUR"}],
        })
    });
    let products: Vec<Product> =
        serde_json::from_value(products.collect()).expect("products of the catalog");
    let mut conn = db.acquire().await.expect("a connection");
    catalog::upsert(&mut conn, &products).await.expect("a catalog");
}

fn cart_sku(tab: usize) -> Sku {
    format!("TAB-{tab}").parse().expect("a SKU")
}

/// One buyer after the other, each with a checkout of their own.
async fn buy(
    here: Inventory,
    there: Inventory,
    record: Arc<Record>,
    mut rng: Rng,
    deadline: Instant,
) {
    while Instant::now() < deadline {
        let checkout = CheckoutId::from(Uuid::from_u128(rng.u128(..)));
        let lines = lines(&mut rng);
        let reserve = |stock: Inventory| {
            let (record, lines) = (Arc::clone(&record), lines.clone());
            async move {
                match stock.reserve(checkout, lines.clone(), HOLD_MS).await {
                    Ok(Reserved::Held { .. }) => record.note(checkout, Told::Held(lines)),
                    Ok(Reserved::SoldOut(_) | Reserved::Ended) => {
                        record.note(checkout, Told::Refused);
                    }
                    Err(error) => record.unanswered(&error),
                }
            }
        };
        let resolve = |stock: Inventory, resolution: Option<Resolution>| {
            let record = Arc::clone(&record);
            async move {
                let here = stock.shards().only_place().expect("one place");
                let came = match resolution {
                    Some(resolution) => stock.give_back(checkout, &here, resolution).await,
                    None => stock.sell(checkout, &here).await.map(|()| Resolution::Committed),
                };
                match came {
                    Ok(came) => record.note(checkout, Told::Came(came)),
                    // Nobody here orders the sale before the expiry, so a sale may come too late.
                    Err(Error::Broken(_)) if resolution.is_none() => {}
                    Err(error) => record.unanswered(&error),
                }
            }
        };
        if rng.u8(..100) < 5 {
            // Overtaken by its own release.
            resolve(here.clone(), Some(Resolution::Released)).await;
        }
        if rng.u8(..100) < 25 {
            futures::join!(reserve(here.clone()), reserve(there.clone()));
        } else {
            reserve(here.clone()).await;
        }
        match rng.u8(..100) {
            0..50 => resolve(here.clone(), None).await,
            50..60 => {
                futures::join!(resolve(here.clone(), None), resolve(there.clone(), None));
            }
            60..75 => resolve(there.clone(), Some(Resolution::Released)).await,
            75..90 => {
                futures::join!(
                    resolve(here.clone(), None),
                    resolve(there.clone(), Some(Resolution::Released))
                );
            }
            // Left to run out.
            _ => {}
        }
    }
}

fn lines(rng: &mut Rng) -> Vec<StockLine> {
    let mut wanted: HashMap<usize, i64> = HashMap::new();
    for _ in 0..rng.u8(1..5) {
        // Low numbers are popular.
        let sku = rng.usize(..SKUS).min(rng.usize(..SKUS));
        wanted.entry(sku).or_insert_with(|| rng.i64(1..4));
    }
    wanted
        .into_iter()
        .map(|(number, units)| StockLine {
            sku: sku(number),
            quantity: units.try_into().expect("a quantity"),
        })
        .collect()
}

fn sku(number: usize) -> Sku {
    format!("STORM-{number}").parse().expect("a SKU")
}

async fn sweep(stock: Inventory, record: Arc<Record>, deadline: Instant) {
    while Instant::now() < deadline {
        let here = stock.shards().only_place().expect("one place");
        for checkout in stock.shards().due(100).await.unwrap_or_default() {
            match stock.give_back(checkout, &here, Resolution::Expired).await {
                Ok(came) => record.note(checkout, Told::Came(came)),
                Err(error) => record.unanswered(&error),
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn deliver(db: PgPool, round: u64, deadline: Instant) {
    let mut number = 0;
    while Instant::now() < deadline {
        // One that failed is sent again under its own reference.
        if receive(&db, &format!("delivery-{round}-{number}"), 5).await.is_ok() {
            number += 1;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn receive(db: &PgPool, reference: &str, units: i64) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    let mut skus: Vec<Sku> = (0..SKUS).map(sku).collect();
    skus.sort();
    for sku in &skus {
        let receipt = Receipt { sku, delta: units, reason: "delivery", reference, actor: "storm" };
        inventory::receive(&mut tx, receipt).await?;
    }
    Ok(tx.commit().await?)
}

/// Kills the backend of a queue, as it stands in the middle of something if one does.
async fn kill_a_backend(db: &PgPool) {
    eventually("a backend is killed at its work", || async {
        let pid: i32 = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active'
                AND datname = current_database() LIMIT 1",
        )
        .fetch_optional(db)
        .await
        .ok()??;
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        killed.expect("kill runs").success().then_some(())
    })
    .await;
}

/// What every caller was told is what is written down, and the books balance.
async fn audit(db: &PgPool, record: &Record, round: u64) {
    // Connections that died with the server are found out by using them.
    let (mut conn, broken_by) = eventually("the database is back", || async {
        let mut conn = db.acquire().await.ok()?;
        let broken_by = law::STOCK.broken_by(&mut conn).await.ok()?;
        Some((conn, broken_by))
    })
    .await;
    assert!(broken_by.is_empty(), "round {round}: {} is not so: {broken_by:?}", law::STOCK.claim);
    // Counted since the server last started: rows are locked in one order by everybody.
    let deadlocks: i64 = sqlx::query_scalar(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(&mut *conn)
    .await
    .expect("a count");
    assert_eq!(deadlocks, 0, "round {round}");
    let told = record.told.lock().expect("unpoisoned").clone();
    let rows = rows(&mut conn).await;
    let (mut held, mut sold) = (0, 0);
    for (checkout, told) in &told {
        for word in told {
            let row = rows.get(&checkout.uuid());
            match word {
                Told::Held(lines) => {
                    held += 1;
                    let (_, written) = row
                        .unwrap_or_else(|| panic!("round {round}: a hold of {checkout} is lost"));
                    let mut lines: Vec<_> = lines
                        .iter()
                        .map(|line| (line.sku.to_string(), i64::from(line.quantity)))
                        .collect();
                    lines.sort();
                    assert_eq!(&lines, written, "round {round}: {checkout}");
                }
                Told::Came(resolution) => {
                    sold += u32::from(*resolution == Resolution::Committed);
                    let (state, _) = row.unwrap_or_else(|| panic!("round {round}: {checkout}"));
                    assert_eq!(
                        Some(*resolution),
                        name(state),
                        "round {round}: {checkout} {told:?}"
                    );
                }
                Told::Refused => {}
            }
        }
    }
    eprintln!(
        "round {round}: {} checkouts, {held} times told held, {sold} times sold, {} calls unanswered, books right",
        told.len(),
        record.unanswered.lock().expect("unpoisoned"),
    );
}

fn name(state: &str) -> Option<Resolution> {
    match state {
        "committed" => Some(Resolution::Committed),
        "released" => Some(Resolution::Released),
        "expired" => Some(Resolution::Expired),
        _ => None,
    }
}

type Row = (String, Vec<(String, i64)>);

async fn rows(conn: &mut PgConnection) -> HashMap<Uuid, Row> {
    let rows: Vec<(Uuid, String, Vec<String>, Vec<i64>)> =
        sqlx::query_as("SELECT checkout_id, state, skus, quantities FROM reservation")
            .fetch_all(conn)
            .await
            .expect("reservations");
    let (count, mut once) = (rows.len(), HashMap::new());
    once.extend(rows.into_iter().map(|(id, state, skus, quantities)| {
        let mut lines: Vec<_> = skus.into_iter().zip(quantities).collect();
        lines.sort();
        (id, (state, lines))
    }));
    assert_eq!(once.len(), count, "a checkout holds its stock twice");
    once
}
