//! Money on its way back: asked for once, made once, followed until it is believed; and what becomes of
//! the order, its fulfilment and its stock. What its webhooks are good for is in `told`.

mod told;

use std::time::{Duration, Instant};

use domain::{CheckoutId, RefundId};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use temporalio_client::{WorkflowCountOptions, WorkflowDescribeOptions, WorkflowQueryOptions};
use tests::{Answer, Customer, Payment, Shop, Spec, eventually};
use workflows::{FulfilmentWorkflow, RefundStatus, RefundWorkflow};

use crate::shipping;

/// Shorter than a step's quick try.
const SOON: Duration = Duration::from_millis(300);
/// Longer than a step's quick try.
const TOO_LATE: Duration = Duration::from_secs(6);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(60);
pub(crate) const PRICE: i64 = 1299;
pub(crate) const PAID_BACK_ONCE: Payment =
    Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };
pub(crate) const KEPT: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };

#[tokio::test]
async fn an_order_is_refunded_in_parts_and_then_in_full() {
    let (shop, ada, sold) = sold("pm_card_visa").await;

    let part = ada.refund(sold, Some(500), "part").await;
    let after_part = shop.order_state(sold).await;
    let rest = ada.refund(sold, None, "rest").await;

    assert_eq!((part.status, part.state()), (StatusCode::CREATED, Some("succeeded")), "{part:?}");
    assert_eq!(part.body["amount"], euros(500));
    assert_eq!(part.body["actor"], "ada");
    assert_eq!(after_part.as_deref(), Some("paid"));
    assert_eq!((rest.status, &rest.body["amount"]), (StatusCode::CREATED, &euros(PRICE - 500)));
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("refunded"));
    assert_eq!(shop.payment(sold).await.refunds, 2);
    let listed = ada.refunds(sold).await;
    assert_eq!(listed.body["left"], euros(0));
    let references: Vec<_> = refunds(&listed).iter().map(|r| r["reference"].clone()).collect();
    assert_eq!(references, ["part", "rest"]);
    assert_eq!(order_events(&shop, sold, "refunded").await, 1);
    for topic in ["refund.requested", "refund.succeeded"] {
        assert_eq!(announced(&shop, topic).await, 2, "{topic}");
    }
    let nothing_left = ada.refund(sold, None, "more").await;
    assert_eq!(
        (nothing_left.status, nothing_left.code(), &nothing_left.body["state"]),
        (StatusCode::CONFLICT, Some("invalid_state"), &json!("refunded"))
    );
    fulfilment_ends(&shop, sold).await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_same_refund_asked_for_twenty_times_at_once_is_made_once() {
    let (shop, ada, sold) = sold("pm_card_visa").await;

    let answers = join_all((0..20).map(|_| ada.refund(sold, Some(500), "r1"))).await;
    let again = ada.refund(sold, Some(500), "r1").await;
    let other = ada.refund(sold, Some(501), "r1").await;

    let first = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(first, 1, "{answers:#?}");
    for answer in answers.iter().chain([&again]) {
        assert!(answer.status.is_success(), "{:#}", answer.body);
        assert_eq!((&answer.body["id"], answer.state()), (&again.body["id"], Some("succeeded")));
    }
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(
        (other.status, other.code(), &other.body["amount"]),
        (StatusCode::CONFLICT, Some("reference_reused"), &euros(500))
    );
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn two_refunds_at_once_that_together_exceed_the_sale_are_not_both_let_in() {
    let (shop, ada, sold) = sold("pm_card_visa").await;

    let (one, other) =
        futures::join!(ada.refund(sold, Some(700), "one"), ada.refund(sold, Some(700), "other"),);

    let (made, refused) = if one.status.is_success() { (one, other) } else { (other, one) };
    assert_eq!(made.state(), Some("succeeded"), "{:#}", made.body);
    assert_eq!(
        (refused.status, refused.code(), &refused.body["left"]),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("refund_exceeds_captured"), &euros(PRICE - 700))
    );
    let by_hand = "UPDATE payment SET refunding_minor = refunding_minor + 700 WHERE id = $1";
    let never = sqlx::query(by_hand).bind(sold.uuid()).execute(&shop.db).await;
    let never = never.expect_err("more goes back than was taken").to_string();
    assert!(never.contains("payment_refunds_what_is_captured"), "{never}");
    // Having done nothing, it may be asked for again under the same reference.
    let reference = if made.body["reference"] == "one" { "other" } else { "one" };
    let smaller = ada.refund(sold, Some(PRICE - 700), reference).await;
    assert_eq!((smaller.status, smaller.state()), (StatusCode::CREATED, Some("succeeded")));
    assert_eq!(shop.payment(sold).await.refunds, 2);
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("refunded"));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_made_once() {
    let (shop, ada, sold) = sold("pm_card_visa").await;
    let faults = ["timeout_before", "timeout_after", "error_before", "error_after"];
    for (number, fault) in faults.into_iter().enumerate() {
        shop.fault("refund", fault, SOON).await;

        let refund = ada.refund(sold, Some(100), fault).await;

        assert!(refund.status.is_success(), "{fault}: {:#}", refund.body);
        ada.until_refund(sold, fault, "succeeded").await;
        let made = i64::try_from(number + 1).expect("few");
        assert_eq!(shop.payment(sold).await.refunds, made, "{fault}");
    }
    shop.assert_lawful().await;
}

