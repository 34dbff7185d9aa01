//! The definite-outcome logic: which requests follow which answer, and what is concluded.

use domain::{Authorization, AuthorizeOutcome, CaptureOutcome, VoidOutcome};
use payments::{Doubt, Error, IntentStatus};
use serde_json::{Value, json};

use crate::{
    fixtures::{
        INTENT, PAYMENT, action_required, bent, charge, client, decline_with, declined, error, id,
        intent, known, refund,
    },
    provider::{Answer, Provider},
};

fn ok(body: &Value) -> Answer {
    Answer::json(200, body)
}

fn at(status: &str) -> Answer {
    ok(&intent(status))
}

fn trouble() -> Answer {
    Answer::json(500, &json!({"error": {"type": "api_error"}}))
}

fn unexpected_state() -> Answer {
    Answer::json(400, &error("invalid_request_error", "payment_intent_unexpected_state"))
}

fn approved() -> AuthorizeOutcome {
    AuthorizeOutcome::Approved(Authorization { attempt: 1, provider_ref: INTENT.to_owned() })
}

fn decline() -> AuthorizeOutcome {
    AuthorizeOutcome::Declined { decline_code: "insufficient_funds".to_owned() }
}

/// Runs the authorization of a fresh intent; `calls` are the expected requests, `look` for a look-up.
async fn authorize(
    script: impl IntoIterator<Item = Answer>,
    retry: u32,
    calls: &[&str],
) -> Result<AuthorizeOutcome, Error> {
    let provider = Provider::start(script).await;
    let intent = known(IntentStatus::RequiresConfirmation);
    let result = client(&provider).settle_authorization(intent, retry).await;
    assert_calls(&provider, calls);
    result
}

async fn capture(
    script: impl IntoIterator<Item = Answer>,
    retry: u32,
    calls: &[&str],
) -> Result<CaptureOutcome, Error> {
    let provider = Provider::start(script).await;
    let result = client(&provider).settle_capture(&id(), &charge(), retry).await;
    assert_calls(&provider, calls);
    result
}

async fn void(
    status: IntentStatus,
    script: impl IntoIterator<Item = Answer>,
    retry: u32,
    calls: &[&str],
) -> Result<VoidOutcome, Error> {
    let provider = Provider::start(script).await;
    let result = client(&provider).settle_void(&known(status), retry).await;
    assert_calls(&provider, calls);
    result
}

#[track_caller]
fn assert_calls(provider: &Provider, calls: &[&str]) {
    let prefix = format!("{PAYMENT}/1/");
    let seen: Vec<String> = provider
        .requests()
        .iter()
        .map(|request| match request.header("idempotency-key") {
            Some(key) => key.strip_prefix(&prefix).expect("our own key").to_owned(),
            None => "look".to_owned(),
        })
        .collect();
    assert_eq!(seen, calls);
}

