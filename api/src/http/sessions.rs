//! `/v1/sessions`: a guest customer and the token that speaks for them.

use axum::{Json, extract::State};
use http::StatusCode;

use super::{extract::NoBody, view::SessionBody};
use crate::{error::Problem, service::Service};

/// Makes a guest customer.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    tag = "sessions",
    responses(
        (status = 201, description = "A new guest", body = SessionBody),
        (status = "4XX", description = "malformed, validation_failed, unsupported_media_type", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn open(
    State(service): State<Service>,
    _: NoBody,
) -> (StatusCode, Json<SessionBody>) {
    (StatusCode::CREATED, Json(service.open_session().into()))
}
