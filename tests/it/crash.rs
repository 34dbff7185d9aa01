//! `kill -9` of a worker at the worst moments. Nothing in the product knows of these tests: a moment
//! is held open from outside, by a lock that another session holds or by a card network that does
//! its part and then keeps silent.

use std::time::{Duration, Instant};

use domain::CheckoutId;
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgTransaction};
use temporalio_client::WorkflowFetchHistoryOptions;
use tests::{Answer, Customer, Payment, Shop, Spec, eventually};
use tokio::task::JoinHandle;
use uuid::Uuid;
use workflows::CheckoutWorkflow;

/// Longer than any test waits: the card network's answer never comes.
const NEVER: Duration = Duration::from_secs(120);
const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

/// When the worker dies.
#[derive(Debug, Clone, Copy)]
enum Moment {
    StockReserved,
    ApprovalUnheard,
    CaptureUnheard,
    BeforeSettle,
    /// The same as `ApprovalUnheard`, but on the slow path, whose every try has its own time-out.
    SlowTryUnderWay,
}

const MOMENTS: [Moment; 5] = [
    Moment::StockReserved,
    Moment::ApprovalUnheard,
    Moment::CaptureUnheard,
    Moment::BeforeSettle,
    Moment::SlowTryUnderWay,
];

#[tokio::test]
async fn a_worker_killed_after_the_reservation_committed_costs_nothing() {
    one_crash(Moment::StockReserved).await;
}

#[tokio::test]
async fn a_worker_killed_before_it_heard_of_the_approval_authorizes_once() {
    one_crash(Moment::ApprovalUnheard).await;
}

#[tokio::test]
async fn a_worker_killed_before_it_heard_of_the_capture_captures_once() {
    one_crash(Moment::CaptureUnheard).await;
}

#[tokio::test]
async fn a_worker_killed_before_settling_settles_once() {
    one_crash(Moment::BeforeSettle).await;
}

#[tokio::test]
async fn a_worker_killed_between_the_sale_and_its_stock_sells_the_stock_once() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let checkout = ada.start(&Uuid::new_v4().to_string(), json!({})).await.checkout();
    // Nothing of the checkout writes there between the reservation and the end.
    let lock = lock(&shop, "SELECT FROM inventory WHERE sku = 'MUG-1' FOR UPDATE").await;
    let paying = tokio::spawn(async move { ada.pay(checkout, "pm_card_visa").await });
    eventually("the order is paid", || async {
        (shop.order_state(checkout).await.as_deref() == Some("paid")).then_some(())
    })
    .await;
    shop.kill_worker(0);
    drop(lock);
    shop.start_worker(0);

    let paid = paying.await.expect("an answer");

    assert_eq!(paid.state(), Some("completed"), "{:#}", paid.body);
    assert_eq!(shop.payment(checkout).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_worker_killed_within_a_slow_try_authorizes_once() {
    one_crash(Moment::SlowTryUnderWay).await;
}

/// A measurement: its figures are for reading, its bound only keeps them from running away.
#[tokio::test]
async fn recovery_from_a_killed_worker_takes_seconds() {
    const ROUNDS: usize = 3;
    const WORST: Duration = Duration::from_secs(60);

    let shop = Shop::open().await;
    shop.stock("MUG-1", 100, 1299).await;
    let mut all = Vec::new();
    for moment in MOMENTS {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            took.push(crash_at(&shop, moment).await);
        }
        took.sort();
        eprintln!(
            "killed at {moment:?}: p50 {:.1?}, worst {:.1?}",
            took[ROUNDS / 2],
            took[ROUNDS - 1]
        );
        all.extend(took);
    }
    all.sort();
    let worst = all[all.len() - 1];
    eprintln!("all {} kills: p50 {:.1?}, worst {worst:.1?}", all.len(), all[all.len() / 2]);
    assert!(worst <= WORST, "{worst:?}");
    shop.assert_lawful().await;
}