/// A look finds nothing yet, and a part could be paid back twice.
#[tokio::test]
async fn a_refund_asked_for_again_while_the_first_request_is_on_its_way_is_made_once() {
    let (shop, ada, sold) = sold("pm_card_visa").await;
    shop.fault("refund", "slow", TOO_LATE).await;

    let refund = ada.refund(sold, Some(100), "r1").await;

    assert!(refund.status.is_success(), "{:#}", refund.body);
    let answered_at = Instant::now();
    ada.until_refund(sold, "r1", "succeeded").await;
    eventually("the first request has had its effect", || async {
        (answered_at.elapsed() > TOO_LATE).then_some(())
    })
    .await;
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_refund_that_the_card_network_will_not_make_leaves_the_money_with_us() {
    let (shop, ada, sold) = sold("pm_card_visa").await;
    shop.fault("refund", "refuse", Duration::ZERO).await;

    let refused = ada.refund(sold, None, "r1").await;
    let again = ada.refund(sold, None, "r2").await;

    assert_eq!(refused.state(), Some("refused"), "{:#}", refused.body);
    assert!(refused.body["code"].is_string(), "{:#}", refused.body);
    assert_eq!(again.state(), Some("succeeded"), "{:#}", again.body);
    assert_eq!(announced(&shop, "refund.failed").await, 1);
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    shop.assert_lawful().await;
}

/// Killed while the provider has made it and nobody has heard.
#[tokio::test]
async fn a_refund_whose_worker_is_killed_half_way_is_made_once() {
    let (shop, ada, sold) = sold("pm_card_visa").await;
    shop.fault("refund", "timeout_after", NEVER).await;
    let asking = {
        let ada = ada.clone();
        tokio::spawn(async move { ada.refund(sold, None, "r1").await })
    };
    eventually("the card network has made it", || async {
        (shop.payment(sold).await.refunds == 1).then_some(())
    })
    .await;
    shop.kill_worker(0);
    shop.start_worker(0);

    ada.until_refund(sold, "r1", "succeeded").await;
    let answer = asking.await.expect("an answer");
    assert!(answer.status.is_success(), "{:#}", answer.body);
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("refunded"));
    shop.worker_ready(0).await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn while_the_card_network_is_down_a_refund_calls_for_attention_and_is_made_afterwards() {
    let spec = Spec { attention_after: Duration::from_secs(1), ..Spec::default() };
    let (shop, ada, sold) = sold_in(spec, "pm_card_visa").await;
    shop.kill_paysim();

    let waiting = ada.refund(sold, Some(700), "r1").await;
    let too_much = ada.refund(sold, Some(700), "r2").await;
    let status = eventually("the refund calls for attention", || async {
        refund_status(&shop, sold, "r1").await.filter(|status| status.attention.is_some())
    })
    .await;
    let alarmed = "RefundState = 'needs_attention'";
    eventually("it is found by that", || async {
        (counted(&shop, alarmed).await == 1).then_some(())
    })
    .await;

    assert_eq!((waiting.status, waiting.state()), (StatusCode::CREATED, Some("requested")));
    assert_eq!(too_much.code(), Some("refund_exceeds_captured"), "{:#}", too_much.body);
    assert_eq!(status.amount.map(domain::Money::minor), Some(700));
    shop.start_paysim().await;
    ada.until_refund(sold, "r1", "succeeded").await;
    eventually("nobody is called any more", || async {
        refund_status(&shop, sold, "r1").await.filter(|status| status.attention.is_none())
    })
    .await;
    eventually("and no more", || async { (counted(&shop, alarmed).await == 0).then_some(()) })
        .await;
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_pending_refund_is_asked_after_until_it_succeeds_and_then_the_order_is_refunded() {
    let (shop, ada, sold) = sold("pm_card_pendingRefund").await;

    let pending = ada.refund(sold, None, "r1").await;

    assert_eq!((pending.status, pending.state()), (StatusCode::CREATED, Some("pending")));
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("paid"));
    shop.assert_lawful().await;
    shop.settle_refund(pending.body["provider_ref"].as_str().expect("it was made"), "succeeded")
        .await;
    ada.until_refund(sold, "r1", "succeeded").await;
    assert_eq!(shop.order_state(sold).await.as_deref(), Some("refunded"));
    assert_eq!(announced(&shop, "refund.succeeded").await, 1);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_paid_order_that_is_called_off_is_refunded_once_and_its_fulfilment_ends() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, PRICE).await;
    let eve = shop.customer().await.with("MUG-1", 1).await;
    let sold = eve.buy("pm_card_visa").await.checkout();

    let answers = join_all((0..5).map(|_| eve.cancel_order(sold))).await;
    let again = eve.cancel_order(sold).await;

    for answer in answers.iter().chain([&again]) {
        assert_eq!(
            (answer.status, answer.state()),
            (StatusCode::OK, Some("refunded")),
            "{answer:?}"
        );
        assert!(answer.body["called_off_at"].is_string(), "{:#}", answer.body);
    }
    assert_eq!(shop.payment(sold).await, PAID_BACK_ONCE);
    fulfilment_ends(&shop, sold).await;
    // Whether the mug is fit to be sold again is for an operator to say.
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn an_order_that_is_called_off_can_never_be_shipped() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, PRICE).await;
    let eve = shop.customer().await.with("MUG-1", 1).await;
    let sold = eve.buy("pm_card_pendingRefund").await.checkout();

    let called_off = eve.cancel_order(sold).await;
    let shipped = ship(&shop, sold).await;

    assert_eq!((called_off.status, called_off.state()), (StatusCode::ACCEPTED, Some("paid")));
    assert_eq!(
        (shipped.status, shipped.code()),
        (StatusCode::CONFLICT, Some("invalid_state")),
        "{:#}",
        shipped.body
    );
    let by_hand = "UPDATE customer_order SET state = 'shipped' WHERE id = $1";
    let refused = sqlx::query(by_hand).bind(sold.uuid()).execute(&shop.db).await;
    let refused = refused.expect_err("it was shipped").to_string();
    assert!(refused.contains("order_called_off_is_not_shipped"), "{refused}");
    fulfilment_ends(&shop, sold).await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_is_shipped_or_not_paid_yet_cannot_be_called_off() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, PRICE).await;
    let eve = shop.customer().await.with("MUG-1", 1).await;
    let sold = eve.buy("pm_card_visa").await.checkout();
    ship(&shop, sold).await;
    let eve = eve.with("MUG-1", 1).await;
    let waiting = crate::expiry::start(&eve).await;

    let shipped = eve.cancel_order(sold).await;
    let unpaid = eve.cancel_order(waiting).await;
    let strangers = shop.customer().await.cancel_order(sold).await;
    eve.cancel(waiting).await;
    let cancelled = eve.cancel_order(waiting).await;

    assert_eq!(
        (shipped.status, shipped.code(), shipped.state()),
        (StatusCode::CONFLICT, Some("invalid_state"), Some("shipped"))
    );
    assert_eq!(
        (unpaid.status, unpaid.code(), &unpaid.body["checkout_id"]),
        (StatusCode::CONFLICT, Some("invalid_state"), &json!(waiting.to_string()))
    );
    assert_eq!(strangers.status, StatusCode::NOT_FOUND);
    assert_eq!((cancelled.status, cancelled.state()), (StatusCode::OK, Some("cancelled")));
    assert_eq!(shop.payment(sold).await, KEPT);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_cancellation_that_comes_while_the_money_is_taken_ends_in_one_refund() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, PRICE).await;
    shop.fault("capture", "slow", Duration::from_secs(3)).await;
    let eve = shop.customer().await.with("MUG-1", 1).await;
    let buying = {
        let eve = eve.clone();
        tokio::spawn(async move { eve.buy("pm_card_visa").await })
    };
    let checkout = shop.under_way().await;
    eventually("the order is placed", || async {
        (shop.order_state(checkout).await.as_deref() == Some("placed")).then_some(())
    })
    .await;

    let too_early = eve.cancel_order(checkout).await;
    buying.await.expect("an answer");
    let in_time = eve.cancel_order(checkout).await;

    assert_eq!((too_early.status, too_early.code()), (StatusCode::CONFLICT, Some("invalid_state")));
    assert_eq!((in_time.status, in_time.state()), (StatusCode::OK, Some("refunded")));
    assert_eq!(shop.payment(checkout).await, PAID_BACK_ONCE);
    fulfilment_ends(&shop, checkout).await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_cannot_be_a_refund_or_a_restock_changes_nothing() {
    let (shop, ada, sold) = sold("pm_card_visa").await;
    shop.fulfilment(sold).await;
    let before = shop.contents().await;
    let refunds = format!("/v1/admin/orders/{}/refunds", sold.order());
    let restock = format!("/v1/admin/orders/{}/restock", sold.order());
    let line = json!([{ "sku": "MUG-1", "quantity": 1 }]);
    for (path, body, pointer) in [
        (&refunds, json!({ "reason": "x", "reference": "cancel" }), "/reference"),
        (&refunds, json!({ "reason": "x", "reference": "a b" }), "/reference"),
        (&refunds, json!({ "reason": "Not a word", "reference": "r" }), "/reason"),
        (&refunds, json!({ "amount": euros(0), "reason": "x", "reference": "r" }), "/amount/minor"),
        (&refunds, json!({ "amount": 1, "reason": "x", "reference": "r" }), "/amount"),
        (&refunds, json!({ "reason": "x" }), "/reference"),
        (&restock, json!({ "lines": [], "reason": "x", "reference": "r" }), "/lines"),
        (&restock, json!({ "lines": line, "reason": "", "reference": "r" }), "/reason"),
    ] {
        let refused = ada.0.send(Method::POST, path, &[], Some(body)).await;
        assert_eq!(refused.code(), Some("validation_failed"), "{:#}", refused.body);
        assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{:#}", refused.body);
    }
    let dollars =
        json!({ "amount": { "minor": 1, "currency": "USD" }, "reason": "x", "reference": "r" });
    let dollars = ada.0.send(Method::POST, &refunds, &[], Some(dollars)).await;
    assert_eq!(dollars.code(), Some("refund_exceeds_captured"), "{:#}", dollars.body);
    let customer = shop.customer().await;
    assert_eq!(customer.get(&refunds).await.code(), Some("forbidden"));
    let unknown = CheckoutId::from(uuid::Uuid::new_v4());
    assert_eq!(ada.refund(unknown, None, "r").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ada.refunds(unknown).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ada.restock(unknown, "MUG-1", 1, "r").await.status, StatusCode::NOT_FOUND);

    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

/// An operator, for what they do to orders.
#[derive(Clone)]
pub(crate) struct Admin(pub(crate) Customer);

impl Admin {
    pub(crate) async fn refund(
        &self,
        sold: CheckoutId,
        minor: Option<i64>,
        reference: &str,
    ) -> Answer {
        let mut body = json!({ "reason": "damaged", "reference": reference });
        if let Some(minor) = minor {
            body["amount"] = euros(minor);
        }
        let path = format!("/v1/admin/orders/{}/refunds", sold.order());
        self.0.send(Method::POST, &path, &[("Prefer", "wait=10")], Some(body)).await
    }

    pub(crate) async fn refunds(&self, sold: CheckoutId) -> Answer {
        self.0.get(&format!("/v1/admin/orders/{}/refunds", sold.order())).await
    }

    pub(crate) async fn until_refund(
        &self,
        sold: CheckoutId,
        reference: &str,
        state: &str,
    ) -> Value {
        eventually(&format!("refund {reference} is {state}"), || async {
            let listed = self.refunds(sold).await;
            let found = refunds(&listed).into_iter();
            found.into_iter().find(|r| r["reference"] == reference && r["state"] == state)
        })
        .await
    }

    pub(crate) async fn restock(
        &self,
        sold: CheckoutId,
        sku: &str,
        quantity: i64,
        reference: &str,
    ) -> Answer {
        let lines = json!([{ "sku": sku, "quantity": quantity }]);
        let body = json!({ "lines": lines, "reason": "came back", "reference": reference });
        let path = format!("/v1/admin/orders/{}/restock", sold.order());
        self.0.send(Method::POST, &path, &[], Some(body)).await
    }
}

/// A shop that has sold one mug, and who can give the money back.
async fn sold(method: &str) -> (Shop, Admin, CheckoutId) {
    sold_in(Spec::default(), method).await
}

async fn sold_in(spec: Spec, method: &str) -> (Shop, Admin, CheckoutId) {
    let shop = Shop::open_with(spec).await;
    shop.stock("MUG-1", 1, PRICE).await;
    let bought = shop.customer().await.with("MUG-1", 1).await.buy(method).await;
    assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    let ada = Admin(shop.operator("ada").await);
    (shop, ada, bought.checkout())
}

/// Sends all of an order off in one parcel.
async fn ship(shop: &Shop, sold: CheckoutId) -> Answer {
    let ops = shop.operator("ada").await;
    let made = shipping::ship(&ops, sold, "T-1", None).await;
    if made.status.is_success() {
        shipping::tell(&ops, &made, "e-1", "dispatched").await;
        shipping::until(shop, sold, "shipped").await;
    }
    made
}

pub(crate) async fn refund_status(
    shop: &Shop,
    sold: CheckoutId,
    reference: &str,
) -> Option<RefundStatus> {
    let id = RefundId::derive(sold.order(), reference).to_string();
    let handle = shop.engine.get_workflow_handle::<RefundWorkflow>(id);
    handle.query(RefundWorkflow::status, (), WorkflowQueryOptions::default()).await.ok()
}

async fn fulfilment_ends(shop: &Shop, sold: CheckoutId) {
    let id = sold.order().to_string();
    let handle = shop.engine.get_workflow_handle::<FulfilmentWorkflow>(id);
    eventually("the fulfilment has ended", || async {
        handle.describe(WorkflowDescribeOptions::default()).await.ok()?.close_time()
    })
    .await;
}

pub(crate) async fn order_events(shop: &Shop, sold: CheckoutId, kind: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM order_event WHERE order_id = $1 AND kind = $2")
        .bind(sold.uuid())
        .bind(kind)
        .fetch_one(&shop.db)
        .await
        .expect("a count")
}

async fn announced(shop: &Shop, topic: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM outbox WHERE topic = $1")
        .bind(topic)
        .fetch_one(&shop.db)
        .await
        .expect("a count")
}

fn refunds(listed: &Answer) -> Vec<Value> {
    listed.body["refunds"].as_array().cloned().unwrap_or_default()
}

pub(crate) fn euros(minor: i64) -> Value {
    json!({ "minor": minor, "currency": "EUR" })
}

/// How many workflows the engine's list finds.
async fn counted(shop: &Shop, query: &str) -> usize {
    let counted = shop.engine.count_workflows(query, WorkflowCountOptions::default()).await;
    counted.expect("a count").count()
}
