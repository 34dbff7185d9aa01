//! The state machine without a database: every transition and every refusal.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::*;
use crate::refund::RefundStatus;

fn at() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn intent(status: Status) -> Intent {
    let authorized = matches!(status, Status::RequiresCapture | Status::Succeeded);
    let captured = status == Status::Succeeded;
    Intent {
        id: "pi_1".to_owned(),
        amount: 1000,
        currency: "eur".to_owned(),
        capture_method: CaptureMethod::Manual,
        status,
        payment_method: None,
        amount_authorized: if authorized { 1000 } else { 0 },
        amount_captured: if captured { 1000 } else { 0 },
        amount_refunded: 0,
        charge: authorized.then(|| "ch_1".to_owned()),
        cancellation_reason: None,
        canceled_at: (status == Status::Canceled).then(at),
        return_url: None,
        last_payment_error: None,
        metadata: BTreeMap::new(),
        created_at: at(),
        version: 1,
    }
}

fn card(name: &str) -> Card {
    Card::find(name).expect("a known test card")
}

#[track_caller]
fn done(outcome: Outcome) -> Change {
    match outcome {
        Outcome::Done(change) => change,
        Outcome::Declined(_, error) | Outcome::Refused(_, error) => panic!("not done: {error}"),
    }
}

#[track_caller]
fn refused(outcome: Outcome) -> ApiError {
    match outcome {
        Outcome::Refused(_, error) => error,
        Outcome::Done(change) | Outcome::Declined(change, _) => panic!("changed: {change:?}"),
    }
}

#[test]
fn a_good_card_is_authorized_and_waits_for_its_capture() {
    let change =
        done(intent(Status::RequiresPaymentMethod).confirm(Some(card("pm_card_visa")), None, None));
    assert_eq!(change.intent.status, Status::RequiresCapture);
    assert_eq!(change.entries, [(EntryKind::Authorized, 1000)]);
}

#[test]
fn automatic_capture_takes_the_money_with_the_confirmation() {
    let mut automatic = intent(Status::RequiresConfirmation);
    automatic.capture_method = CaptureMethod::Automatic;
    automatic.payment_method = Some("pm_card_visa".to_owned());
    let change = done(automatic.confirm(None, None, None));
    assert_eq!(change.intent.status, Status::Succeeded);
    assert_eq!(change.entries, [(EntryKind::Authorized, 1000), (EntryKind::Captured, 1000)]);
}

#[test]
fn a_declined_card_returns_the_intent_to_its_start_with_the_reason() {
    let declined = Some(card("pm_card_chargeDeclinedExpiredCard"));
    let outcome = intent(Status::RequiresPaymentMethod).confirm(declined, None, None);
    let Outcome::Declined(change, error) = outcome else {
        panic!("an expired card was accepted");
    };
    assert_eq!((error.status, error.code), (402, Some("expired_card")));
    assert_eq!(change.intent.status, Status::RequiresPaymentMethod);
    assert_eq!(change.intent.payment_method, None);
    let last = change.intent.last_payment_error.expect("the reason is kept");
    assert_eq!(last["code"], "expired_card");
    assert_eq!(change.entries, [(EntryKind::Declined, 1000)]);
}

#[test]
fn three_d_secure_is_passed_or_failed_once() {
    let confirmed = intent(Status::RequiresPaymentMethod).confirm(
        Some(card("pm_card_authenticationRequired")),
        Some("https://shop.example/back"),
        None,
    );
    let waiting = done(confirmed).intent;
    assert_eq!(waiting.status, Status::RequiresAction);
    let passed = done(waiting.clone().authenticate(true).expect("it waits"));
    assert_eq!(passed.intent.status, Status::RequiresCapture);
    assert!(passed.intent.clone().authenticate(true).is_none());
    let Some(Outcome::Declined(failed, error)) = waiting.authenticate(false) else {
        panic!("failed authentication was accepted");
    };
    assert_eq!(error.code, Some("payment_intent_authentication_failure"));
    assert_eq!(failed.intent.status, Status::RequiresPaymentMethod);
}

#[test]
fn confirming_without_a_method_is_refused() {
    let error = refused(intent(Status::RequiresPaymentMethod).confirm(None, None, None));
    assert_eq!(error.code, Some("payment_intent_unexpected_state"));
}

#[test]
fn each_operation_is_refused_outside_its_states() {
    for &status in Status::ALL {
        let confirmable = CONFIRMABLE.contains(&status);
        let confirmed = intent(status).confirm(Some(card("pm_card_visa")), None, None);
        assert_eq!(matches!(confirmed, Outcome::Done(_)), confirmable, "confirm {status:?}");

        let captured = intent(status).capture(None);
        let capturable = status == Status::RequiresCapture;
        assert_eq!(matches!(captured, Outcome::Done(_)), capturable, "capture {status:?}");

        let canceled = intent(status).cancel(None, at());
        let cancelable = CANCELABLE.contains(&status);
        assert_eq!(matches!(canceled, Outcome::Done(_)), cancelable, "cancel {status:?}");

        let refunded = intent(status).refund(None, None, &BTreeMap::new(), at());
        let refundable = status == Status::Succeeded;
        assert_eq!(matches!(refunded, Outcome::Done(_)), refundable, "refund {status:?}");
    }
}