#[track_caller]
fn doubt<T: std::fmt::Debug>(result: Result<T, Error>) -> Doubt {
    match result {
        Err(Error::Unknown { doubt, .. }) => doubt,
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn a_fresh_intent_is_confirmed_and_its_answer_is_the_outcome() {
    let closed = AuthorizeOutcome::Closed;
    let url = "https://bank.example/3ds".to_owned();
    for (answer, expected) in [
        (at("requires_capture"), approved()),
        (at("succeeded"), approved()),
        (at("canceled"), closed),
        (Answer::json(402, &decline_with(&declined())), decline()),
        (ok(&action_required(&url)), AuthorizeOutcome::ActionRequired { url }),
    ] {
        let outcome = authorize([answer], 0, &["confirm"]).await.expect("an outcome");
        assert_eq!(outcome, expected);
    }
}

#[tokio::test]
async fn an_intent_at_rest_is_an_outcome_without_asking() {
    let decline_code = Some("insufficient_funds".to_owned());
    let provider = Provider::start([]).await;
    for (status, expected) in [
        (IntentStatus::RequiresCapture, approved()),
        (IntentStatus::Succeeded, approved()),
        (IntentStatus::RequiresPaymentMethod { decline_code }, decline()),
        (IntentStatus::Canceled, AuthorizeOutcome::Closed),
    ] {
        let outcome = client(&provider).settle_authorization(known(status), 0).await;
        assert_eq!(outcome.expect("an outcome"), expected);
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn after_an_unknown_confirmation_one_look_can_settle_it() {
    for lost in [trouble(), Answer::reset(), Answer::silence(), Answer::json(409, &json!({}))] {
        for (now, expected) in [
            (at("requires_capture"), approved()),
            (ok(&declined()), decline()),
            (at("canceled"), AuthorizeOutcome::Closed),
        ] {
            let outcome = authorize([lost.clone(), now], 0, &["confirm", "look"]).await;
            assert_eq!(outcome.expect("an outcome"), expected);
        }
    }
}

#[tokio::test]
async fn an_unknown_confirmation_stays_unknown_while_the_intent_is_untouched_or_unseen() {
    for now in [at("requires_confirmation"), Answer::reset(), Answer::json(404, &not_found())] {
        let result = authorize([trouble(), now], 0, &["confirm", "look"]).await;
        assert_eq!(doubt(result), Doubt::Status(500));
    }
    let result = authorize([trouble(), at("processing")], 0, &["confirm", "look"]).await;
    assert_eq!(doubt(result), Doubt::Unsettled("processing"));
}

fn not_found() -> Value {
    error("invalid_request_error", "resource_missing")
}

#[tokio::test]
async fn a_retry_looks_first_and_leaves_a_stored_failure_behind_with_a_new_key() {
    let script = [at("requires_confirmation"), at("requires_capture")];
    let outcome = authorize(script, 2, &["look", "confirm/2"]).await.expect("an outcome");
    assert_eq!(outcome, approved());
    let outcome = authorize([at("requires_capture")], 2, &["look"]).await.expect("an outcome");
    assert_eq!(outcome, approved());
    assert_eq!(doubt(authorize([trouble()], 1, &["look"]).await), Doubt::Status(500));
}

#[tokio::test]
async fn a_refused_confirmation_is_explained_by_the_intent() {
    for (now, expected) in [
        (at("requires_capture"), approved()),
        (at("canceled"), AuthorizeOutcome::Closed),
        (ok(&declined()), decline()),
    ] {
        let outcome = authorize([unexpected_state(), now], 0, &["confirm", "look"]).await;
        assert_eq!(outcome.expect("an outcome"), expected);
    }
    let script = [unexpected_state(), at("requires_confirmation")];
    let refused = authorize(script, 0, &["confirm", "look"]).await.expect_err("refused");
    assert!(!refused.is_unknown());
    let blind = authorize([unexpected_state(), trouble()], 0, &["confirm", "look"]).await;
    assert_eq!(doubt(blind), Doubt::Status(500));
}

#[tokio::test]
async fn an_intent_of_other_money_is_never_approved() {
    let dearer = bent("requires_capture", "/amount", json!(2999));
    let result = authorize([trouble(), ok(&dearer)], 0, &["confirm", "look"]).await;
    assert_eq!(doubt(result), Doubt::Status(500));
    let result = authorize([ok(&dearer)], 1, &["look"]).await;
    assert_eq!(doubt(result), Doubt::Mismatch("amount"));
}

#[tokio::test]
async fn an_action_without_a_page_is_no_outcome() {
    let script = [ok(&bent("requires_action", "/next_action", json!({"type": "use_stripe_sdk"})))];
    let result = authorize(script, 0, &["confirm"]).await;
    assert_eq!(doubt(result), Doubt::Unsettled("requires_action"));
}

#[tokio::test]
async fn a_capture_is_captured_when_the_provider_has_the_whole_amount() {
    let captured = capture([at("succeeded")], 0, &["capture"]).await.expect("an outcome");
    assert_eq!(captured, CaptureOutcome::Captured);
    let part = ok(&bent("succeeded", "/amount_received", json!(1000)));
    assert_eq!(doubt(capture([part], 0, &["capture"]).await), Doubt::Mismatch("captured amount"));
}

#[tokio::test]
async fn after_an_unknown_or_refused_capture_one_look_can_settle_it() {
    let canceled = CaptureOutcome::Refused { code: "canceled".to_owned() };
    for lost in [trouble(), Answer::reset(), Answer::silence(), unexpected_state()] {
        for (now, expected) in
            [(at("succeeded"), CaptureOutcome::Captured), (at("canceled"), canceled.clone())]
        {
            let outcome = capture([lost.clone(), now], 0, &["capture", "look"]).await;
            assert_eq!(outcome.expect("an outcome"), expected);
        }
    }
}

#[tokio::test]
async fn a_capture_stays_unknown_while_the_money_is_still_set_aside() {
    for lost in [trouble(), Answer::silence(), unexpected_state(), Answer::json(401, &not_found())]
    {
        let result = capture([lost, at("requires_capture")], 0, &["capture", "look"]).await;
        assert!(result.expect_err("no outcome").is_unknown());
    }
    let blind = capture([unexpected_state(), trouble()], 0, &["capture", "look"]).await;
    assert_eq!(doubt(blind), Doubt::Status(500));
}

#[tokio::test]
async fn a_capture_that_the_card_or_time_forbids_is_refused() {
    for (status, kind, code) in [
        (402, "card_error", "card_declined"),
        (400, "invalid_request_error", "charge_expired_for_capture"),
    ] {
        let no = Answer::json(status, &error(kind, code));
        let script = [no, at("requires_capture")];
        let outcome = capture(script, 0, &["capture", "look"]).await.expect("an outcome");
        assert_eq!(outcome, CaptureOutcome::Refused { code: code.to_owned() });
    }
}

#[tokio::test]
async fn a_retried_capture_looks_first() {
    let outcome = capture([at("succeeded")], 1, &["look"]).await.expect("an outcome");
    assert_eq!(outcome, CaptureOutcome::Captured);
    let script = [at("requires_capture"), at("succeeded")];
    let outcome = capture(script, 3, &["look", "capture/3"]).await.expect("an outcome");
    assert_eq!(outcome, CaptureOutcome::Captured);
}

#[tokio::test]
async fn a_void_cancels_what_is_not_captured() {
    for status in [
        IntentStatus::RequiresConfirmation,
        IntentStatus::RequiresCapture,
        IntentStatus::RequiresAction { url: None },
        IntentStatus::Processing,
        IntentStatus::RequiresPaymentMethod { decline_code: None },
    ] {
        let outcome = void(status, [at("canceled")], 0, &["cancel"]).await.expect("an outcome");
        assert_eq!(outcome, VoidOutcome::Voided);
    }
    let outcome = void(IntentStatus::Canceled, [], 0, &[]).await.expect("an outcome");
    assert_eq!(outcome, VoidOutcome::Voided);
}

#[tokio::test]
async fn after_an_unknown_or_refused_cancel_one_look_can_settle_it() {
    let held = IntentStatus::RequiresCapture;
    for lost in [trouble(), Answer::silence(), unexpected_state()] {
        let script = [lost.clone(), at("canceled")];
        let outcome = void(held.clone(), script, 0, &["cancel", "look"]).await;
        assert_eq!(outcome.expect("an outcome"), VoidOutcome::Voided);
        let script = [lost.clone(), at("succeeded"), ok(&refund("succeeded"))];
        let outcome = void(held.clone(), script, 0, &["cancel", "look", "undo"]).await;
        assert_eq!(outcome.expect("an outcome"), VoidOutcome::Refunded);
        for now in [at("requires_capture"), at("processing"), at("requires_action"), trouble()] {
            let result = void(held.clone(), [lost.clone(), now], 0, &["cancel", "look"]).await;
            assert!(result.expect_err("no outcome").is_unknown());
        }
    }
}

#[tokio::test]
async fn a_void_pays_back_what_was_captured_once_and_in_full() {
    for answer in [
        ok(&refund("succeeded")),
        ok(&refund("pending")),
        Answer::json(400, &error("invalid_request_error", "charge_already_refunded")),
    ] {
        let outcome = void(IntentStatus::Succeeded, [answer], 0, &["undo"]).await;
        assert_eq!(outcome.expect("an outcome"), VoidOutcome::Refunded);
    }
    for answer in [ok(&refund("failed")), trouble(), Answer::reset(), unexpected_state()] {
        let result = void(IntentStatus::Succeeded, [answer], 0, &["undo"]).await;
        assert!(result.expect_err("no outcome").is_unknown());
    }
}

#[tokio::test]
async fn a_retried_void_looks_first() {
    let held = IntentStatus::RequiresCapture;
    let outcome = void(held.clone(), [at("canceled")], 1, &["look"]).await.expect("an outcome");
    assert_eq!(outcome, VoidOutcome::Voided);
    let script = [at("requires_capture"), at("canceled")];
    let outcome = void(held.clone(), script, 1, &["look", "cancel/1"]).await.expect("an outcome");
    assert_eq!(outcome, VoidOutcome::Voided);
    let script = [at("succeeded"), ok(&refund("succeeded"))];
    let outcome = void(held, script, 1, &["look", "undo/1"]).await.expect("an outcome");
    assert_eq!(outcome, VoidOutcome::Refunded);
}
