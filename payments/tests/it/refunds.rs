//! Refunds: which requests follow which answer, and that no order of answers pays back twice.

use payments::{Doubt, Error, REFUND_PAGES_MAX, RefundId, RefundOutcome, RefundStatus};
use serde_json::{Value, json};

use crate::{
    fixtures::{INTENT, PAYMENT, charge, client, error, eur, id, listed, referenced, refund},
    provider::{Answer, Provider},
};

fn ok(body: &Value) -> Answer {
    Answer::json(200, body)
}

/// The intent's refunds, as a look-up finds them.
fn list(refunds: &[Value]) -> Answer {
    ok(&listed(refunds, false))
}

fn none() -> Answer {
    list(&[])
}

fn ours(status: &str) -> Value {
    referenced("re_1", "r1", status)
}

fn trouble() -> Answer {
    Answer::json(500, &json!({"error": {"type": "api_error"}}))
}

fn stored() -> Answer {
    Answer::replay(500, &json!({"error": {"type": "api_error"}}))
}

fn too_much() -> Answer {
    Answer::json(400, &error("invalid_request_error", "amount_too_large"))
}

fn re_1() -> RefundId {
    RefundId::try_from("re_1".to_owned()).expect("an id")
}

fn refunded() -> RefundOutcome {
    RefundOutcome::Refunded { provider_ref: re_1() }
}

fn failed(reason: &str) -> RefundOutcome {
    RefundOutcome::Failed { provider_ref: re_1(), reason: reason.to_owned() }
}

/// Settles the refund `r1` of everything; `calls` are the expected requests, `look` for a look-up.
async fn settle(
    script: impl IntoIterator<Item = Answer>,
    calls: &[&str],
) -> Result<RefundOutcome, Error> {
    let provider = Provider::start(script).await;
    let result = client(&provider).settle_refund(&id(), &charge(), eur(1999), "r1").await;
    let prefix = format!("{PAYMENT}/1/");
    let seen: Vec<String> = provider
        .keys()
        .iter()
        .map(|key| key.strip_prefix(&prefix).unwrap_or("look").to_owned())
        .collect();
    assert_eq!(seen, calls);
    result
}

