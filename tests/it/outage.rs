//! A card network that is gone for a while, whatever was under way with it: nothing is decided while nobody
//! can say, everything that waits can be seen to, and each comes to its one definite end afterwards.

use std::time::{Duration, Instant};

use domain::{CheckoutId, CustomerId};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Answer, Customer, Payment, Shop, Spec, checkout_body, eventually, within};
use tokio::time::sleep;

const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
const LET_GO: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };
const PAID_BACK: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };
const KEY: &str = "once";
/// Longer than the longest pause between two tries of a step.
const SOON_AFTER: Duration = Duration::from_secs(90);
/// How long before people are told; shorter than any outage here.
const ATTENTION_AFTER: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_is_under_way_when_the_card_network_goes_away_ends_when_it_is_back() {
    outage(Duration::from_secs(10)).await;
}

/// `OUTAGE_SECONDS` says how long.
#[tokio::test]
#[ignore = "takes minutes: for a change to how steps are tried again, and for the record"]
async fn what_is_under_way_when_the_card_network_goes_away_for_minutes_ends_when_it_is_back() {
    let seconds =
        std::env::var("OUTAGE_SECONDS").map_or(600, |text| text.parse().expect("a number"));
    outage(Duration::from_secs(seconds)).await;
}

/// A checkout that is under way, and what is to become of it.
struct UnderWay {
    what: &'static str,
    customer: Customer,
    checkout: CheckoutId,
    end: &'static str,
    payment: Payment,
}

async fn outage(lasts: Duration) {
    let spec = Spec { workers: 2, attention_after: ATTENTION_AFTER, ..Spec::default() };
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 7, 1299).await;
    let refunding = sold(&shop).await;
    let operator = shop.operator("ada").await;
    let mut all = vec![
        stopped(&shop, "authorized, and nobody heard", "confirm", "timeout_after").await,
        stopped(&shop, "not authorized yet", "confirm", "timeout_before").await,
        stopped(&shop, "not captured yet", "capture", "timeout_before").await,
        stopped(&shop, "captured, and nobody heard", "capture", "timeout_after").await,
        voiding(&shop).await,
    ];
    let held = held(&shop).await;
    stop(&shop, refunding, "refund", "timeout_after").await;
    let asked = refund(&operator, refunding).await;
    assert!(asked.status.is_success(), "{:#}", asked.body);
    shows(&shop, refunding, "refunded").await;

    shop.kill_paysim();
    let began = Instant::now();
    // Its customer pays into the outage.
    let (customer, checkout) = held;
    let paying = customer.pay(checkout, "pm_card_visa").await;
    assert_eq!(paying.status, StatusCode::ACCEPTED, "{:#}", paying.body);
    let what = "paid for during the outage";
    all.push(UnderWay { what, customer, checkout, end: "completed", payment: ONCE });
    sleep(lasts.saturating_sub(began.elapsed())).await;
    for UnderWay { what, customer, checkout, .. } in &all {
        let waiting = customer.until(*checkout, "needs_attention").await;
        assert!(waiting.body["problem"].is_null(), "{what}: {:#}", waiting.body);
    }
    let stays_held = "but for what is called off, the stock stays held";
    assert_eq!(shop.counters("MUG-1").await, (1, 5, 1), "{stays_held}");
    let refund_state = refund(&operator, refunding).await;
    assert_eq!(refund_state.state(), Some("requested"), "{:#}", refund_state.body);

    shop.start_paysim().await;
    let back = Instant::now();
    eprintln!("the card network was away for {:.1?}", began.elapsed());
    let ending = all.iter().map(async |UnderWay { what, customer, checkout, end, payment }| {
        within(SOON_AFTER, &format!("{what}: {end}"), || async {
            (customer.checkout(*checkout).await.state() == Some(end)).then_some(())
        })
        .await;
        eprintln!("{what}: {end} after {:.1?}", back.elapsed());
        assert_eq!(shop.payment(*checkout).await, *payment, "{what}");
    });
    let refunded = async {
        within(SOON_AFTER, "the refund is made", || async {
            (refund(&operator, refunding).await.state() == Some("succeeded")).then_some(())
        })
        .await;
        eprintln!("refunded, and nobody heard: succeeded after {:.1?}", back.elapsed());
    };
    futures::join!(join_all(ending), refunded);
    assert_eq!(shop.payment(refunding).await, PAID_BACK);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 6), "five more are sold");
    shop.assert_lawful().await;
}