/// The worker dies while the sale is being committed, with none of it in the history yet. The repeated
/// task meets the cancellation first, goes about undoing, and finds that there is a sale.
#[tokio::test]
async fn a_cancellation_that_overtakes_a_sale_after_a_crash_is_told_of_the_sale() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let checkout = ada.start(&Uuid::new_v4().to_string(), json!({})).await.checkout();
    // The database works on a commit whose client is gone.
    sqlx::raw_sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.topic = 'order.paid') EXECUTE FUNCTION dawdle()",
    )
    .execute(&shop.db)
    .await
    .expect("a slow commit");
    let paying = {
        let ada = ada.clone();
        tokio::spawn(async move { ada.pay(checkout, "pm_card_visa").await })
    };
    eventually("the sale is being committed", || async {
        sqlx::query_scalar::<_, i32>(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
        )
        .fetch_optional(&shop.db)
        .await
        .expect("a query")
    })
    .await;
    let cancelling = {
        let ada = ada.clone();
        tokio::spawn(async move { ada.cancel(checkout).await })
    };
    shop.kill_worker(0);
    eventually("the sale is final", || async {
        (shop.order_state(checkout).await.as_deref() == Some("paid")).then_some(())
    })
    .await;
    shop.start_worker(0);

    let (paid, cancelled) =
        (paying.await.expect("an answer"), cancelling.await.expect("an answer"));
    assert_eq!(paid.state(), Some("completed"), "{:#}", paid.body);
    assert_eq!(cancelled.code(), Some("invalid_state"), "{:#}", cancelled.body);
    assert_eq!(cancelled.state(), Some("completed"), "{:#}", cancelled.body);
    // The workflow had let it in, so the undoing did begin.
    assert!(history(&shop, checkout).await.contains(r#""name":"cancel""#));
    assert_eq!(shop.payment(checkout).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.fulfilment(checkout).await;
    shop.assert_lawful().await;
}

/// The first worker dies when the money is taken and nobody has heard; whoever takes over finds the sale
/// called off, pays the money back, and dies before it hears of that.
#[tokio::test]
async fn money_taken_for_a_sale_that_is_called_off_is_paid_back_once_though_two_workers_die() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    shop.fault("capture", "timeout_after", NEVER).await;
    shop.fault("refund", "timeout_after", NEVER).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let (checkout, buying) = buy(&shop, &ada).await;
    ledger_shows(&shop, checkout, |payment| payment.captures).await;
    shop.kill_worker(0);
    let cancelling = tokio::spawn({
        let ada = ada.clone();
        async move { ada.cancel(checkout).await }
    });
    shop.start_worker(0);
    ledger_shows(&shop, checkout, |payment| payment.refunds).await;
    shop.kill_worker(0);
    shop.start_worker(0);

    ada.until(checkout, "cancelled").await;

    let paid_back = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };
    assert_eq!(shop.payment(checkout).await, paid_back);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    assert_eq!(shop.order_state(checkout).await.as_deref(), Some("cancelled"));
    for answer in [buying.await.expect("an answer"), cancelling.await.expect("an answer")] {
        assert_ne!(answer.state(), Some("completed"), "{:#}", answer.body);
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn fifty_checkouts_outlive_their_only_worker() {
    fifty_with_a_kill(1).await;
}

#[tokio::test]
async fn fifty_checkouts_outlive_one_of_two_workers() {
    fifty_with_a_kill(2).await;
}

async fn one_crash(moment: Moment) {
    let shop = Shop::open().await;
    // The last one: a step that is run again must not take its own effect for somebody else's.
    shop.stock("MUG-1", 1, 1299).await;

    let took = crash_at(&shop, moment).await;

    eprintln!("killed at {moment:?}: done after {took:.1?}");
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.assert_lawful().await;
}

/// Sells one mug across a crash, and says how long it took from the kill to the end.
async fn crash_at(shop: &Shop, moment: Moment) -> Duration {
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let (checkout, buying) = match moment {
        Moment::StockReserved => {
            let lock = lock(shop, "LOCK TABLE payment IN SHARE MODE").await;
            let (checkout, buying) = buy(shop, &ada).await;
            eventually("the stock is reserved", || async {
                (shop.hold_state(checkout).await.as_deref() == Some("held")).then_some(())
            })
            .await;
            shop.kill_worker(0);
            drop(lock);
            (checkout, buying)
        }
        Moment::ApprovalUnheard => {
            shop.fault("confirm", "timeout_after", NEVER).await;
            let (checkout, buying) = buy(shop, &ada).await;
            ledger_shows(shop, checkout, |payment| payment.authorizations).await;
            shop.kill_worker(0);
            (checkout, buying)
        }
        Moment::CaptureUnheard => {
            shop.fault("capture", "timeout_after", NEVER).await;
            let (checkout, buying) = buy(shop, &ada).await;
            ledger_shows(shop, checkout, |payment| payment.captures).await;
            shop.kill_worker(0);
            (checkout, buying)
        }
        Moment::BeforeSettle => {
            let checkout = ada.start(&Uuid::new_v4().to_string(), json!({})).await.checkout();
            // Nothing between the payment and settling touches the checkout's own row.
            let row = format!("SELECT FROM checkout WHERE id = '{}' FOR UPDATE", checkout.uuid());
            let lock = lock(shop, &row).await;
            let buying = tokio::spawn(async move { ada.pay(checkout, "pm_card_visa").await });
            eventually("the capture is in our books", || async {
                let captured: Option<i64> =
                    sqlx::query_scalar("SELECT captured_minor FROM payment WHERE id = $1")
                        .bind(checkout.uuid())
                        .fetch_optional(&shop.db)
                        .await
                        .expect("a query");
                (captured > Some(0)).then_some(())
            })
            .await;
            shop.kill_worker(0);
            drop(lock);
            (checkout, buying)
        }
        Moment::SlowTryUnderWay => {
            shop.fault("create", "error_before", Duration::ZERO).await;
            shop.fault("confirm", "timeout_after", NEVER).await;
            let (checkout, buying) = buy(shop, &ada).await;
            ledger_shows(shop, checkout, |payment| payment.authorizations).await;
            shop.kill_worker(0);
            (checkout, buying)
        }
    };
    let killed_at = Instant::now();
    shop.start_worker(0);
    eventually(&format!("{checkout} is paid, killed at {moment:?}"), || async {
        (shop.order_state(checkout).await.as_deref() == Some("paid")).then_some(())
    })
    .await;
    let took = killed_at.elapsed();
    let answer = buying.await.expect("an answer");
    assert!(answer.status.is_success(), "{:#}", answer.body);
    assert_eq!(shop.payment(checkout).await, ONCE, "killed at {moment:?}");
    shop.worker_ready(0).await;
    took
}

async fn fifty_with_a_kill(workers: usize) {
    const BUYERS: i64 = 50;

    let shop = Shop::open_with(Spec { workers, ..Spec::default() }).await;
    shop.stock("MUG-1", BUYERS, 1299).await;
    let customers =
        join_all((0..BUYERS).map(|_| async { shop.customer().await.with("MUG-1", 1).await })).await;
    let buying: Vec<JoinHandle<Answer>> = customers
        .into_iter()
        .map(|customer| tokio::spawn(async move { buy_as_told(&customer).await }))
        .collect();

    eventually("some are paid, and the others under way", || async {
        let paid: i64 =
            sqlx::query_scalar("SELECT count(*) FROM customer_order WHERE state = 'paid'")
                .fetch_one(&shop.db)
                .await
                .expect("a count");
        (paid >= 5).then_some(())
    })
    .await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM checkout WHERE finished_at IS NULL")
        .fetch_one(&shop.db)
        .await
        .expect("a count");
    shop.kill_worker(0);
    let killed_at = Instant::now();
    assert!(left > 0, "the kill came too late to prove anything");
    shop.start_worker(0);

    eventually("all are paid", || async {
        (shop.counters("MUG-1").await == (0, 0, BUYERS)).then_some(())
    })
    .await;
    let took = killed_at.elapsed();
    let mut in_time = 0;
    for buying in buying {
        let answer = buying.await.expect("an answer");
        // A client whose wait ended first is told that its checkout goes on.
        assert!(answer.status.is_success(), "{:#}", answer.body);
        in_time += i32::from(answer.status == StatusCode::CREATED);
        assert_eq!(shop.payment(answer.checkout()).await, ONCE);
    }
    eprintln!(
        "{workers} workers, {left} checkouts under way at the kill: all paid after {took:.1?}, {in_time} answered in time"
    );
    assert_eq!(shop.counters("MUG-1").await, (0, 0, BUYERS));
    shop.assert_lawful().await;
}

/// What the engine wrote down of a checkout, as JSON.
async fn history(shop: &Shop, checkout: CheckoutId) -> String {
    let history = shop
        .engine
        .get_workflow_handle::<CheckoutWorkflow>(checkout.to_string())
        .fetch_history(WorkflowFetchHistoryOptions::default());
    String::from_utf8(history.to_json().await.expect("a history")).expect("JSON")
}

/// Checks out, and again under the same key for as long as the answer is to try again.
async fn buy_as_told(customer: &Customer) -> Answer {
    let key = Uuid::new_v4().to_string();
    eventually("an answer that is not to try again", || async {
        let answer = customer.buy_as(&key, "pm_card_visa").await;
        (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await
}

/// Checks out with a good card; its answer comes when it comes.
async fn buy(shop: &Shop, customer: &Customer) -> (CheckoutId, JoinHandle<Answer>) {
    let customer = customer.clone();
    let buying = tokio::spawn(async move { customer.buy("pm_card_visa").await });
    (shop.under_way().await, buying)
}

/// A lock that is held until it is dropped.
async fn lock(shop: &Shop, sql: &str) -> PgTransaction<'static> {
    let mut tx = shop.db.begin().await.expect("a transaction");
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await.expect("a lock");
    tx
}

/// Waits until the card network has done it, whoever else knows.
async fn ledger_shows(shop: &Shop, checkout: CheckoutId, count: impl Fn(&Payment) -> i64) {
    eventually("the card network has done it", || async {
        (count(&shop.payment(checkout).await) == 1).then_some(())
    })
    .await;
}