#[track_caller]
fn doubt<T: std::fmt::Debug>(result: Result<T, Error>) -> Doubt {
    match result {
        Err(Error::Unknown { doubt, .. }) => doubt,
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn a_refund_is_looked_for_and_then_made() {
    for (status, expected) in [
        ("succeeded", refunded()),
        ("pending", RefundOutcome::Pending { provider_ref: re_1() }),
        ("requires_action", RefundOutcome::Pending { provider_ref: re_1() }),
        ("failed", failed("unknown")),
        ("canceled", failed("canceled")),
    ] {
        let script = [none(), ok(&ours(status))];
        let outcome = settle(script, &["look", "refund/r1"]).await.expect("an outcome");
        assert_eq!(outcome, expected);
        // Found, it is not made again, however old its key.
        let outcome = settle([list(&[ours(status)])], &["look"]).await.expect("an outcome");
        assert_eq!(outcome, expected);
    }
}

#[tokio::test]
async fn a_failed_refund_says_why() {
    let mut refund = ours("failed");
    refund["failure_reason"] = json!("expired_or_canceled_card");
    let outcome = settle([list(&[refund])], &["look"]).await.expect("an outcome");
    assert_eq!(outcome, failed("expired_or_canceled_card"));
}

#[tokio::test]
async fn refunds_that_are_not_ours_or_another_are_passed_over() {
    let others = [refund("succeeded"), referenced("re_2", "r2", "succeeded")];
    let script = [list(&others), ok(&ours("succeeded"))];
    let outcome = settle(script, &["look", "refund/r1"]).await.expect("an outcome");
    assert_eq!(outcome, refunded());
    let script = [list(&[referenced("re_2", "r1", "failed"), ours("succeeded")])];
    assert_eq!(settle(script, &["look"]).await.expect("an outcome"), refunded());
}

#[tokio::test]
async fn after_an_unknown_refund_one_look_can_settle_it() {
    for lost in [trouble(), Answer::reset(), Answer::silence(), Answer::json(409, &json!({}))] {
        let script = [none(), lost.clone(), list(&[ours("succeeded")])];
        let outcome = settle(script, &["look", "refund/r1", "look"]).await.expect("an outcome");
        assert_eq!(outcome, refunded());
        // Not there yet is not never: the request may still be on its way, so no other key is tried.
        for now in [none(), trouble()] {
            let script = [none(), lost.clone(), now];
            let result = settle(script, &["look", "refund/r1", "look"]).await;
            assert!(result.expect_err("no outcome").is_unknown());
        }
    }
}

#[tokio::test]
async fn no_refund_is_made_unseen() {
    for blind in [trouble(), Answer::reset(), Answer::json(404, &error("api_error", "x"))] {
        assert!(settle([blind], &["look"]).await.expect_err("no outcome").is_unknown());
    }
}

#[tokio::test]
async fn a_stored_failure_is_left_behind_only_when_no_refund_came_of_it() {
    let script = [none(), stored(), list(&[ours("succeeded")])];
    let outcome = settle(script, &["look", "refund/r1", "look"]).await.expect("an outcome");
    assert_eq!(outcome, refunded());
    let script = [none(), stored(), none(), stored(), none(), ok(&ours("succeeded"))];
    let calls = ["look", "refund/r1", "look", "refund/r1/1", "look", "refund/r1/2"];
    assert_eq!(settle(script, &calls).await.expect("an outcome"), refunded());
    let result = settle([none(), stored(), trouble()], &["look", "refund/r1", "look"]).await;
    assert_eq!(doubt(result), Doubt::Stored(500));
}

#[tokio::test]
async fn a_refund_gives_up_when_every_key_has_a_stored_failure() {
    let script = [(); 4].map(|()| [stored(), none()]);
    let script = [none()].into_iter().chain(script.into_iter().flatten());
    let keys = ["refund/r1", "refund/r1/1", "refund/r1/2", "refund/r1/3"];
    let mut calls = vec!["look"];
    calls.extend(keys.iter().flat_map(|key| [*key, "look"]));
    assert_eq!(doubt(settle(script, &calls).await), Doubt::Stored(500));
}

#[tokio::test]
async fn a_refusal_is_an_outcome_once_no_refund_is_seen() {
    let calls = ["look", "refund/r1", "look"];
    let outcome = settle([none(), too_much(), none()], &calls).await.expect("an outcome");
    assert_eq!(outcome, RefundOutcome::Refused { code: "amount_too_large".to_owned() });
    // Refused because it was made meanwhile, by somebody else or by an earlier request.
    let script = [none(), too_much(), list(&[ours("succeeded")])];
    assert_eq!(settle(script, &calls).await.expect("an outcome"), refunded());
    let blind = settle([none(), too_much(), trouble()], &calls).await;
    assert_eq!(doubt(blind), Doubt::Status(500));
}

#[tokio::test]
async fn a_repeated_answer_is_replaced_by_the_refund_as_it_is_now() {
    let repeated = || Answer::replay(200, &ours("pending"));
    let calls = ["look", "refund/r1", "look"];
    let script = [none(), repeated(), list(&[ours("failed")])];
    assert_eq!(settle(script, &calls).await.expect("an outcome"), failed("unknown"));
    let result = settle([none(), repeated(), none()], &calls).await;
    assert_eq!(doubt(result), Doubt::Mismatch("refund"));
    let result = settle([none(), repeated(), trouble()], &calls).await;
    assert_eq!(doubt(result), Doubt::Status(500));
}

#[tokio::test]
async fn one_reference_is_one_amount() {
    let mut other = ours("succeeded");
    other["amount"] = json!(500);
    let result = settle([list(&[other])], &["look"]).await;
    assert_eq!(doubt(result), Doubt::Mismatch("amount"));
}

#[tokio::test]
async fn an_impossible_refund_is_refused_unasked() {
    let provider = Provider::start([]).await;
    let stripe = client(&provider);
    let usd = domain::Money::new(1, "USD".parse().expect("a currency")).expect("an amount");
    let long = "x".repeat(payments::REFERENCE_CHARS_MAX + 1);
    for (amount, reference, expected) in [
        (usd, "r1", "currency_unsupported"),
        (eur(0), "r1", "amount_too_small"),
        (eur(1), "", "reference_unsupported"),
        (eur(1), "r 1", "reference_unsupported"),
        (eur(1), "rü", "reference_unsupported"),
        (eur(1), &*long, "reference_unsupported"),
    ] {
        match stripe.settle_refund(&id(), &charge(), amount, reference).await {
            Err(Error::Refused { code, .. }) => assert_eq!(code, expected),
            other => panic!("{reference}: {other:?}"),
        }
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn the_refunds_of_an_intent_are_read_page_by_page() {
    let pages = [
        listed(&[referenced("re_3", "r3", "pending"), refund("failed")], true),
        listed(&[referenced("re_2", "r2", "succeeded")], false),
    ];
    let provider = Provider::start(pages.iter().map(ok)).await;
    let refunds = client(&provider).refunds(&id()).await.expect("refunds");
    let seen: Vec<_> = refunds
        .iter()
        .map(|refund| (refund.id.as_str(), refund.reference.as_deref(), refund.status))
        .collect();
    let expected = [
        ("re_3", Some("r3"), RefundStatus::Pending),
        ("re_1", None, RefundStatus::Failed),
        ("re_2", Some("r2"), RefundStatus::Succeeded),
    ];
    assert_eq!(seen, expected);
    let lines: Vec<_> = provider.requests().iter().map(|request| request.line.clone()).collect();
    let first = format!("GET /v1/refunds?payment_intent={INTENT}&limit=100");
    assert_eq!(lines, [first.clone(), format!("{first}&starting_after=re_1")]);
}

#[tokio::test]
async fn a_list_that_is_endless_or_of_something_else_is_unknown() {
    let page = ok(&listed(&[refund("succeeded")], true));
    let provider = Provider::start((0..REFUND_PAGES_MAX).map(|_| page.clone())).await;
    assert_eq!(doubt(client(&provider).refunds(&id()).await), Doubt::TooLarge);
    assert_eq!(provider.requests().len(), REFUND_PAGES_MAX);
    let mut stranger = refund("succeeded");
    stranger["payment_intent"] = json!("pi_other");
    let provider = Provider::start([list(&[stranger])]).await;
    assert_eq!(doubt(client(&provider).refunds(&id()).await), Doubt::Mismatch("intent"));
    for body in [listed(&[], true), listed(&[json!({"id": "re_1"})], false), json!([])] {
        let provider = Provider::start([ok(&body)]).await;
        let result = client(&provider).refunds(&id()).await;
        assert!(matches!(doubt(result), Doubt::Unreadable(_)), "{body}");
    }
}

#[tokio::test]
async fn a_retrieved_refund_must_be_the_one_asked_for() {
    let script = [ok(&ours("pending")), ok(&referenced("re_2", "r1", "pending"))];
    let provider = Provider::start(script).await;
    let stripe = client(&provider);
    let refund = stripe.retrieve_refund(&re_1()).await.expect("a refund");
    assert_eq!((refund.intent, refund.amount), (id(), eur(1999)));
    assert_eq!(refund.reference.as_deref(), Some("r1"));
    assert_eq!(doubt(stripe.retrieve_refund(&re_1()).await), Doubt::Mismatch("id"));
    assert!(provider.requests().iter().all(|request| request.line == "GET /v1/refunds/re_1"));
}
