//! What can go wrong at the edge, and the one table that gives each error its code, its HTTP status
//! and its gRPC status. Nothing else in this crate chooses a status of an error; `wire` only writes
//! them down.

mod shipping;
mod wire;

use domain::{CheckoutId, CheckoutState, OrderId, OrderState, RefundProblem};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use store::restock::ExcessLine;
use tonic::Code;

pub(crate) use self::{
    shipping::Unshipped,
    wire::{Problem, text_members},
};

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub(crate) enum Error {
    Malformed(String),
    Invalid(Vec<FieldError>),
    Unauthenticated,
    /// The token is good, but not for this.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    PayloadTooLarge,
    UnsupportedMediaType,
    /// Whoever sent it did not show that they may.
    InvalidSignature(String),
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    CartVersionConflict {
        version: i64,
    },
    /// A checkout that cannot start, or did not sell.
    Checkout(Box<Unsold>),
    /// What was asked for is not to be had in the state the checkout is in.
    InvalidState {
        state: CheckoutState,
        checkout_id: CheckoutId,
    },
    /// More stock is to go out than is there to be had.
    InsufficientStock {
        available: i64,
        reserved: i64,
    },
    /// Another receipt has this reference.
    ReferenceReused {
        quantity: i64,
    },
    /// Money of an order that cannot be given back, or the order is in no state for what was asked.
    Refund {
        order_id: OrderId,
        problem: RefundProblem,
    },
    /// More is to be put on the shelf again than was sold.
    RestockExceedsSold(Vec<ExcessLine>),
    /// Another restock of the order has this reference.
    RestockReferenceReused,
    /// A parcel that cannot be sent or followed as asked.
    Shipping(Unshipped),
    /// Trouble that may pass; the source is logged, never shown.
    Unavailable(anyhow::Error),
    /// Too much is going on already.
    Overloaded,
    /// Others come first for what was asked for.
    Throttled {
        retry_after_s: u32,
    },
    /// A bug; the source is logged, never shown.
    Internal(anyhow::Error),
}

/// Why a checkout did not sell, or has not yet.
#[derive(Debug)]
pub(crate) struct Unsold {
    pub(crate) problem: domain::Problem,
    pub(crate) checkout_id: Option<CheckoutId>,
    pub(crate) state: Option<CheckoutState>,
    pub(crate) attempts_left: Option<u32>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct FieldError {
    /// Where in the body, as a JSON Pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// Which parameter of the path or query, if it is one of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<&'static str>,
    /// A stable code.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) detail: String,
}

impl FieldError {
    pub(crate) fn at(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, code, detail: detail.into() }
    }

    pub(crate) fn parameter(
        name: &'static str,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { pointer: None, parameter: Some(name), code, detail: detail.into() }
    }
}

/// One row of the table.
#[derive(Clone, Copy)]
struct Entry {
    code: &'static str,
    title: &'static str,
    status: StatusCode,
    grpc: Code,
}

const fn entry(code: &'static str, title: &'static str, status: StatusCode, grpc: Code) -> Entry {
    Entry { code, title, status, grpc }
}

const INVALID_SIGNATURE: Entry = entry(
    "invalid_signature",
    "A valid signature is needed",
    StatusCode::BAD_REQUEST,
    Code::InvalidArgument,
);
const THROTTLED: Entry =
    entry("throttled", "Others come first", StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted);
const RESTOCK_EXCEEDS_SOLD: Entry = entry(
    "restock_exceeds_sold",
    "There were not so many sold",
    StatusCode::UNPROCESSABLE_ENTITY,
    Code::FailedPrecondition,
);
const RESTOCK_REFERENCE_REUSED: Entry = entry(
    "reference_reused",
    "The reference belongs to another restock",
    StatusCode::CONFLICT,
    Code::AlreadyExists,
);

