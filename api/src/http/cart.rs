//! `/v1/cart`: the caller's own cart, so that there are no ids to guess.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{Quantity, Sku};
use http::header;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    extract::{Body, Caller, IfMatch, Named},
    view::CartBody,
};
use crate::{
    error::{Error, Problem},
    service::{
        Service,
        cart::{Cart, Place},
    },
};

/// What to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewItem)]
pub(super) struct NewItem {
    #[schema(value_type = String, pattern = "^[A-Z0-9.-]{1,32}$", example = "MUG-BLUE-350")]
    sku: Sku,
    #[schema(value_type = i64, minimum = 1, maximum = 999)]
    quantity: Quantity,
}

/// How many there shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ItemQuantity)]
pub(super) struct ItemQuantity {
    #[schema(value_type = i64, minimum = 1, maximum = 999)]
    quantity: Quantity,
}

/// The cart, with today's prices and stock.
#[utoipa::path(
    get,
    path = "/v1/cart",
    tag = "cart",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The cart; empty if it was never touched", body = CartBody, headers(("ETag" = String, description = "The version, in quotes"))),
        (status = "4XX", description = "unauthenticated", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(service): State<Service>,
    Caller(caller): Caller,
) -> Result<Response, Error> {
    Ok(answer(service.cart(caller).await?))
}

/// Adds to what is there already.
#[utoipa::path(
    post,
    path = "/v1/cart/items",
    tag = "cart",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "Change this version of the cart, or none")),
    request_body = NewItem,
    responses(
        (status = 200, description = "The cart after the change", body = CartBody, headers(("ETag" = String, description = "The version, in quotes"))),
        (status = "4XX", description = "malformed, unauthenticated, cart_locked (checkout_id), cart_version_conflict (version), payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn add(
    State(service): State<Service>,
    Caller(caller): Caller,
    IfMatch(expected): IfMatch,
    Body(item): Body<NewItem>,
) -> Result<Response, Error> {
    Ok(answer(service.cart_add(caller, expected.as_deref(), item.sku, item.quantity).await?))
}

/// Sets how many there are of one SKU, whatever was there.
#[utoipa::path(
    put,
    path = "/v1/cart/items/{sku}",
    tag = "cart",
    security(("bearer" = [])),
    params(
        ("sku" = String, Path, description = "What"),
        ("If-Match" = Option<String>, Header, description = "Change this version of the cart, or none"),
    ),
    request_body = ItemQuantity,
    responses(
        (status = 200, description = "The cart after the change", body = CartBody, headers(("ETag" = String, description = "The version, in quotes"))),
        (status = "4XX", description = "malformed, unauthenticated, not_found, cart_locked (checkout_id), cart_version_conflict (version), payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn set(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(sku): Named<Sku>,
    IfMatch(expected): IfMatch,
    Body(item): Body<ItemQuantity>,
) -> Result<Response, Error> {
    Ok(answer(
        service.cart_set(caller, expected.as_deref(), sku, item.quantity, Place::Path).await?,
    ))
}

/// Takes one SKU out. If it is not in, nothing changes.
#[utoipa::path(
    delete,
    path = "/v1/cart/items/{sku}",
    tag = "cart",
    security(("bearer" = [])),
    params(
        ("sku" = String, Path, description = "What"),
        ("If-Match" = Option<String>, Header, description = "Change this version of the cart, or none"),
    ),
    responses(
        (status = 200, description = "The cart after the change", body = CartBody, headers(("ETag" = String, description = "The version, in quotes"))),
        (status = "4XX", description = "malformed, unauthenticated, not_found, cart_locked (checkout_id), cart_version_conflict (version)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(sku): Named<Sku>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Error> {
    Ok(answer(service.cart_remove(caller, expected.as_deref(), sku).await?))
}

fn answer(cart: Cart) -> Response {
    let tag = format!("\"{}\"", cart.view.version);
    ([(header::ETAG, tag)], Json(CartBody::from(cart))).into_response()
}
