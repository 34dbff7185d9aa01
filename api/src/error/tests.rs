//! The table, row by row, in both protocols.

use axum::response::IntoResponse;
use http::header;

use super::*;

fn line(sku: &str) -> domain::ShortLine {
    domain::ShortLine { sku: sku.parse().expect("a SKU"), wanted: 2, available: 1 }
}

fn euro() -> domain::Money {
    domain::Money::new(100, "EUR".parse().expect("a currency")).expect("an amount")
}

fn refund(problem: RefundProblem) -> Error {
    Error::Refund { order_id: OrderId::from(uuid::Uuid::nil()), problem }
}

fn every_error() -> Vec<(Error, &'static str, u16, Code)> {
    let id = CheckoutId::from(uuid::Uuid::nil());
    let unsold = |problem| Error::unsold(problem);
    let source = || anyhow::anyhow!("a secret of ours");
    vec![
        (Error::Malformed("x".into()), "malformed", 400, Code::InvalidArgument),
        (Error::Invalid(vec![]), "validation_failed", 422, Code::InvalidArgument),
        (Error::Unauthenticated, "unauthenticated", 401, Code::Unauthenticated),
        (Error::NotFound, "not_found", 404, Code::NotFound),
        (Error::MethodNotAllowed, "method_not_allowed", 405, Code::Unimplemented),
        (Error::PayloadTooLarge, "payload_too_large", 413, Code::ResourceExhausted),
        (Error::UnsupportedMediaType, "unsupported_media_type", 415, Code::InvalidArgument),
        (Error::InvalidSignature("x".into()), "invalid_signature", 400, Code::InvalidArgument),
        (Error::IdempotencyKeyMissing, "idempotency_key_missing", 400, Code::InvalidArgument),
        (Error::IdempotencyKeyReused, "idempotency_key_reused", 422, Code::AlreadyExists),
        (Error::CartVersionConflict { version: 3 }, "cart_version_conflict", 412, Code::Aborted),
        (unsold(domain::Problem::CartEmpty), "cart_empty", 422, Code::FailedPrecondition),
        (
            unsold(domain::Problem::CartLocked { checkout_id: id }),
            "cart_locked",
            409,
            Code::FailedPrecondition,
        ),
        (
            unsold(domain::Problem::OutOfStock { lines: vec![line("A")] }),
            "out_of_stock",
            409,
            Code::FailedPrecondition,
        ),
        (
            unsold(domain::Problem::PaymentDeclined { decline_code: "x".into() }),
            "payment_declined",
            402,
            Code::FailedPrecondition,
        ),
        (unsold(domain::Problem::HoldExpired), "hold_expired", 409, Code::FailedPrecondition),
        (unsold(domain::Problem::Cancelled), "cancelled", 409, Code::Aborted),
        (
            unsold(domain::Problem::Internal { detail: "a secret of ours".into() }),
            "internal",
            500,
            Code::Internal,
        ),
        (
            Error::InvalidState { state: CheckoutState::Capturing, checkout_id: id },
            "invalid_state",
            409,
            Code::FailedPrecondition,
        ),
        (
            refund(RefundProblem::InvalidState { state: OrderState::Shipped }),
            "invalid_state",
            409,
            Code::FailedPrecondition,
        ),
        (
            Error::Shipping(Unshipped::State { state: domain::OrderState::Pending }),
            "invalid_state",
            409,
            Code::FailedPrecondition,
        ),
        (
            refund(RefundProblem::ExceedsCaptured { left: euro() }),
            "refund_exceeds_captured",
            422,
            Code::FailedPrecondition,
        ),
        (
            refund(RefundProblem::ReferenceReused { amount: euro() }),
            "reference_reused",
            409,
            Code::AlreadyExists,
        ),
        (Error::RestockExceedsSold(vec![]), "restock_exceeds_sold", 422, Code::FailedPrecondition),
        (Error::RestockReferenceReused, "reference_reused", 409, Code::AlreadyExists),
        (
            Error::Shipping(Unshipped::NotLeft { lines: vec![line("A")] }),
            "not_left_to_ship",
            409,
            Code::FailedPrecondition,
        ),
        (
            Error::Shipping(Unshipped::TrackingNumberReused),
            "tracking_number_reused",
            409,
            Code::AlreadyExists,
        ),
        (Error::Shipping(Unshipped::EventIdReused), "event_id_reused", 409, Code::AlreadyExists),
        (Error::Shipping(Unshipped::TooMany), "too_many_shipments", 409, Code::FailedPrecondition),
        (Error::Unavailable(source()), "unavailable", 503, Code::Unavailable),
        (Error::Overloaded, "unavailable", 503, Code::Unavailable),
        (Error::Throttled { retry_after_s: 7 }, "throttled", 429, Code::ResourceExhausted),
        (Error::Internal(source()), "internal", 500, Code::Internal),
    ]
}

#[test]
fn every_error_has_its_code_and_status_and_tells_nothing_of_the_inside() {
    for (error, code, status, grpc) in every_error() {
        let problem = error.problem();
        assert_eq!((problem.code, problem.status), (code, status));
        assert_eq!(problem.kind, format!("urn:holdfast:problem:{code}"));
        let json = serde_json::to_string(&problem).expect("JSON");
        assert!(!json.contains("secret"), "{json}");
        let status = tonic::Status::from(error);
        assert_eq!(status.code(), grpc, "{code}");
        let text = String::from_utf8_lossy(status.details()).into_owned();
        assert!(text.contains(code) && !text.contains("secret"), "{text}");
    }
}

#[test]
fn a_problem_carries_what_its_code_promises() {
    let declined = Error::Checkout(Box::new(Unsold {
        problem: domain::Problem::PaymentDeclined { decline_code: "insufficient_funds".into() },
        checkout_id: Some(CheckoutId::from(uuid::Uuid::nil())),
        state: Some(CheckoutState::AwaitingPayment),
        attempts_left: Some(2),
    }));
    let json = serde_json::to_value(declined.problem()).expect("JSON");
    assert_eq!(json["decline_code"], "insufficient_funds");
    assert_eq!(json["attempts_left"], 2);
    assert_eq!(json["state"], "awaiting_payment");
    assert_eq!(json["checkout_id"], "chk_00000000000000000000000000");
    let short = Error::unsold(domain::Problem::OutOfStock { lines: vec![line("A"), line("B")] });
    let json = serde_json::to_value(short.problem()).expect("JSON");
    assert_eq!(json["lines"][1], serde_json::json!({"sku": "B", "wanted": 2, "available": 1}));
}

#[test]
fn a_refusal_that_will_pass_says_when_to_come_back() {
    let response = Error::Overloaded.into_response();
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
}

#[test]
fn the_largest_list_of_short_lines_still_fits_into_grpc_metadata() {
    let long = "X".repeat(32);
    let lines = vec![line(&long); 100];
    let status = tonic::Status::from(Error::unsold(domain::Problem::OutOfStock { lines }));
    assert!(status.details().len() < 4096, "{} bytes", status.details().len());
}
