//! `/v1/admin/orders/{id}/timeline`: the story of an order.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use chrono::{DateTime, Utc};
use domain::{OrderId, OrderState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::timeline::Entry;
use utoipa::{IntoParams, ToSchema};

use super::extract::{ByOperator, Named};
use crate::{
    error::{Error, FieldError, Problem},
    service::{
        Service,
        timeline::{Timeline, read_moment},
    },
};

/// As of when.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TimelineQuery {
    /// Only what was known then (RFC 3339); everything if not given.
    at: Option<String>,
}

/// What is known of an order, or was at a time.
#[derive(Serialize, ToSchema)]
#[schema(as = Timeline)]
pub(super) struct TimelineBody {
    #[schema(value_type = String, example = "ord_01h455vb4pex5vsknk084sn02q")]
    order_id: OrderId,
    /// Where it stood; null before it was opened.
    #[schema(value_type = Option<String>, example = "paid")]
    state: Option<OrderState>,
    /// By time, then by source.
    entries: Vec<EntryBody>,
    /// What may know more, and does not answer.
    unreachable: Vec<String>,
}

/// Something that was known.
#[derive(Serialize, ToSchema)]
#[schema(as = TimelineEntry)]
struct EntryBody {
    at: DateTime<Utc>,
    /// order, payment, `payment_attempt`, outbox, delivery, reservation or receipt.
    #[schema(example = "payment_attempt")]
    source: String,
    #[schema(example = "declined")]
    kind: String,
    /// Ids and amounts; what there is depends on the source.
    #[schema(value_type = Object)]
    detail: Value,
}

impl From<Timeline> for TimelineBody {
    fn from(timeline: Timeline) -> Self {
        let Timeline { order_id, state, entries, unreachable } = timeline;
        let entry = |Entry { at, source, kind, detail }| EntryBody { at, source, kind, detail };
        Self { order_id, state, entries: entries.into_iter().map(entry).collect(), unreachable }
    }
}

/// The story of an order: its events, its payments, its stock, and who was told.
#[utoipa::path(
    get,
    path = "/v1/admin/orders/{id}/timeline",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which"), TimelineQuery),
    responses(
        (status = 200, description = "What is known", body = TimelineBody),
        (status = "4XX", description = "unauthenticated, forbidden, not_found, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    Named(id): Named<OrderId>,
    query: Result<Query<TimelineQuery>, QueryRejection>,
) -> Result<Json<TimelineBody>, Error> {
    let Query(TimelineQuery { at }) = query.map_err(|_| {
        let detail = "there is only `at`, once";
        Error::Invalid(vec![FieldError::parameter("query", "unknown_parameter", detail)])
    })?;
    let at = at.as_deref().map(read_moment).transpose()?;
    Ok(Json(service.timeline(id, at).await?.into()))
}