/// A checkout with a good card that stops at one request, whose answer never comes.
async fn stopped(
    shop: &Shop,
    what: &'static str,
    operation: &str,
    fault: &'static str,
) -> UnderWay {
    let (customer, checkout) = known(shop).await;
    stop(shop, checkout, operation, fault).await;
    start(&customer, json!({ "payment": { "method": "pm_card_visa" } })).await;
    match (operation, fault) {
        ("confirm", "timeout_after") => shows(shop, checkout, "authorized").await,
        ("capture", "timeout_after") => shows(shop, checkout, "captured").await,
        ("capture", _) => order_is(shop, checkout, "placed").await,
        _ => drop(shop.intent(checkout).await),
    }
    UnderWay { what, customer, checkout, end: "completed", payment: ONCE }
}

/// A checkout that was called off when it was authorized, and stops at letting the money go.
async fn voiding(shop: &Shop) -> UnderWay {
    let (customer, checkout) = known(shop).await;
    arm(shop, checkout, "confirm", "slow", 3000, 1).await;
    arm(shop, checkout, "cancel", "timeout_before", 60_000, 1000).await;
    start(&customer, json!({ "payment": { "method": "pm_card_visa" } })).await;
    shop.intent(checkout).await;
    let path = format!("/v1/checkouts/{checkout}/cancel");
    let called_off = eventually("it is taken in", || async {
        let headers = [("Prefer", "respond-async")];
        let answer = customer.send(Method::POST, &path, &headers, None).await;
        (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await;
    assert!(called_off.status.is_success(), "{:#}", called_off.body);
    shows(shop, checkout, "authorized").await;
    UnderWay {
        what: "called off, and not let go yet",
        customer,
        checkout,
        end: "cancelled",
        payment: LET_GO,
    }
}

/// A checkout that waits for its customer to pay.
async fn held(shop: &Shop) -> (Customer, CheckoutId) {
    let (customer, checkout) = known(shop).await;
    start(&customer, json!({})).await;
    customer.until(checkout, "awaiting_payment").await;
    (customer, checkout)
}

async fn sold(shop: &Shop) -> CheckoutId {
    let (customer, checkout) = known(shop).await;
    start(&customer, json!({ "payment": { "method": "pm_card_visa" } })).await;
    customer.until(checkout, "completed").await;
    checkout
}

/// A customer with a mug, and the checkout that they are going to start.
async fn known(shop: &Shop) -> (Customer, CheckoutId) {
    let visitor = shop.visitor();
    let session = visitor.send(Method::POST, "/v1/sessions", &[], None).await;
    let id: CustomerId =
        session.body["customer_id"].as_str().expect("an id").parse().expect("a customer's id");
    let customer = visitor.bearing(session.body["token"].as_str().expect("a token"));
    (customer.with("MUG-1", 1).await, CheckoutId::derive(id, KEY))
}

async fn start(customer: &Customer, members: Value) {
    let headers = [("Idempotency-Key", KEY), ("Prefer", "respond-async")];
    let body = checkout_body(members);
    let started = customer.send(Method::POST, "/v1/checkouts", &headers, Some(body)).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{:#}", started.body);
}

/// The same refund, asked for again.
async fn refund(operator: &Customer, sold: CheckoutId) -> Answer {
    let body = json!({ "reason": "damaged", "reference": "r1" });
    let path = format!("/v1/admin/orders/{}/refunds", sold.order());
    operator.send(Method::POST, &path, &[("Prefer", "wait=1")], Some(body)).await
}

/// Lets nothing more be heard of a payment from one request on, until the card network dies.
async fn stop(shop: &Shop, checkout: CheckoutId, operation: &str, fault: &str) {
    arm(shop, checkout, operation, fault, 60_000, 1000).await;
    arm(shop, checkout, "retrieve", "error_before", 0, 1000).await;
}

async fn arm(
    shop: &Shop,
    checkout: CheckoutId,
    operation: &str,
    kind: &str,
    delay_ms: u64,
    times: u32,
) {
    let fault = json!({
        "operation": operation, "kind": kind, "delay_ms": delay_ms, "times": times,
        "payment_id": checkout.payment().to_string(),
    });
    let url = format!("{}/faults", shop.paysim_url);
    let armed = reqwest::Client::new().post(url).json(&fault).send().await.expect("an answer");
    assert!(armed.status().is_success(), "{}", armed.text().await.unwrap_or_default());
}

async fn shows(shop: &Shop, checkout: CheckoutId, kind: &str) {
    eventually(&format!("the card network has {kind} it"), || async {
        let entries = shop.ledger(checkout).await;
        entries.iter().any(|entry| entry["kind"] == kind).then_some(())
    })
    .await;
}

async fn order_is(shop: &Shop, checkout: CheckoutId, state: &str) {
    eventually(&format!("the order is {state}"), || async {
        (shop.order_state(checkout).await.as_deref() == Some(state)).then_some(())
    })
    .await;
}
