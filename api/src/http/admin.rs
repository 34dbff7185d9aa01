//! `/v1/admin`: for operators. Who did what is recorded by the name in their token.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{CheckoutId, CheckoutState, Sku};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use workflows::Resolution;

use super::{
    extract::{Body, ByOperator, Named},
    view::{AuditBody, LevelBody},
};
use crate::{
    error::{Error, IDEMPOTENCY_REPLAYED, Problem},
    service::{Service, admin::NewReceipt},
};

/// Stock that comes in or goes out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReceipt)]
pub(super) struct NewReceiptBody {
    /// Units; negative ones go out, such as what a count did not find.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000)]
    quantity: i64,
    /// Such as delivery, count, shrinkage.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
    /// Of this SKU's receipts one has it: sent again, it is the same receipt.
    #[schema(min_length = 1, max_length = 200)]
    reference: String,
}

/// Checks every law of the books, on the living system.
#[utoipa::path(
    get,
    path = "/v1/admin/invariants",
    tag = "operators",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What was found", body = AuditBody),
        (status = "4XX", description = "unauthenticated, forbidden", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn invariants(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
) -> Result<Json<AuditBody>, Error> {
    Ok(Json(service.audit().await?.into()))
}

/// The counters of a SKU's stock.
#[utoipa::path(
    get,
    path = "/v1/admin/inventory/{sku}",
    tag = "operators",
    security(("bearer" = [])),
    params(("sku" = String, Path, description = "Which")),
    responses(
        (status = 200, description = "The counters", body = LevelBody),
        (status = "4XX", description = "unauthenticated, forbidden, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn level(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    Named(sku): Named<Sku>,
) -> Result<Json<LevelBody>, Error> {
    let level = service.level(&sku).await?;
    Ok(Json(LevelBody::new(sku, level)))
}

/// Books stock in or out, once per reference.
#[utoipa::path(
    post,
    path = "/v1/admin/inventory/{sku}/receipts",
    tag = "operators",
    security(("bearer" = [])),
    params(("sku" = String, Path, description = "Of what")),
    request_body = NewReceiptBody,
    responses(
        (status = 201, description = "The counters after it", body = LevelBody),
        (status = 200, description = "It had been booked before; the counters now", body = LevelBody, headers(("Idempotency-Replayed" = bool, description = "true"))),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, not_found, insufficient_stock (available, reserved), reference_reused (quantity), payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn receive(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(sku): Named<Sku>,
    Body(NewReceiptBody { quantity, reason, reference }): Body<NewReceiptBody>,
) -> Result<Response, Error> {
    let receipt = NewReceipt { quantity, reason, reference };
    let (level, replayed) = service.receive(&operator, &sku, receipt).await?;
    let body = Json(LevelBody::new(sku, level));
    Ok(if replayed {
        ([(IDEMPOTENCY_REPLAYED, "true")], body).into_response()
    } else {
        (StatusCode::CREATED, body).into_response()
    })
}

/// What an operator decides about a checkout that needs attention.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewResolution)]
pub(super) struct NewResolutionBody {
    /// `retry`: what does not finish is tried now. `give_up`: it is undone, as if its customer had called
    /// it off; not once the money may have been taken.
    #[schema(value_type = String, pattern = "^(retry|give_up)$")]
    action: Resolution,
    /// For the record.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// A checkout that was told what to do.
#[derive(Serialize, ToSchema)]
#[schema(as = Resolved)]
pub(super) struct ResolvedBody {
    #[schema(value_type = String)]
    checkout_id: CheckoutId,
    /// Where it stood when it was told.
    #[schema(value_type = String)]
    state: CheckoutState,
}

/// Tells a checkout that needs attention what to do.
#[utoipa::path(
    post,
    path = "/v1/admin/checkouts/{id}/resolve",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    request_body = NewResolutionBody,
    responses(
        (status = 202, description = "It was told", body = ResolvedBody),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, not_found, invalid_state (state): nothing about it needs attention, or it is too late to give up; payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: it may not have been told", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn resolve(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(id): Named<CheckoutId>,
    Body(NewResolutionBody { action, reason }): Body<NewResolutionBody>,
) -> Result<Response, Error> {
    let state = service.resolve(&operator, id, action, &reason).await?;
    Ok((StatusCode::ACCEPTED, Json(ResolvedBody { checkout_id: id, state })).into_response())
}
