//! `/v1/admin`: for operators. Who did what is recorded by the name in their token.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::Sku;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

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
