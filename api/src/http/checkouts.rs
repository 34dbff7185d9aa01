//! `/v1/checkouts`: started, followed, paid and called off.

mod events;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{CheckoutId, CheckoutState, Money, PaymentMethod};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

pub(super) use self::events::{__path_events, events};
use super::{
    extract::{Body, Caller, Key, Named, NoBody, OptionalKey, Wait},
    view::{AddressBody, CheckoutBody, MoneySchema},
};
use crate::{
    error::{Error, IDEMPOTENCY_REPLAYED, Problem},
    service::{Service, checkout::Checkout, request::CheckoutRequest},
};

/// What to buy the cart with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCheckout)]
pub(super) struct NewCheckout {
    /// What the customer agreed to pay. If the cart costs anything else, nothing is sold.
    #[schema(value_type = Option<MoneySchema>)]
    expected_total: Option<Money>,
    /// How to pay, if that is known. Without it the checkout holds the stock and waits.
    payment: Option<Payment>,
    #[schema(max_length = 254, example = "ann@example.com")]
    email: String,
    shipping_address: AddressBody,
}

/// How to pay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Payment {
    /// The card network's reference to a card or wallet.
    #[schema(value_type = String, pattern = "^pm_[A-Za-z0-9_]+$", max_length = 255, example = "pm_card_visa")]
    method: PaymentMethod,
}

impl From<NewCheckout> for CheckoutRequest {
    fn from(body: NewCheckout) -> Self {
        Self {
            expected_total: body.expected_total,
            payment: body.payment.map(|payment| payment.method),
            email: body.email,
            shipping_address: body.shipping_address.into(),
        }
    }
}

/// Starts a checkout of the cart, and waits a little for its outcome. The same key with the same body
/// is the same checkout.
#[utoipa::path(
    post,
    path = "/v1/checkouts",
    tag = "checkouts",
    security(("bearer" = [])),
    params(
        ("Idempotency-Key" = String, Header, description = "1 to 255 printable ASCII characters; new for each checkout, the same when it is retried"),
        ("Prefer" = Option<String>, Header, description = "`wait=n`: how many seconds to wait for the outcome, 0 to 20; 2 if not given"),
    ),
    request_body = NewCheckout,
    responses(
        (status = 201, description = "Sold", body = CheckoutBody, headers(("Location" = String), ("Idempotency-Replayed" = Option<String>, description = "`true` if this key was sent before"))),
        (status = 202, description = "Under way, or waiting for somebody: see `state` and `next_action`", body = CheckoutBody, headers(("Location" = String), ("Idempotency-Replayed" = Option<String>, description = "`true` if this key was sent before"))),
        (status = "4XX", description = "malformed, idempotency_key_missing, unauthenticated, payment_declined (decline_code), cart_locked (checkout_id), out_of_stock (lines), quote_changed (expected_total, total, lines), hold_expired, cancelled, payload_too_large, unsupported_media_type, validation_failed (errors), cart_empty, cart_invalid (skus), idempotency_key_reused", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "throttled: others come first for what is left, or it cannot be decided soon; nothing was started", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
        (status = 503, description = "unavailable: send the same request again", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn start(
    State(service): State<Service>,
    Caller(caller): Caller,
    Key(key): Key,
    Wait(wait): Wait,
    Body(body): Body<NewCheckout>,
) -> Result<Response, Error> {
    let asked = service.checkout_start(caller, &key, body.into(), wait).await?;
    let mut response = match asked.checkout.sold() {
        Ok(checkout) => created(checkout),
        Err(error) => error.into_response(),
    };
    if asked.replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The checkout as it stands. One that failed is no failed request: its `problem` tells why.
#[utoipa::path(
    get,
    path = "/v1/checkouts/{id}",
    tag = "checkouts",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 200, description = "The checkout", body = CheckoutBody),
        (status = "4XX", description = "unauthenticated, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(id): Named<CheckoutId>,
) -> Result<Json<CheckoutBody>, Error> {
    Ok(Json(service.checkout(caller, id).await?.into()))
}

/// Tries to pay, and waits a little for the outcome. A decline leaves the checkout waiting for another
/// method until the tries are used up or the hold runs out.
#[utoipa::path(
    post,
    path = "/v1/checkouts/{id}/payment",
    tag = "checkouts",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "Which"),
        ("Idempotency-Key" = Option<String>, Header, description = "With the same key, a repeated call is the same attempt"),
        ("Prefer" = Option<String>, Header, description = "`wait=n`: how many seconds to wait for the outcome, 0 to 20; 2 if not given"),
    ),
    request_body = Payment,
    responses(
        (status = 200, description = "Sold", body = CheckoutBody),
        (status = 202, description = "Under way, or waiting for somebody: see `state` and `next_action`", body = CheckoutBody),
        (status = "4XX", description = "malformed, unauthenticated, payment_declined (decline_code, attempts_left, state), not_found, invalid_state (state), hold_expired, payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: it may have been submitted; send it again under the same key, or look at the checkout first", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn pay(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(id): Named<CheckoutId>,
    OptionalKey(key): OptionalKey,
    Wait(wait): Wait,
    Body(payment): Body<Payment>,
) -> Result<Response, Error> {
    Ok(told(service.checkout_pay(caller, id, payment.method, key.as_ref(), wait).await?))
}

/// Calls the checkout off, and waits a little until everything is undone. One that was called off before is
/// answered the same.
#[utoipa::path(
    post,
    path = "/v1/checkouts/{id}/cancel",
    tag = "checkouts",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "Which"),
        ("Prefer" = Option<String>, Header, description = "`wait=n`: how many seconds to wait for the outcome, 0 to 20; 2 if not given"),
    ),
    responses(
        (status = 200, description = "Called off", body = CheckoutBody),
        (status = 202, description = "Being undone", body = CheckoutBody),
        (status = "4XX", description = "malformed, unauthenticated, not_found, invalid_state (state), unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: nothing was called off, send it again", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn cancel(
    State(service): State<Service>,
    Caller(caller): Caller,
    Named(id): Named<CheckoutId>,
    Wait(wait): Wait,
    _: NoBody,
) -> Result<Response, Error> {
    Ok(told(service.checkout_cancel(caller, id, wait).await?))
}

fn created(checkout: Checkout) -> Response {
    let location = format!("/v1/checkouts/{}", checkout.id);
    let status = if checkout.state == CheckoutState::Completed {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    };
    (status, [(header::LOCATION, location)], Json(CheckoutBody::from(checkout))).into_response()
}

fn told(checkout: Checkout) -> Response {
    let status = if checkout.state.finished() { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(CheckoutBody::from(checkout))).into_response()
}
