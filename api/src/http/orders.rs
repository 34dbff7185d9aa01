//! `/v1/orders`: what the caller bought; and `/v1/admin/orders/{id}`: what anybody did, and who gets it.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use domain::{OrderId, OrderState};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    extract::{ByOperator, Caller, Named, NoBody, Wait},
    view::{OrderBody, OrderPageBody, OrderToShipBody},
};
use crate::{
    error::{Error, FieldError, Problem},
    service::{
        Service,
        page::{Page, Wanted},
    },
};

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many orders, 1 to 100; 20 if not given.
    limit: Option<String>,
}

/// The caller's orders, newest first.
#[utoipa::path(
    get,
    path = "/v1/orders",
    tag = "orders",
    security(("bearer" = [])),
    params(PageQuery),
    responses(
        (status = 200, description = "One page", body = OrderPageBody),
        (status = "4XX", description = "unauthenticated, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(service): State<Service>,
    Caller(caller): Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<OrderPageBody>, Error> {
    let Query(PageQuery { cursor, limit }) = query.map_err(|_| {
        let detail = "there are only `cursor` and `limit`, each once";
        Error::Invalid(vec![FieldError::parameter("query", "unknown_parameter", detail)])
    })?;
    let wanted = Wanted::parse(cursor.as_deref(), limit.as_deref())?;
    let Page { entries, next_cursor } = service.orders(caller, wanted).await?;
    Ok(Json(OrderPageBody { orders: entries.into_iter().map(Into::into).collect(), next_cursor }))
}

/// One order, with its lines, its shipments and what happened to it.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}",
    tag = "orders",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 200, description = "The order", body = OrderBody),
        (status = "4XX", description = "unauthenticated, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(id): Named<OrderId>,
) -> Result<Json<OrderBody>, Error> {
    Ok(Json(service.order(caller, id).await?.into()))
}

/// Anybody's order, with what it takes to ship it.
#[utoipa::path(
    get,
    path = "/v1/admin/orders/{id}",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 200, description = "The order, and who gets it", body = OrderToShipBody),
        (status = "4XX", description = "unauthenticated, forbidden, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn to_ship(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    Named(id): Named<OrderId>,
) -> Result<Json<OrderToShipBody>, Error> {
    Ok(Json(service.order_to_ship(id).await?.into()))
}

/// Calls a paid order off before it is shipped, and waits a little until its money is on its way back. An
/// order that was called off before is answered the same.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/cancel",
    tag = "orders",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "Which"),
        ("Prefer" = Option<String>, Header, description = "`wait=n`: how many seconds to wait for the outcome, 0 to 20; 2 if not given"),
    ),
    responses(
        (status = 200, description = "It is over unsold, or all of its money went back", body = OrderBody),
        (status = 202, description = "It is called off and will not be shipped; its money is being paid back. Should the card network refuse that, people see to it", body = OrderBody),
        (status = "4XX", description = "malformed, unauthenticated, not_found, invalid_state (state; with checkout_id, while its checkout can be cancelled instead), unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: send it again", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn cancel(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(id): Named<OrderId>,
    Wait(wait): Wait,
    _: NoBody,
) -> Result<Response, Error> {
    let order = service.order_cancel(caller, id, wait).await?;
    let paid = order.0.summary.state == OrderState::Paid;
    let status = if paid { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(OrderBody::from(order))).into_response())
}