fn unsold_entry(problem: &domain::Problem) -> Entry {
    use domain::Problem as P;
    let (title, status) = match problem {
        P::CartEmpty => ("There is nothing in the cart", StatusCode::UNPROCESSABLE_ENTITY),
        P::CartLocked { .. } => ("The cart is being bought", StatusCode::CONFLICT),
        P::QuoteChanged { .. } => ("The cart costs something else now", StatusCode::CONFLICT),
        P::CartInvalid { .. } => {
            ("Some of the cart cannot be sold", StatusCode::UNPROCESSABLE_ENTITY)
        }
        P::OutOfStock { .. } => ("There is not enough in stock", StatusCode::CONFLICT),
        P::PaymentDeclined { .. } => ("The payment was declined", StatusCode::PAYMENT_REQUIRED),
        P::HoldExpired => ("The hold on the stock ran out", StatusCode::CONFLICT),
        P::Cancelled => ("The checkout was cancelled", StatusCode::CONFLICT),
        P::Internal { .. } => ("Something of ours broke", StatusCode::INTERNAL_SERVER_ERROR),
    };
    let grpc = match problem {
        P::Internal { .. } => Code::Internal,
        P::Cancelled => Code::Aborted,
        _ => Code::FailedPrecondition,
    };
    entry(problem.code(), title, status, grpc)
}

fn refund_entry(problem: &RefundProblem) -> Entry {
    let (title, status, grpc) = match problem {
        RefundProblem::InvalidState { .. } => {
            ("That cannot be done in this state", StatusCode::CONFLICT, Code::FailedPrecondition)
        }
        RefundProblem::ExceedsCaptured { .. } => (
            "There is not so much to give back",
            StatusCode::UNPROCESSABLE_ENTITY,
            Code::FailedPrecondition,
        ),
        RefundProblem::ReferenceReused { .. } => {
            ("The reference belongs to another refund", StatusCode::CONFLICT, Code::AlreadyExists)
        }
    };
    entry(problem.code(), title, status, grpc)
}

impl Error {
    pub(crate) fn unsold(problem: domain::Problem) -> Self {
        Self::Checkout(Box::new(Unsold {
            problem,
            checkout_id: None,
            state: None,
            attempts_left: None,
        }))
    }

    pub(crate) fn unavailable(source: impl Into<anyhow::Error>) -> Self {
        Self::Unavailable(source.into())
    }

