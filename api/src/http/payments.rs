//! `/v1/webhooks/stripe` and `/v1/payments/return`: two ways of being told that something has happened to
//! a payment. Neither takes a token, and neither is believed in more than that.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::RawBody;
use crate::{
    error::{Error, Problem},
    service::Service,
};

const SIGNATURE: &str = "stripe-signature";
const PAGE: &str = include_str!("payments/returned.html");
/// The page's own style, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Takes an event of the card provider's, signed over the body as it is. It is answered with 200 once it
/// is written down, or if there is nothing in it for us; however often it comes, it is one event.
#[utoipa::path(
    post,
    path = "/v1/webhooks/stripe",
    tag = "payments",
    params(("Stripe-Signature" = String, Header, description = "The time, and an HMAC over it and the body")),
    request_body(content = String, content_type = "application/json", description = "The event; at most 64 KiB"),
    responses(
        (status = 200, description = "It need not be sent again"),
        (status = "4XX", description = "invalid_signature, malformed, payload_too_large; not_found where no secret is configured", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: send it again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn webhook(
    State(service): State<Service>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<StatusCode, Error> {
    let signature = headers.get(SIGNATURE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    service.hear(signature, &body).await?;
    Ok(StatusCode::OK)
}

/// What the card provider sends a browser back with. There is more, such as a secret, which is not read.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Brought {
    /// The provider's id of the payment.
    payment_intent: Option<String>,
    /// How it went, if one were to believe it.
    redirect_status: Option<String>,
}

/// The page that a bank sends a customer's browser back to. It says the same whatever the browser
/// brings: the payment is being checked.
#[utoipa::path(
    get,
    path = "/v1/payments/return",
    tag = "payments",
    params(Brought),
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html"))
)]
pub(super) async fn back(
    State(service): State<Service>,
    brought: Result<Query<Brought>, QueryRejection>,
) -> Response {
    let Brought { payment_intent, redirect_status } =
        brought.map(|Query(brought)| brought).unwrap_or_default();
    if let Some(intent) = payment_intent.and_then(|id| id.try_into().ok())
        && let Err(error) =
            service.came_back(intent, redirect_status.as_deref().unwrap_or_default()).await
    {
        // The page stays true: the checkout asks by itself.
        error.log();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE).into_response()
}
