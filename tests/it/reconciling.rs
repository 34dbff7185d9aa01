//! The books held against the card network's: what drifted apart is found, mended where that takes nothing
//! from anybody, and otherwise put before people. What is only late is in `promises`.

mod promises;

use std::time::Duration;

use domain::{CheckoutId, RefundId, StockLine};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::{inventory::Inventory, law, law::When};
use temporalio_client::{
    Client, RpcOptions, WorkflowDescribeOptions, WorkflowGetResultOptions, WorkflowHandle,
    WorkflowStartOptions,
};
use tests::{Answer, Customer, Payment, Shop, eventually};
use uuid::Uuid;
use workflows::{
    ReconciliationInput, ReconciliationWorkflow, TASK_QUEUE, contract::reconciling::Tally,
    reconciliation::SCHEDULE_ID,
};

use crate::late::{cancelled, late_intent};

const LET_GO: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };
const PAID_BACK: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 1 };
pub(crate) const HOUR: ReconciliationInput = ReconciliationInput::of_the_last(3_600_000);

#[tokio::test]
async fn in_a_shop_whose_books_agree_there_is_nothing_to_reconcile() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let sold = buy(&shop, "pm_card_visa").await;
    buy(&shop, "pm_card_visa_chargeDeclined").await;
    let waiting = shop.customer().await.with("MUG-1", 1).await;
    let waiting_for = waiting.buy("pm_card_threeDSecure2Required").await.checkout();
    let ada = shop.operator("ada").await;
    refund(&ada, sold, 500).await;
    shop.fulfilment(sold).await;
    let before = shop.contents().await;

    let tally = reconcile(&shop, HOUR).await;

    assert_eq!((tally.mended, tally.opened, tally.left), (0, 0, 0), "{tally:?}");
    assert_eq!((tally.looked_at, tally.under_way), (5, 1), "payments, a refund, a hold: {tally:?}");
    assert_eq!(shop.contents().await, before);
    waiting.cancel(waiting_for).await;
    shop.assert_lawful().await;
}

/// One of each kind of drift.
#[tokio::test]
async fn every_kind_of_drift_is_found_the_safe_ones_are_mended_and_a_second_run_changes_nothing() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 40, 1299).await;
    shop.webhook_fault("lose", 1000).await;
    let charged = called_off(&shop).await;
    let intent = late_intent(&shop, charged).await;
    capture(&shop, &intent).await;
    let authorized = called_off(&shop).await;
    late_intent(&shop, authorized).await;
    let unheard = called_off(&shop).await;
    let intent = late_intent(&shop, unheard).await;
    note_set_aside(&shop, unheard, &intent).await;
    shop.ask_network(&format!("payment_intents/{intent}/cancel"), &[]).await;
    let uncharged = buy(&shop, "pm_card_visa").await;
    name_another_intent(&shop, uncharged).await;
    let mispriced = buy(&shop, "pm_card_visa").await;
    set(&shop, "UPDATE payment SET amount_minor = 1300 WHERE id = $1", mispriced).await;
    let half_sold = buy(&shop, "pm_card_visa").await;
    hold_again(&shop, half_sold).await;
    let unknown = CheckoutId::from(Uuid::new_v4());
    hold_for_nobody(&shop, unknown).await;
    let missummed = buy(&shop, "pm_card_visa").await;
    set(&shop, "UPDATE payment SET authorized_minor = 9999 WHERE id = $1", missummed).await;
    let stranger = CheckoutId::from(Uuid::new_v4());
    let intent = late_intent(&shop, stranger).await;
    capture(&shop, &intent).await;
    let odd = odd_intent(&shop, mispriced).await;
    let by_hand = buy(&shop, "pm_card_visa").await;
    refund_by_hand(&shop, by_hand, 500, &[]).await;
    let miscount =
        sqlx::query("UPDATE inventory SET available = available + 3, received = received + 3");
    miscount.execute(&shop.db).await.expect("an update");

    let first = reconcile(&shop, HOUR).await;
    let after = shop.contents().await;
    let second = reconcile(&shop, HOUR).await;

    assert_eq!((first.mended, first.opened, first.left), (7, 6, 0), "{first:?}");
    assert_eq!((second.mended, second.opened, second.left), (0, 0, 0), "{second:?}");
    assert_eq!(shop.contents().await, after, "a second run changes nothing");
    let ada = shop.operator("ada").await;
    let sku = || "MUG-1".to_owned();
    assert_eq!(
        cases(&ada, "mended").await,
        sorted([
            ("charge_without_order", charged.payment().to_string()),
            ("counter_mismatch", missummed.payment().to_string()),
            ("counter_mismatch", sku()),
            ("open_authorization", authorized.payment().to_string()),
            ("open_authorization", unheard.payment().to_string()),
            ("orphan_hold", half_sold.to_string()),
            ("orphan_hold", unknown.to_string()),
        ])
    );
    assert_eq!(
        cases(&ada, "open").await,
        sorted([
            ("amount_mismatch", mispriced.payment().to_string()),
            // What paid for it is not what our books say.
            ("charge_without_order", uncharged.payment().to_string()),
            ("charge_without_order", stranger.payment().to_string()),
            ("odd_intent", odd.payment().to_string()),
            ("order_without_charge", uncharged.payment().to_string()),
            ("unrecorded_refund", by_hand.payment().to_string()),
        ])
    );
    assert_eq!(shop.payment(charged).await, PAID_BACK);
    assert_eq!(shop.payment(authorized).await, LET_GO);
    assert_eq!(shop.payment(unheard).await, LET_GO);
    assert_eq!(shop.payment(stranger).await.refunds, 0, "what is not ours is not touched");
    assert_eq!(shop.counters("MUG-1").await, (35, 0, 5));
    assert_eq!(shop.hold_state(unknown).await.as_deref(), Some("released"));
    set(&shop, "UPDATE payment SET amount_minor = 1299 WHERE id = $1", mispriced).await;
    let audit = law::audit(&shop.db, &shop.shards, When::Quiet).await.expect("an audit");
    assert!(audit.breaches.is_empty(), "{:#?}", audit.breaches);
}

