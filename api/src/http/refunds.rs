//! `/v1/admin/orders/{id}`: money given back, and goods put on the shelf again.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use domain::{Money, OrderId, RefundId, RefundState, Sku};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::refund::RefundRow;
use utoipa::ToSchema;

use super::{
    extract::{Body, ByOperator, Named, Wait},
    view::MoneySchema,
};
use crate::{
    error::{Error, IDEMPOTENCY_REPLAYED, Problem},
    service::{Service, refund::NewRefund, restock::NewRestock},
};

/// Money to be given back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRefund)]
pub(super) struct NewRefundBody {
    /// How much; without it, all that is left.
    #[schema(value_type = Option<MoneySchema>)]
    amount: Option<Money>,
    /// A word of your own, such as damaged, late, goodwill.
    #[schema(pattern = "^[a-z0-9_]{1,60}$")]
    reason: String,
    /// Of this order's refunds one has it: sent again, it is the same refund. `cancel` is the customer's.
    #[schema(pattern = "^[!-~]{1,100}$")]
    reference: String,
}

/// Money on its way back.
#[derive(Serialize, ToSchema)]
#[schema(as = Refund)]
pub(super) struct RefundBody {
    #[schema(value_type = String, example = "ref_01h455vb4pex5vsknk084sn02q")]
    id: RefundId,
    #[schema(value_type = String)]
    order_id: OrderId,
    #[schema(value_type = MoneySchema)]
    amount: Money,
    reason: String,
    reference: String,
    /// Who asked for it.
    actor: String,
    /// requested, pending, succeeded; or failed, refused: then the money is still ours.
    #[schema(value_type = String, example = "succeeded")]
    state: RefundState,
    /// Why it failed or was refused, in the card network's word.
    code: Option<String>,
    /// The card network's id of it, once it was made.
    provider_ref: Option<String>,
    created_at: DateTime<Utc>,
    /// When the last word on it came, once it has.
    decided_at: Option<DateTime<Utc>>,
}

impl From<RefundRow> for RefundBody {
    fn from(row: RefundRow) -> Self {
        Self {
            id: row.id,
            order_id: row.payment_id.checkout().order(),
            amount: row.amount,
            reason: row.reason,
            reference: row.reference,
            actor: row.actor,
            state: row.state,
            code: row.code,
            provider_ref: row.provider_ref,
            created_at: row.created_at,
            decided_at: row.decided_at,
        }
    }
}

/// An order's refunds, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Refunds)]
pub(super) struct RefundsBody {
    refunds: Vec<RefundBody>,
    /// What could still be given back.
    #[schema(value_type = MoneySchema)]
    left: Money,
}

/// Goods that came back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRestock)]
pub(super) struct NewRestockBody {
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<RestockLine>,
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
    /// Of this order's restocks one has it: sent again, it is the same.
    #[schema(pattern = "^[!-~]{1,100}$")]
    reference: String,
}

/// Units of a SKU.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestockLine {
    #[schema(value_type = String, example = "MUG-BLUE-350")]
    sku: Sku,
    #[schema(minimum = 1)]
    quantity: i64,
}

/// What was put on the shelf again.
#[derive(Serialize, ToSchema)]
#[schema(as = Restock)]
pub(super) struct RestockBody {
    #[schema(value_type = String)]
    order_id: OrderId,
    reference: String,
    lines: Vec<RestockLine>,
}

/// Gives back all or a part of what an order brought in, once per reference, and waits a little for the
/// card network's word. What is not decided then goes on by itself, for as long as it takes.
#[utoipa::path(
    post,
    path = "/v1/admin/orders/{id}/refunds",
    tag = "operators",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "Of which order"),
        ("Prefer" = Option<String>, Header, description = "`wait=n`: how many seconds to wait for the word, 0 to 20; 2 if not given"),
    ),
    request_body = NewRefundBody,
    responses(
        (status = 201, description = "It is written down, and made or being made: see `state`", body = RefundBody),
        (status = 200, description = "It had been asked for before; as it stands now", body = RefundBody, headers(("Idempotency-Replayed" = bool, description = "true"))),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, not_found, invalid_state (state), reference_reused (amount), refund_exceeds_captured (left), payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: send the same request again", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn refund(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(order_id): Named<OrderId>,
    Wait(wait): Wait,
    Body(NewRefundBody { amount, reason, reference }): Body<NewRefundBody>,
) -> Result<Response, Error> {
    let new = NewRefund { amount, reason, reference };
    let (row, replayed) = service.refund(&operator, order_id, new, wait).await?;
    Ok(done(Json(RefundBody::from(row)), replayed))
}

/// An order's refunds, and how much could still be given back.
#[utoipa::path(
    get,
    path = "/v1/admin/orders/{id}/refunds",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Of which order")),
    responses(
        (status = 200, description = "All of them", body = RefundsBody),
        (status = "4XX", description = "unauthenticated, forbidden, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn refunds(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    Named(order_id): Named<OrderId>,
) -> Result<Json<RefundsBody>, Error> {
    let (rows, left) = service.refunds(order_id).await?;
    Ok(Json(RefundsBody { refunds: rows.into_iter().map(Into::into).collect(), left }))
}

/// Puts what came back on the shelf again, once per reference and never more than was sold.
#[utoipa::path(
    post,
    path = "/v1/admin/orders/{id}/restock",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Of which order")),
    request_body = NewRestockBody,
    responses(
        (status = 201, description = "It can be bought again", body = RestockBody),
        (status = 200, description = "It had been done before", body = RestockBody, headers(("Idempotency-Replayed" = bool, description = "true"))),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, not_found, invalid_state (state), reference_reused, restock_exceeds_sold (lines), payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn restock(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(order_id): Named<OrderId>,
    Body(NewRestockBody { lines, reason, reference }): Body<NewRestockBody>,
) -> Result<Response, Error> {
    let new = NewRestock {
        lines: lines.iter().map(|line| (line.sku.clone(), line.quantity)).collect(),
        reason,
        reference,
    };
    let replayed = service.restock(&operator, order_id, &new).await?;
    Ok(done(Json(RestockBody { order_id, reference: new.reference, lines }), replayed))
}

fn done(body: impl IntoResponse, replayed: bool) -> Response {
    if replayed {
        ([(IDEMPOTENCY_REPLAYED, "true")], body).into_response()
    } else {
        (StatusCode::CREATED, body).into_response()
    }
}