#[test]
fn a_capture_may_be_smaller_but_never_larger_than_the_authorization() {
    let part = done(intent(Status::RequiresCapture).capture(Some(400)));
    assert_eq!(part.intent.amount_captured, 400);
    assert_eq!(part.entries, [(EntryKind::Captured, 400)]);
    let error = refused(intent(Status::RequiresCapture).capture(Some(1001)));
    assert_eq!(error.code, Some("amount_too_large"));
}

#[test]
fn canceling_voids_only_what_was_authorized() {
    let held = done(intent(Status::RequiresCapture).cancel(Some("abandoned"), at()));
    assert_eq!(held.entries, [(EntryKind::Voided, 1000)]);
    assert_eq!(held.intent.cancellation_reason.as_deref(), Some("abandoned"));
    assert!(done(intent(Status::RequiresAction).cancel(None, at())).entries.is_empty());
}

#[test]
fn only_an_authorization_lapses_and_nobody_asked_for_it() {
    let lapsed = done(intent(Status::RequiresCapture).lapse(at()));
    assert_eq!(lapsed.intent.status, Status::Canceled);
    assert_eq!(lapsed.intent.cancellation_reason.as_deref(), Some("automatic"));
    assert_eq!(lapsed.entries, [(EntryKind::Voided, 1000)]);
    for status in [Status::RequiresAction, Status::Succeeded, Status::Canceled] {
        let error = refused(intent(status).lapse(at()));
        assert_eq!(error.code, Some("payment_intent_unexpected_state"));
    }
}

#[test]
fn refunds_add_up_to_the_capture_and_stop_there() {
    let first = done(intent(Status::Succeeded).refund(Some(600), None, &BTreeMap::new(), at()));
    let error = refused(first.intent.clone().refund(Some(401), None, &BTreeMap::new(), at()));
    assert_eq!(error.code, Some("amount_too_large"));
    let rest = done(first.intent.refund(None, None, &BTreeMap::new(), at()));
    assert_eq!(rest.entries, [(EntryKind::Refunded, 400)]);
    let error = refused(rest.intent.refund(None, None, &BTreeMap::new(), at()));
    assert_eq!(error.code, Some("charge_already_refunded"));
}

#[test]
fn a_refund_that_fails_gives_its_money_back_to_the_intent() {
    let mut paid = intent(Status::Succeeded);
    paid.payment_method = Some("pm_card_refundFail".to_owned());
    let first = done(paid.refund(Some(600), None, &BTreeMap::new(), at()));
    let refund = first.refund.expect("a refund is made");
    let last = (refund.status, refund.settles_to);
    assert_eq!(last, (RefundStatus::Succeeded, Some(RefundStatus::Failed)));
    let failed = done(first.intent.settle(refund, RefundStatus::Failed));
    assert_eq!(failed.intent.amount_refunded, 0);
    assert_eq!(failed.entries, [(EntryKind::RefundFailed, 600)]);
    let refund = failed.refund.expect("the refund has changed");
    assert!(refund.failure_reason.is_some() && refund.settles_to.is_none());
    refused(failed.intent.settle(refund, RefundStatus::Failed));
}

#[test]
fn a_pending_refund_is_counted_and_its_success_moves_nothing_more() {
    let mut paid = intent(Status::Succeeded);
    paid.payment_method = Some("pm_card_pendingRefund".to_owned());
    let first = done(paid.refund(None, None, &BTreeMap::new(), at()));
    assert_eq!(first.intent.amount_refunded, 1000);
    let refund = first.refund.expect("a refund is made");
    assert_eq!(refund.status, RefundStatus::Pending);
    let settled = done(first.intent.settle(refund, RefundStatus::Succeeded));
    assert_eq!(settled.intent.amount_refunded, 1000);
    assert!(settled.entries.is_empty());
    let refund = settled.refund.expect("the refund has changed");
    refused(settled.intent.settle(refund, RefundStatus::Pending));
}

#[test]
fn a_refused_capture_leaves_the_authorization_void() {
    let Outcome::Declined(change, error) = intent(Status::RequiresCapture).refuse_capture(at())
    else {
        panic!("the refusal changed nothing");
    };
    assert_eq!(error.code, Some("charge_expired_for_capture"));
    assert_eq!(change.intent.status, Status::Canceled);
    assert_eq!(change.entries, [(EntryKind::Voided, 1000)]);
}