/// What is being made here is not written down yet, and what was called off paid nothing back.
#[tokio::test]
async fn of_refunds_only_those_that_nobody_here_asked_for_are_a_case() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.operator("ada").await;
    let ours = buy(&shop, "pm_card_visa").await;
    refund(&ada, ours, 500).await;
    let unheard = buy(&shop, "pm_card_visa").await;
    refund(&ada, unheard, 500).await;
    forget_refund(&shop, unheard).await;
    let failed = buy(&shop, "pm_card_refundFail").await;
    let made = refund_by_hand(&shop, failed, 500, &[]).await;
    shop.settle_refund(&made, "failed").await;
    let misnamed = buy(&shop, "pm_card_visa").await;
    refund(&ada, misnamed, 500).await;
    let nobodys = RefundId::from(Uuid::new_v4()).to_string();
    refund_by_hand(&shop, misnamed, 300, &[("metadata[reference]", &nobodys)]).await;

    let tally = reconcile(&shop, HOUR).await;

    assert_eq!((tally.mended, tally.opened, tally.left), (0, 1, 0), "{tally:?}");
    let stray = ("unrecorded_refund", misnamed.payment().to_string());
    assert_eq!(cases(&ada, "open").await, sorted([stray]));
    let rest = refund_as(&ada, misnamed, 799, "the-rest").await;
    assert_eq!(rest.state(), Some("refused"), "{:#}", rest.body);
    assert_eq!(shop.payment(misnamed).await.refunds, 2);
}

