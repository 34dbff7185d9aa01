//! `/v1/admin/webhook-endpoints` and `/v1/admin/deliveries`: who is told of events, and what became of
//! it.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use chrono::{DateTime, Utc};
use domain::{DeliveryId, EventId, WebhookEndpointId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::{delivery::DeliveryRow, webhook_endpoint::EndpointRow};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Body, ByOperator, Named};
use crate::{
    error::{Error, FieldError, Problem},
    service::{
        Service,
        page::{Page, Wanted},
        webhooks::read_state,
    },
};

/// Where to post events to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhookEndpoint)]
pub(super) struct NewEndpointBody {
    /// With https, except on the same machine.
    #[schema(example = "https://example.com/holdfast", max_length = 2000)]
    url: String,
    /// Of what kinds; one that there is not is refused with the list of those that there are. What each
    /// tells is in the project's docs/events.md.
    #[schema(min_items = 1, max_items = 50, example = json!(["order.paid", "order.cancelled"]))]
    topics: Vec<String>,
}

/// Where events are posted to.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub(super) struct EndpointBody {
    #[schema(value_type = String, example = "whe_01h455vb4pex5vsknk084sn02q")]
    id: WebhookEndpointId,
    url: String,
    topics: Vec<String>,
    created_at: DateTime<Utc>,
    /// What deliveries are signed with. It is told only now.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl EndpointBody {
    fn new(endpoint: EndpointRow, secret: Option<String>) -> Self {
        let EndpointRow { id, url, topics, created_at } = endpoint;
        Self { id, url, topics, created_at, secret }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpoints)]
pub(super) struct EndpointsBody {
    /// Oldest first.
    endpoints: Vec<EndpointBody>,
}

/// One event on its way to one of those who are told.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryBody {
    #[schema(value_type = String, example = "dlv_01h455vb4pex5vsknk084sn02q")]
    id: DeliveryId,
    /// The same in every delivery of the event: `Holdfast-Event-Id`.
    #[schema(value_type = String, example = "evt_01h455vb4pex5vsknk084sn02q")]
    event_id: EventId,
    #[schema(example = "order.paid")]
    topic: String,
    /// To which endpoint; null for a mail to the customer.
    #[schema(value_type = Option<String>)]
    endpoint_id: Option<WebhookEndpointId>,
    /// waiting, delivered or dead.
    #[schema(example = "dead")]
    state: &'static str,
    /// How often it was tried, since somebody last asked for more.
    tries: i64,
    created_at: DateTime<Utc>,
    /// When it is tried next, while it waits.
    due_at: Option<DateTime<Utc>>,
    /// When it was delivered or given up.
    ended_at: Option<DateTime<Utc>>,
    /// What went wrong the last time.
    last_error: Option<String>,
}

impl From<DeliveryRow> for DeliveryBody {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            topic: row.topic,
            endpoint_id: row.endpoint_id,
            state: row.state.as_str(),
            tries: row.tries,
            created_at: row.created_at,
            due_at: row.due_at,
            ended_at: row.ended_at,
            last_error: row.last_error,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Deliveries)]
pub(super) struct DeliveriesBody {
    /// Those first that have been as they are for the longest.
    deliveries: Vec<DeliveryBody>,
    /// Send it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Which deliveries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// waiting, delivered or dead; all of them if not given.
    state: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many, 1 to 100; 20 if not given.
    limit: Option<String>,
}

/// Has events posted to a URL from now on: `{"id", "topic", "created_at", "data"}`, with the headers
/// `Holdfast-Event-Id` and `Holdfast-Signature: t=…,v1=…`, an HMAC-SHA256 by the secret over the time, a
/// point and the body. At least once: the event's id tells a repeated one. Until it is answered 2xx it is
/// sent again, after pauses that grow, for three days.
#[utoipa::path(
    post,
    path = "/v1/admin/webhook-endpoints",
    tag = "operators",
    security(("bearer" = [])),
    request_body = NewEndpointBody,
    responses(
        (status = 201, description = "The endpoint, with its secret", body = EndpointBody),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn register(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Body(NewEndpointBody { url, topics }): Body<NewEndpointBody>,
) -> Result<(StatusCode, Json<EndpointBody>), Error> {
    let (endpoint, secret) = service.register_endpoint(&operator, &url, topics).await?;
    Ok((StatusCode::CREATED, Json(EndpointBody::new(endpoint, Some(secret)))))
}

/// Where events are posted to.
#[utoipa::path(
    get,
    path = "/v1/admin/webhook-endpoints",
    tag = "operators",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "All of them", body = EndpointsBody),
        (status = "4XX", description = "unauthenticated, forbidden", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
) -> Result<Json<EndpointsBody>, Error> {
    let endpoints = service.endpoints().await?.into_iter();
    let endpoints = endpoints.map(|endpoint| EndpointBody::new(endpoint, None)).collect();
    Ok(Json(EndpointsBody { endpoints }))
}

/// Posts nothing more to a URL. What is on its way there is given up.
#[utoipa::path(
    delete,
    path = "/v1/admin/webhook-endpoints/{id}",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "4XX", description = "unauthenticated, forbidden, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(id): Named<WebhookEndpointId>,
) -> Result<StatusCode, Error> {
    service.remove_endpoint(&operator, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of events that were to be told: `?state=dead` are those that were given up.
#[utoipa::path(
    get,
    path = "/v1/admin/deliveries",
    tag = "operators",
    security(("bearer" = [])),
    params(DeliveriesQuery),
    responses(
        (status = 200, description = "One page", body = DeliveriesBody),
        (status = "4XX", description = "unauthenticated, forbidden, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn deliveries(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    query: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Result<Json<DeliveriesBody>, Error> {
    let Query(DeliveriesQuery { state, cursor, limit }) = query.map_err(|_| {
        let detail = "there are only `state`, `cursor` and `limit`, each once";
        Error::Invalid(vec![FieldError::parameter("query", "unknown_parameter", detail)])
    })?;
    let state = state.as_deref().map(read_state).transpose()?;
    let wanted = Wanted::parse(cursor.as_deref(), limit.as_deref())?;
    let Page { entries, next_cursor } = service.deliveries(state, wanted).await?;
    let deliveries = entries.into_iter().map(Into::into).collect();
    Ok(Json(DeliveriesBody { deliveries, next_cursor }))
}

/// Has a delivery tried again that was given up. Any other stays as it is.
#[utoipa::path(
    post,
    path = "/v1/admin/deliveries/{id}/retry",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 200, description = "The delivery after that", body = DeliveryBody),
        (status = "4XX", description = "unauthenticated, forbidden, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(id): Named<DeliveryId>,
) -> Result<Json<DeliveryBody>, Error> {
    Ok(Json(service.retry_delivery(&operator, id).await?.into()))
}