    fn entry(&self) -> Entry {
        use StatusCode as S;
        match self {
            Self::Malformed(_) => entry(
                "malformed",
                "The request cannot be read",
                S::BAD_REQUEST,
                Code::InvalidArgument,
            ),
            Self::Invalid(_) => entry(
                "validation_failed",
                "The request asks for the impossible",
                S::UNPROCESSABLE_ENTITY,
                Code::InvalidArgument,
            ),
            Self::Unauthenticated => entry(
                "unauthenticated",
                "A valid token is needed",
                S::UNAUTHORIZED,
                Code::Unauthenticated,
            ),
            Self::Forbidden => {
                entry("forbidden", "That is for others to do", S::FORBIDDEN, Code::PermissionDenied)
            }
            Self::NotFound => {
                entry("not_found", "There is no such thing", S::NOT_FOUND, Code::NotFound)
            }
            Self::MethodNotAllowed => entry(
                "method_not_allowed",
                "That cannot be done here",
                S::METHOD_NOT_ALLOWED,
                Code::Unimplemented,
            ),
            Self::PayloadTooLarge => entry(
                "payload_too_large",
                "The request is too large",
                S::PAYLOAD_TOO_LARGE,
                Code::ResourceExhausted,
            ),
            Self::UnsupportedMediaType => entry(
                "unsupported_media_type",
                "The body must be JSON",
                S::UNSUPPORTED_MEDIA_TYPE,
                Code::InvalidArgument,
            ),
            Self::InvalidSignature(_) => INVALID_SIGNATURE,
            Self::IdempotencyKeyMissing => entry(
                "idempotency_key_missing",
                "An idempotency key is needed",
                S::BAD_REQUEST,
                Code::InvalidArgument,
            ),
            Self::IdempotencyKeyReused => entry(
                "idempotency_key_reused",
                "The idempotency key belongs to another request",
                S::UNPROCESSABLE_ENTITY,
                Code::AlreadyExists,
            ),
            Self::CartVersionConflict { .. } => entry(
                "cart_version_conflict",
                "The cart has changed",
                S::PRECONDITION_FAILED,
                Code::Aborted,
            ),
            Self::Checkout(unsold) => unsold_entry(&unsold.problem),
            Self::InvalidState { .. } => entry(
                "invalid_state",
                "That cannot be done in this state",
                S::CONFLICT,
                Code::FailedPrecondition,
            ),
            Self::InsufficientStock { .. } => entry(
                "insufficient_stock",
                "There is not so much to take out",
                S::CONFLICT,
                Code::FailedPrecondition,
            ),
            Self::ReferenceReused { .. } => entry(
                "reference_reused",
                "The reference belongs to another receipt",
                S::CONFLICT,
                Code::AlreadyExists,
            ),
            Self::Refund { problem, .. } => refund_entry(problem),
            Self::RestockExceedsSold(_) => RESTOCK_EXCEEDS_SOLD,
            Self::RestockReferenceReused => RESTOCK_REFERENCE_REUSED,
            Self::Shipping(unshipped) => unshipped.entry(),
            Self::Unavailable(_) | Self::Overloaded => {
                entry("unavailable", "Not now", S::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
            Self::Throttled { .. } => THROTTLED,
            Self::Internal(_) => entry(
                "internal",
                "Something of ours broke",
                S::INTERNAL_SERVER_ERROR,
                Code::Internal,
            ),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Malformed(detail) | Self::InvalidSignature(detail) => detail.clone(),
            Self::Invalid(errors) => match errors.as_slice() {
                [one] => one.detail.clone(),
                many => format!("{} fields are not as they must be", many.len()),
            },
            Self::Unauthenticated => "send `Authorization: Bearer` with a token from POST /v1/sessions".into(),
            Self::Forbidden => "this takes an operator's token, such as from `api --operator-token NAME`".into(),
            Self::NotFound => "nothing of yours is found under that name".into(),
            Self::MethodNotAllowed => "the Allow header says which methods there are".into(),
            Self::PayloadTooLarge => format!("a body may have at most {} bytes", crate::BODY_BYTES_MAX),
            Self::UnsupportedMediaType => "send Content-Type: application/json".into(),
            Self::IdempotencyKeyMissing => "send Idempotency-Key: 1 to 255 printable ASCII characters, new for each checkout and the same when it is retried".into(),
            Self::IdempotencyKeyReused => "this key was sent before with another body; a new checkout needs a new key".into(),
            Self::CartVersionConflict { version } => format!("the cart is at version {version}"),
            Self::Checkout(unsold) => unsold_detail(&unsold.problem),
            Self::InvalidState { state, .. } => format!("the checkout is {}", state.as_str()),
            Self::InsufficientStock { available, reserved } => format!("{available} units can be taken out; {reserved} more are held for checkouts"),
            Self::ReferenceReused { quantity } => format!("{quantity} units of this SKU were booked under it; a new receipt needs a new reference"),
            Self::Refund { problem, .. } => refund_detail(problem),
            Self::RestockExceedsSold(lines) => format!("{} of its SKUs were sold, less what is restocked already, in smaller numbers", lines.len()),
            Self::RestockReferenceReused => "other lines of this order were restocked under it; a new restock needs a new reference".into(),
            Self::Shipping(unshipped) => unshipped.detail(),
            Self::Unavailable(_) => "something that is needed cannot be reached; nothing is lost, try again".into(),
            Self::Overloaded => "too many requests are in progress; try again".into(),
            Self::Throttled { retry_after_s } => format!("others before you may take what is left, or it cannot be decided soon; nothing was started, try again in {retry_after_s} s"),
            Self::Internal(_) => "it is not your fault, and it has been recorded".into(),
        }
    }

    fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        match self {
            Self::Invalid(errors) => {
                members.insert("errors".into(), json(errors));
            }
            Self::CartVersionConflict { version } => {
                members.insert("version".into(), (*version).into());
            }
            Self::Throttled { retry_after_s } => {
                members.insert("retry_after_s".into(), (*retry_after_s).into());
            }
            Self::InsufficientStock { available, reserved } => {
                members.insert("available".into(), (*available).into());
                members.insert("reserved".into(), (*reserved).into());
            }
            Self::ReferenceReused { quantity } => {
                members.insert("quantity".into(), (*quantity).into());
            }
            Self::Refund { order_id, problem } => {
                members.insert("order_id".into(), json(order_id));
                members.extend(refund_members(*order_id, problem));
            }
            Self::RestockExceedsSold(lines) => {
                let line = |line: &ExcessLine| serde_json::json!({ "sku": line.sku, "wanted": line.wanted, "left": line.left });
                members.insert("lines".into(), lines.iter().map(line).collect());
            }
            Self::InvalidState { state, checkout_id } => {
                members.insert("state".into(), json(state));
                members.insert("checkout_id".into(), json(checkout_id));
            }
            Self::Shipping(unshipped) => members = unshipped.members(),
            Self::Checkout(unsold) => {
                if let Some(id) = unsold.checkout_id {
                    members.insert("checkout_id".into(), json(&id));
                }
                if let Some(state) = unsold.state {
                    members.insert("state".into(), json(&state));
                }
                if let Some(left) = unsold.attempts_left {
                    members.insert("attempts_left".into(), left.into());
                }
                members.extend(unsold_members(&unsold.problem));
            }
            _ => {}
        }
        members
    }

    /// Writes down, once, what a person should know of.
    pub(crate) fn log(&self) {
        match self {
            Self::Unavailable(source) => {
                tracing::warn!(error = format!("{source:#}"), "a neighbour failed a request");
            }
            Self::Internal(source) => {
                tracing::error!(error = format!("{source:#}"), "a request met a bug");
            }
            _ => {}
        }
    }

    /// The problem, where no status can be sent any more.
    pub(crate) fn into_problem(self) -> Problem {
        self.log();
        self.problem()
    }

    fn problem(&self) -> Problem {
        Problem::new(self.entry(), self.detail(), self.members())
    }
}

fn refund_detail(problem: &RefundProblem) -> String {
    match problem {
        RefundProblem::InvalidState { state: OrderState::Pending | OrderState::Placed } => {
            "the order is being bought; cancel its checkout instead".into()
        }
        RefundProblem::InvalidState { state } => format!("the order is {}", state.as_str()),
        RefundProblem::ExceedsCaptured { left } => format!("{left} are left to give back"),
        RefundProblem::ReferenceReused { amount } => {
            format!("{amount} were given back under it; a new refund needs a new reference")
        }
    }
}

/// The fields of the domain's problem, as they stand in its JSON, and what may be cancelled instead.
fn refund_members(order_id: OrderId, problem: &RefundProblem) -> Map<String, Value> {
    let Value::Object(mut members) = json(problem) else { return Map::new() };
    members.remove("code");
    if let RefundProblem::InvalidState { state: OrderState::Pending | OrderState::Placed } = problem
    {
        members.insert("checkout_id".into(), json(&order_id.checkout()));
    }
    members
}

fn unsold_detail(problem: &domain::Problem) -> String {
    use domain::Problem as P;
    match problem {
        P::CartEmpty => "put something into the cart first".into(),
        P::CartLocked { checkout_id } => format!("{checkout_id} is buying this cart"),
        P::QuoteChanged { expected_total, total, .. } => {
            format!("it costs {total}, not {expected_total}")
        }
        P::CartInvalid { skus } => {
            format!("{} of its SKUs are no longer sold, or its prices do not add up", skus.len())
        }
        P::OutOfStock { lines } => {
            format!("{} of the cart's SKUs are short; nothing was taken", lines.len())
        }
        P::PaymentDeclined { decline_code } => {
            format!("the card network says {decline_code}; nothing was charged")
        }
        P::HoldExpired => "the payment did not come in time, and the stock went back".into(),
        P::Cancelled => "it was called off; nothing was sold or charged".into(),
        P::Internal { .. } => "nothing was sold or charged, and it has been recorded".into(),
    }
}

/// The fields of the domain's problem, as they stand in its JSON.
fn unsold_members(problem: &domain::Problem) -> Map<String, Value> {
    match json(problem) {
        // What broke is for the operator.
        Value::Object(mut members) if !matches!(problem, domain::Problem::Internal { .. }) => {
            members.remove("code");
            members
        }
        _ => Map::new(),
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("our own types are JSON")
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        if error.transient() {
            Self::Unavailable(error.into())
        } else {
            Self::Internal(error.into())
        }
    }
}

/// Says that this answer was given before, for the same key.
pub(crate) const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

#[cfg(test)]
mod tests;