#[tokio::test]
async fn a_case_is_announced_once_and_closed_by_an_operator_for_good() {
    let shop = Shop::open().await;
    let stranger = CheckoutId::from(Uuid::new_v4());
    let intent = late_intent(&shop, stranger).await;
    capture(&shop, &intent).await;
    let ada = shop.operator("ada").await;

    reconcile(&shop, HOUR).await;
    let open = ada.get("/v1/admin/cases?state=open").await;
    let case = &open.body["cases"][0];
    let named = ada.get(&format!("/v1/admin/cases/{}", case["id"].as_str().expect("an id"))).await;
    let path = format!("/v1/admin/cases/{}/resolve", case["id"].as_str().expect("an id"));
    let unsaid = ada.send(Method::POST, &path, &[], Some(json!({ "reason": "" }))).await;
    let ours = json!({ "reason": "the shop in Graz shares the account" });
    let resolved = ada.send(Method::POST, &path, &[], Some(ours.clone())).await;
    let other = json!({ "reason": "another reason" });
    let again = shop.operator("bob").await.send(Method::POST, &path, &[], Some(other)).await;
    let tally = reconcile(&shop, HOUR).await;

    assert_eq!(case["facts"]["intent"], intent.as_str(), "{case:#}");
    assert_eq!(&named.body, case);
    assert_eq!(
        (unsaid.status, unsaid.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("validation_failed"))
    );
    assert_eq!(resolved.status, StatusCode::OK, "{:#}", resolved.body);
    assert_eq!(
        (&resolved.body["state"], &resolved.body["resolved_by"]),
        (&json!("resolved"), &json!("ada"))
    );
    assert_eq!(resolved.body["reason"], ours["reason"]);
    assert_eq!(again.body, resolved.body, "the first word stands");
    assert_eq!(tally.opened, 0, "{tally:?}");
    assert_eq!(cases(&ada, "open").await, []);
    let told: Vec<Value> =
        sqlx::query_scalar("SELECT payload FROM outbox WHERE topic = 'case.opened'")
            .fetch_all(&shop.db)
            .await
            .expect("events");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["case_id"], case["id"]);
}

