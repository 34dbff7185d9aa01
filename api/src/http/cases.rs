//! `/v1/admin/cases`: where our books and the card provider's, or counters and their ledgers, differed.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use chrono::{DateTime, Utc};
use domain::{CaseId, CaseState};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::case::CaseRow;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Body, ByOperator, Named};
use crate::{
    error::{Error, FieldError, Problem},
    service::{
        Service,
        page::{Page, Wanted},
    },
};

/// A difference that was found.
#[derive(Serialize, ToSchema)]
#[schema(as = Case)]
pub(super) struct CaseBody {
    #[schema(value_type = String, example = "case_01h455vb4pex5vsknk084sn02q")]
    id: CaseId,
    /// `charge_without_order`, `order_without_charge`, `open_authorization`, `amount_mismatch`,
    /// `unrecorded_refund`, `odd_intent`, `orphan_hold`, `counter_mismatch`, `overdue_checkout`,
    /// `overdue_refund` or `unreturned_money`.
    #[schema(example = "order_without_charge")]
    difference: &'static str,
    /// What differed: a payment, a refund, a checkout, or a SKU.
    #[schema(example = "pay_01h455vb4pex5vsknk084sn02q")]
    subject: String,
    /// Ids and amounts; what there is depends on the difference.
    #[schema(value_type = Object)]
    facts: serde_json::Value,
    /// open, mended or resolved.
    #[schema(example = "open")]
    state: &'static str,
    /// When it was found; one that is mended, the last time.
    found_at: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    /// Which operator resolved it.
    resolved_by: Option<String>,
    /// What they said of it.
    reason: Option<String>,
}

impl From<CaseRow> for CaseBody {
    fn from(row: CaseRow) -> Self {
        Self {
            id: row.id,
            difference: row.difference.as_str(),
            subject: row.subject,
            facts: row.facts,
            state: row.state.as_str(),
            found_at: row.found_at,
            resolved_at: row.resolved_at,
            resolved_by: row.resolved_by,
            reason: row.reason,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Cases)]
pub(super) struct CasesBody {
    /// The newest first.
    cases: Vec<CaseBody>,
    /// Send it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Which cases.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CasesQuery {
    /// open, mended or resolved; all of them if not given.
    state: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// How many, 1 to 100; 20 if not given.
    limit: Option<String>,
}

/// What an operator says of a case that is seen to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CaseResolution)]
pub(super) struct CaseResolutionBody {
    /// For the record.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// What reconciling found: `?state=open` are those that wait for people.
#[utoipa::path(
    get,
    path = "/v1/admin/cases",
    tag = "operators",
    security(("bearer" = [])),
    params(CasesQuery),
    responses(
        (status = 200, description = "One page", body = CasesBody),
        (status = "4XX", description = "unauthenticated, forbidden, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    query: Result<Query<CasesQuery>, QueryRejection>,
) -> Result<Json<CasesBody>, Error> {
    let Query(CasesQuery { state, cursor, limit }) = query.map_err(|_| {
        let detail = "there are only `state`, `cursor` and `limit`, each once";
        Error::Invalid(vec![FieldError::parameter("query", "unknown_parameter", detail)])
    })?;
    let state = state.as_deref().map(read_state).transpose()?;
    let wanted = Wanted::parse(cursor.as_deref(), limit.as_deref())?;
    let Page { entries, next_cursor } = service.cases(state, wanted).await?;
    Ok(Json(CasesBody { cases: entries.into_iter().map(Into::into).collect(), next_cursor }))
}

/// One case, as `case.opened` names it.
#[utoipa::path(
    get,
    path = "/v1/admin/cases/{id}",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    responses(
        (status = 200, description = "The case", body = CaseBody),
        (status = "4XX", description = "unauthenticated, forbidden, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    Named(id): Named<CaseId>,
) -> Result<Json<CaseBody>, Error> {
    Ok(Json(service.case(id).await?.into()))
}

/// Closes an open case that people have seen to. It stays closed while its facts stay the same. One that is
/// not open is answered as it is.
#[utoipa::path(
    post,
    path = "/v1/admin/cases/{id}/resolve",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which")),
    request_body = CaseResolutionBody,
    responses(
        (status = 200, description = "The case after that", body = CaseBody),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, not_found, payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resolve(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(id): Named<CaseId>,
    Body(CaseResolutionBody { reason }): Body<CaseResolutionBody>,
) -> Result<Json<CaseBody>, Error> {
    Ok(Json(service.resolve_case(&operator, id, &reason).await?.into()))
}

/// Has the books compared now instead of at the next time; while they are being compared, that is left to
/// go on. What it finds are cases.
#[utoipa::path(
    post,
    path = "/v1/admin/reconciliations",
    tag = "operators",
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It begins, or is under way"),
        (status = "4XX", description = "unauthenticated, forbidden", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn reconcile(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
) -> Result<StatusCode, Error> {
    service.reconcile(&operator).await?;
    Ok(StatusCode::ACCEPTED)
}

fn read_state(text: &str) -> Result<CaseState, Error> {
    CaseState::parse(text).ok_or_else(|| {
        let detail = "a case is open, mended or resolved";
        Error::Invalid(vec![FieldError::parameter("state", "invalid_value", detail)])
    })
}
