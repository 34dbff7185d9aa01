//! Holds that run out: by the checkout's own timer, with nobody there at the moment, never under a
//! payment that is being made, and never twice.

use std::time::{Duration, Instant};

use domain::{CheckoutId, StockLine};
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use store::inventory::{Reserved, Resolution};
use tests::{Books, Customer, Payment, Shop, Spec, eventually};
use uuid::Uuid;

const HOLD: Duration = Duration::from_secs(2);
const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

#[tokio::test]
async fn an_unpaid_hold_expires_by_itself() {
    let shop = Shop::open_with(Spec { hold: HOLD, ..Spec::default() }).await;
    shop.stock("MUG-1", 3, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 2).await;
    let started = start(&ada).await;
    assert_eq!(shop.counters("MUG-1").await, (1, 2, 0));

    let expired = ada.until(started, "expired").await;

    assert_eq!(expired.body["problem"]["code"], "hold_expired", "{:#}", expired.body);
    assert_eq!(shop.counters("MUG-1").await, (3, 0, 0));
    assert_eq!(shop.hold_state(started).await.as_deref(), Some("expired"));
    assert_eq!(shop.order_state(started).await.as_deref(), Some("cancelled"));
    let late = ada.pay(started, "pm_card_visa").await;
    assert_eq!(
        (late.status, late.code()),
        (StatusCode::CONFLICT, Some("invalid_state")),
        "{:#}",
        late.body
    );
    assert_eq!(late.body["state"], "expired");
    assert_eq!(shop.payment(started).await.authorizations, 0);
    let again = ada.buy("pm_card_visa").await;
    assert_eq!(again.state(), Some("completed"), "the cart is free again: {:#}", again.body);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_hold_that_ran_out_while_no_worker_ran_is_released_when_one_returns() {
    const SOON: Duration = Duration::from_secs(2);

    let shop = Shop::open_with(Spec { hold: HOLD, ..Spec::default() }).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let started = start(&ada).await;
    shop.kill_worker(0);
    ran_out(&shop, started).await;
    assert_eq!(shop.counters("MUG-1").await, (0, 1, 0), "nobody was there to release it");

    shop.start_worker(0);
    shop.worker_ready(0).await;
    let ready_at = Instant::now();
    eventually("the hold is released", || async {
        (shop.hold_state(started).await.as_deref() == Some("expired")).then_some(())
    })
    .await;
    let took = ready_at.elapsed();

    eprintln!("released {took:.2?} after the worker was back");
    assert!(took <= SOON, "released only {took:?} after the worker was back");
    ada.until(started, "expired").await;
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_payment_in_flight_when_the_hold_ends_is_not_robbed_of_its_stock() {
    // The window is as short as the hold, so that the hold ends before the network is heard.
    let spec = Spec { hold: HOLD, payment_window: HOLD, ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let eve = shop.customer().await.with("MUG-1", 1).await;
    shop.fault("confirm", "timeout_after", Duration::from_secs(8)).await;
    let buying = {
        let ada = ada.clone();
        tokio::spawn(async move { ada.buy("pm_card_visa").await })
    };
    let checkout = shop.under_way().await;

    eventually("the sweeper has met the hold and lengthened it", || async {
        let lengthened: Option<bool> = sqlx::query_scalar(
            "SELECT expires_at > created_at + interval '20 s' FROM reservation WHERE checkout_id = $1",
        )
        .bind(checkout.uuid())
        .fetch_optional(&shop.db)
        .await
        .expect("a query");
        lengthened.filter(|lengthened| *lengthened)
    })
    .await;
    assert_eq!(eve.buy("pm_card_visa").await.code(), Some("out_of_stock"));

    let bought = buying.await.expect("an answer");
    assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    assert_eq!(shop.payment(checkout).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_payment_not_yet_approved_when_the_hold_ends_takes_stock_and_money_or_neither() {
    let spec = Spec { hold: HOLD, payment_window: HOLD, ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    shop.fault("confirm", "slow", Duration::from_secs(6)).await;

    let ended = ada.buy("pm_card_visa").await;

    let payment = shop.payment(ended.checkout()).await;
    let unpaid = payment.captures == 0 && payment.authorizations == payment.voids;
    match shop.counters("MUG-1").await {
        (0, 0, 1) => assert_eq!(payment, ONCE, "{:#}", ended.body),
        (1, 0, 0) => assert!(unpaid, "{payment:?}, {:#}", ended.body),
        other => panic!("{other:?}, {:#}", ended.body),
    }
    shop.assert_lawful().await;
}

/// The bank is asked when little of the hold is left.
#[tokio::test]
async fn a_bank_asked_as_the_hold_ends_has_one_payment_window_and_then_the_customer_is_told() {
    const LONG: Duration = Duration::from_secs(6);
    const WINDOW: Duration = Duration::from_secs(8);

    let spec = Spec { hold: LONG, payment_window: WINDOW, ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 2, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let eve = shop.customer().await.with("MUG-1", 1).await;
    let (confirmed, ignored) = (start(&ada).await, start(&eve).await);
    let first_end = hold_ends(&shop, ignored).await;
    left_is_less_than(&shop, confirmed, "3 s").await;

    let asked = ada.pay(confirmed, "pm_card_threeDSecure2Required").await;
    eve.pay(ignored, "pm_card_threeDSecure2Required").await;

    let extended = hold_ends(&shop, ignored).await;
    assert!(first_end < extended, "{first_end} {extended}");
    eventually("the first hold would be over", || async {
        let over = "SELECT now() > $1::timestamptz";
        let over = sqlx::query_scalar::<_, bool>(over).bind(&first_end).fetch_one(&shop.db).await;
        over.expect("a time").then_some(())
    })
    .await;
    // The bank was asked several times by then.
    assert_eq!(hold_ends(&shop, ignored).await, extended);
    assert_eq!(shop.counters("MUG-1").await, (0, 2, 0));
    let bank = asked.body["next_action"]["url"].as_str().expect("a bank");
    shop.answer_bank(bank, "approve").await;
    ada.until(confirmed, "completed").await;
    let told = eve.until(ignored, "expired").await;
    assert_eq!(told.body["problem"]["code"], "hold_expired", "{:#}", told.body);
    assert_eq!(shop.payment(confirmed).await, ONCE);
    assert_eq!(shop.payment(ignored).await, Payment::default());
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_hold_that_ends_many_times_at_once_gives_its_stock_back_once() {
    let books = Books::open().await;
    let (stock, here) = (books.inventory(), books.here());
    for round in 0..10 {
        let checkout = CheckoutId::from(Uuid::new_v4());
        let mug = books.stock(&format!("MUG-{round}"), 5).await;
        let lines = [StockLine { sku: mug.clone(), quantity: 3.try_into().expect("a quantity") }];
        let held = stock.reserve(checkout, lines.to_vec(), 0).await.expect("a reservation");
        assert!(matches!(held, Reserved::Held { .. }));

        let releases = join_all((0..10).map(|number| {
            let resolution =
                if number % 2 == 0 { Resolution::Released } else { Resolution::Expired };
            stock.give_back(checkout, &here, resolution)
        }));
        // Another process's queue.
        let other = books.inventory();
        let elsewhere =
            join_all((0..10).map(|_| other.give_back(checkout, &here, Resolution::Expired)));
        let (here, elsewhere) = futures::join!(releases, elsewhere);

        let answers: Vec<Resolution> =
            here.into_iter().chain(elsewhere).map(|answer| answer.expect("an answer")).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(books.counters(&mug).await, (5, 0, 0));
    }
    books.assert_lawful().await;
}

#[tokio::test]
async fn a_reserve_that_arrives_after_its_release_holds_nothing() {
    let books = Books::open().await;
    let stock = books.inventory();
    let mug = books.stock("MUG-1", 5).await;
    let checkout = CheckoutId::from(Uuid::new_v4());
    let lines = [StockLine { sku: mug.clone(), quantity: 3.try_into().expect("a quantity") }];

    stock
        .give_back(checkout, &books.here(), Resolution::Released)
        .await
        .expect("a release of nothing");
    stock.give_back(checkout, &books.here(), Resolution::Released).await.expect("and again");
    let late = stock.reserve(checkout, lines.to_vec(), 60_000).await.expect("an answer");

    assert_eq!(late, Reserved::Ended);
    assert_eq!(books.counters(&mug).await, (5, 0, 0));
    books.assert_lawful().await;
}

#[tokio::test]
async fn a_reserve_that_runs_twice_holds_once() {
    let books = Books::open().await;
    let stock = books.inventory();
    let mug = books.stock("MUG-1", 5).await;
    let checkout = CheckoutId::from(Uuid::new_v4());
    let lines = [StockLine { sku: mug.clone(), quantity: 3.try_into().expect("a quantity") }];

    let held = join_all((0..10).map(|_| stock.reserve(checkout, lines.to_vec(), 60_000))).await;

    let held: Vec<Reserved> = held.into_iter().map(|held| held.expect("an answer")).collect();
    assert!(matches!(held[0], Reserved::Held { .. }), "{held:?}");
    assert!(held.iter().all(|other| *other == held[0]), "{held:?}");
    assert_eq!(books.counters(&mug).await, (2, 3, 0));
    books.assert_lawful().await;
}

/// Starts a checkout that waits for its payment.
pub(crate) async fn start(customer: &Customer) -> CheckoutId {
    let started = customer.start(&Uuid::new_v4().to_string(), json!({})).await;
    assert_eq!(started.state(), Some("awaiting_payment"), "{:#}", started.body);
    started.checkout()
}

/// Until when the stock of a checkout is held.
async fn hold_ends(shop: &Shop, checkout: CheckoutId) -> String {
    sqlx::query_scalar(
        "SELECT to_json(expires_at) #>> '{}' FROM reservation WHERE checkout_id = $1",
    )
    .bind(checkout.uuid())
    .fetch_one(&shop.db)
    .await
    .expect("a hold")
}

/// Waits until less than that is left of a hold.
async fn left_is_less_than(shop: &Shop, checkout: CheckoutId, left: &str) {
    eventually("the hold is nearly over", || async {
        let nearly =
            "SELECT expires_at < now() + $2::interval FROM reservation WHERE checkout_id = $1";
        let nearly = sqlx::query_scalar::<_, bool>(nearly).bind(checkout.uuid()).bind(left);
        nearly.fetch_one(&shop.db).await.expect("a hold").then_some(())
    })
    .await;
}

/// Waits until the hold's end has passed on the database's clock.
pub(crate) async fn ran_out(shop: &Shop, checkout: CheckoutId) {
    eventually("the hold has run out", || async {
        let over: bool =
            sqlx::query_scalar("SELECT expires_at < now() FROM reservation WHERE checkout_id = $1")
                .bind(checkout.uuid())
                .fetch_one(&shop.db)
                .await
                .expect("a query");
        over.then_some(())
    })
    .await;
}