#[tokio::test]
async fn the_books_are_compared_by_a_schedule_and_whenever_an_operator_says_so() {
    let shop = Shop::open().await;
    let (_, checkout) = cancelled(&shop).await;
    shop.webhook_fault("lose", 100).await;
    late_intent(&shop, checkout).await;
    let ada = shop.operator("ada").await;

    let begun = eventually("there is the schedule", || async {
        let begun = ada.send(Method::POST, "/v1/admin/reconciliations", &[], None).await;
        (begun.status != StatusCode::SERVICE_UNAVAILABLE).then_some(begun)
    })
    .await;

    assert_eq!(begun.status, StatusCode::ACCEPTED, "{:#}", begun.body);
    eventually("the difference is mended", || async {
        (cases(&ada, "mended").await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(shop.payment(checkout).await, LET_GO);
    let schedule = shop.engine.get_schedule_handle(SCHEDULE_ID);
    let described = schedule.describe(RpcOptions::default()).await.expect("a schedule");
    assert!(!described.future_action_times().is_empty(), "it goes on by itself");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn only_operators_see_cases_and_what_is_no_case_is_not_found() {
    let shop = Shop::open().await;
    let customer = shop.customer().await;
    let ada = shop.operator("ada").await;
    let reason = Some(json!({ "reason": "seen to" }));
    let unknown = "/v1/admin/cases/case_01h455vb4pex5vsknk084sn02q/resolve";

    for (method, path, body) in [
        (Method::GET, "/v1/admin/cases", None),
        (Method::POST, unknown, reason.clone()),
        (Method::POST, "/v1/admin/reconciliations", None),
    ] {
        let refused = customer.send(method, path, &[], body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::FORBIDDEN, Some("forbidden")),
            "{path}"
        );
    }
    let missing = ada.send(Method::POST, unknown, &[], reason).await;
    let nobodys = ada.get("/v1/admin/cases/case_01h455vb4pex5vsknk084sn02q").await;
    let unheard = ada.get("/v1/admin/cases?state=closed").await;

    for missing in [missing, nobodys] {
        assert_eq!((missing.status, missing.code()), (StatusCode::NOT_FOUND, Some("not_found")));
    }
    assert_eq!(
        (unheard.status, unheard.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("validation_failed"))
    );
    shop.assert_lawful().await;
}

/// A key of another account, for one, or a database that was restored to an earlier day.
#[tokio::test]
async fn differences_that_cannot_be_meant_end_the_run_before_they_fill_the_list() {
    let shop = Shop::open().await;
    for _ in 0..3 {
        let intent = late_intent(&shop, CheckoutId::from(Uuid::new_v4())).await;
        capture(&shop, &intent).await;
    }

    let ended = begin(&shop, ReconciliationInput { cases_max: 2, ..HOUR }).await;
    let ended = ended.get_result(WorkflowGetResultOptions::default()).await;
    let ada = shop.operator("ada").await;
    let first = ada.get("/v1/admin/cases?limit=2").await;
    let cursor = first.body["next_cursor"].as_str().expect("there is more");
    let second = ada.get(&format!("/v1/admin/cases?limit=2&cursor={cursor}")).await;

    let error = format!("{:#}", anyhow::Error::new(ended.expect_err("a failed run")));
    assert!(error.contains("API key of the shop's own account"), "{error}");
    let listed = |page: &Answer| page.body["cases"].as_array().expect("cases").clone();
    let all = [listed(&first), listed(&second)].concat();
    assert_eq!(all.len(), 3, "{all:#?}");
    assert_eq!(Value::Array(all), ada.get("/v1/admin/cases").await.body["cases"]);
    assert_eq!(second.body["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_long_list_is_compared_over_several_runs_though_the_card_network_dies_meanwhile() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 50, 1299).await;
    let mut buying = Vec::new();
    for _ in 0..45 {
        let customer = shop.customer().await.with("MUG-1", 1).await;
        buying.push(async move { customer.buy("pm_card_visa").await });
    }
    for bought in futures::future::join_all(buying).await {
        assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    }
    shop.kill_paysim();

    let run = begin(&shop, ReconciliationInput { pages_per_run: 1, ..HOUR }).await;
    eventually("it asks in vain", || async {
        let described = run.describe(WorkflowDescribeOptions::default()).await.ok()?;
        described
            .raw_description
            .pending_activities
            .iter()
            .any(|step| step.attempt > 1)
            .then_some(())
    })
    .await;
    shop.start_paysim().await;

    let tally = run.get_result(WorkflowGetResultOptions::default()).await.expect("a tally");
    assert_eq!((tally.mended, tally.opened, tally.left), (0, 0, 0), "{tally:?}");
    assert!(tally.looked_at >= 45, "{tally:?}");
    shop.assert_lawful().await;
}

type Run = WorkflowHandle<Client, ReconciliationWorkflow>;

/// Begins a reconciliation of its own, beside those of the schedule.
pub(crate) async fn begin(shop: &Shop, input: ReconciliationInput) -> Run {
    let id = format!("reconciliation-of-a-test-{}", Uuid::new_v4());
    let options = WorkflowStartOptions::new(TASK_QUEUE, id).build();
    let started = shop.engine.start_workflow(ReconciliationWorkflow::run, input, options).await;
    let started = started.expect("it starts");
    // By its id alone, it follows what the run continues as.
    shop.engine.get_workflow_handle(started.info().workflow_id.clone())
}

pub(crate) async fn reconcile(shop: &Shop, input: ReconciliationInput) -> Tally {
    let run = begin(shop, input).await;
    let ended = run.get_result(WorkflowGetResultOptions::default());
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("an end in time");
    ended.expect("a tally")
}

/// What each case of a state is about, in order.
pub(crate) async fn cases(operator: &Customer, state: &str) -> Vec<(String, String)> {
    let answer = operator.get(&format!("/v1/admin/cases?state={state}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:#}", answer.body);
    let text = |case: &Value, member: &str| case[member].as_str().expect("a text").to_owned();
    let mut cases: Vec<_> = answer.body["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .map(|case| (text(case, "difference"), text(case, "subject")))
        .collect();
    cases.sort();
    cases
}

fn sorted<const N: usize>(cases: [(&str, String); N]) -> Vec<(String, String)> {
    let mut cases: Vec<_> =
        cases.into_iter().map(|(difference, subject)| (difference.to_owned(), subject)).collect();
    cases.sort();
    cases
}

pub(crate) async fn buy(shop: &Shop, method: &str) -> CheckoutId {
    shop.customer().await.with("MUG-1", 1).await.buy(method).await.checkout()
}

/// A checkout that ended unsold with its payment closed.
pub(crate) async fn called_off(shop: &Shop) -> CheckoutId {
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let checkout = crate::expiry::start(&ada).await;
    let cancelled = ada.cancel(checkout).await;
    assert_eq!(cancelled.state(), Some("cancelled"), "{:#}", cancelled.body);
    checkout
}

async fn refund(operator: &Customer, sold: CheckoutId, minor: i64) -> Answer {
    refund_as(operator, sold, minor, "one").await
}

async fn refund_as(operator: &Customer, sold: CheckoutId, minor: i64, reference: &str) -> Answer {
    let path = format!("/v1/admin/orders/{}/refunds", sold.order());
    let body = json!({
        "amount": { "minor": minor, "currency": "EUR" }, "reason": "damaged", "reference": reference,
    });
    let made = operator.send(Method::POST, &path, &[], Some(body)).await;
    assert!(made.status.is_success(), "{:#}", made.body);
    made
}

/// As if nobody had heard yet that it was made.
async fn forget_refund(shop: &Shop, sold: CheckoutId) {
    set(
        shop,
        "UPDATE refund SET state = 'requested', provider_ref = NULL, decided_at = NULL WHERE payment_id = $1",
        sold,
    )
    .await;
}

/// Pays back behind the shop's back; the card network's id of it.
async fn refund_by_hand(
    shop: &Shop,
    sold: CheckoutId,
    minor: i64,
    more: &[(&str, &str)],
) -> String {
    let (intent, amount) = (shop.intent(sold).await, minor.to_string());
    let form = [&[("payment_intent", &*intent), ("amount", &amount)], more].concat();
    let made = shop.ask_network("refunds", &form).await;
    made["id"].as_str().expect("an id").to_owned()
}

async fn capture(shop: &Shop, intent: &str) {
    shop.ask_network(&format!("payment_intents/{intent}/capture"), &[]).await;
}

/// An intent that has our name for a payment and captures by itself.
async fn odd_intent(shop: &Shop, checkout: CheckoutId) -> CheckoutId {
    let payment = checkout.payment().to_string();
    let form = [
        ("amount", "700"),
        ("currency", "eur"),
        ("capture_method", "manual"),
        ("metadata[payment_id]", payment.as_str()),
    ];
    shop.ask_network("payment_intents", &form).await;
    checkout
}

async fn name_another_intent(shop: &Shop, checkout: CheckoutId) {
    set(
        shop,
        "UPDATE payment_attempt SET provider_ref = 'pi_that_never_was' WHERE payment_id = $1",
        checkout,
    )
    .await;
}

/// As if the worker had died after it let the money go, and before it could say so.
async fn note_set_aside(shop: &Shop, checkout: CheckoutId, intent: &str) {
    let mut conn = shop.db.acquire().await.expect("a connection");
    let amount = domain::Money::new(1299, "EUR".parse().expect("a currency")).expect("an amount");
    store::payment::book_came(&mut conn, checkout.payment(), 1, intent, amount)
        .await
        .expect("an entry");
}

/// As if the worker had died between the sale and its stock, an hour ago.
async fn hold_again(shop: &Shop, checkout: CheckoutId) {
    set(
        shop,
        "UPDATE reservation SET state = 'held', resolved_at = NULL WHERE checkout_id = $1",
        checkout,
    )
    .await;
    let counted = sqlx::query("UPDATE inventory SET reserved = reserved + 1, sold = sold - 1");
    counted.execute(&shop.db).await.expect("an update");
    set(
        shop,
        "UPDATE checkout SET finished_at = finished_at - interval '1 hour' WHERE id = $1",
        checkout,
    )
    .await;
}

pub(crate) async fn hold_for_nobody(shop: &Shop, checkout: CheckoutId) {
    let line = StockLine {
        sku: "MUG-1".parse().expect("a SKU"),
        quantity: 2.try_into().expect("a quantity"),
    };
    let stock = Inventory::new(shop.shards.clone());
    stock.reserve(checkout, vec![line], 900_000).await.expect("a hold");
}

pub(crate) async fn set(shop: &Shop, statement: &'static str, checkout: CheckoutId) {
    let done = sqlx::query(statement).bind(checkout.uuid()).execute(&shop.db).await;
    assert_eq!(done.expect("an update").rows_affected(), 1, "{statement}");
}
