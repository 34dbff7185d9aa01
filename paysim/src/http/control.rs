//! The network's own endpoints, which Stripe does not have: the ledger, faults to arm,
//! what otherwise happens to payments by itself, health. They ask for no key; whoever reaches this
//! process is its operator.

use std::sync::Arc;

use axum::{
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{failure_response, json_response};
use crate::{
    app::App,
    error::ApiError,
    execute::Failure,
    fault::Order,
    form::Form,
    store::Filter,
    unasked::{lapse, settle_refund},
    view::{Answer, intent_view, refund_view},
    words::UnknownWord,
};

const BODY_BYTES_MAX: usize = 64 * 1024;
const ENTRIES_DEFAULT: i64 = 1_000;
const ENTRIES_MAX: i64 = 10_000;
const PAYMENTS_MAX: i64 = 100_000;

pub(super) async fn ledger(State(app): State<Arc<App>>, uri: Uri) -> Response {
    respond(async {
        let form = Form::parse(uri.query().unwrap_or_default().as_bytes())?;
        form.only(&["payment_id", "payment_intent", "limit", "after_seq"])?;
        let filter = filter(&form)?;
        let limit = form.integer("limit")?.unwrap_or(ENTRIES_DEFAULT).clamp(1, ENTRIES_MAX);
        let after_seq = form.integer("after_seq")?.unwrap_or(0);
        let entries = app.store.ledger_entries(filter, after_seq, limit).await?;
        let totals = app.store.ledger_totals(filter).await?;
        let full = i64::try_from(entries.len()).is_ok_and(|count| count == limit);
        let next = entries.last().filter(|_| full).map(|entry| entry.seq);
        Ok(Answer::ok(&json!({ "entries": entries, "totals": totals, "next_after_seq": next })))
    })
    .await
}

pub(super) async fn ledger_summary(State(app): State<Arc<App>>, uri: Uri) -> Response {
    respond(async {
        let form = Form::parse(uri.query().unwrap_or_default().as_bytes())?;
        form.only(&["payment_id", "payment_intent"])?;
        let payments = app.store.ledger_summary(filter(&form)?, PAYMENTS_MAX).await?;
        Ok(Answer::ok(&json!({ "payments": payments })))
    })
    .await
}

pub(super) async fn armed(State(app): State<Arc<App>>) -> Response {
    json_response(Answer::ok(&json!({ "armed": app.faults.armed() })))
}

pub(super) async fn arm(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(async {
        let order: Order = json_body(request).await?;
        app.faults.arm(order).map_err(|error| ApiError::invalid(None, error.to_string()))?;
        Ok(Answer::ok(&json!({ "armed": app.faults.armed() })))
    })
    .await
}

pub(super) async fn disarm(State(app): State<Arc<App>>, uri: Uri) -> Response {
    respond(async {
        let form = Form::parse(uri.query().unwrap_or_default().as_bytes())?;
        form.only(&["payment_id"])?;
        app.faults.disarm(form.text("payment_id")?);
        Ok(Answer::ok(&json!({ "armed": app.faults.armed() })))
    })
    .await
}

/// Which authorization lapses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expire {
    payment_intent: String,
}

pub(super) async fn expire(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(async {
        let Expire { payment_intent } = json_body(request).await?;
        let intent = lapse(&app, &payment_intent).await?;
        Ok(Answer::ok(&intent_view(&intent, &app.public_url)))
    })
    .await
}

/// Which refund gets its last word, and which; by default the one its card was made for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settle {
    refund: String,
    status: Option<String>,
}

pub(super) async fn settle(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(async {
        let Settle { refund, status } = json_body(request).await?;
        let status = status.map(|text| text.parse()).transpose();
        let status =
            status.map_err(|error: UnknownWord| ApiError::invalid(None, error.to_string()))?;
        Ok(Answer::ok(&refund_view(&settle_refund(&app, &refund, status).await?)))
    })
    .await
}

/// Alive is whoever answers; the neighbours do not matter.
pub(super) async fn livez() -> StatusCode {
    StatusCode::OK
}

pub(super) async fn readyz(State(app): State<Arc<App>>) -> Response {
    if app.stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping").into_response();
    }
    match app.store.ready().await {
        Ok(()) => (StatusCode::OK, "ready").into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no database").into_response(),
    }
}

fn filter(form: &Form) -> Result<Filter<'_>, ApiError> {
    Ok(Filter {
        payment_id: form.text("payment_id")?,
        payment_intent: form.text("payment_intent")?,
    })
}

/// The order in a request's body.
pub(super) async fn json_body<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let body: Bytes = to_bytes(request.into_body(), BODY_BYTES_MAX)
        .await
        .map_err(|_| ApiError::too_large(BODY_BYTES_MAX))?;
    serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(None, format!("Not an order: {error}")))
}

pub(super) async fn respond(answer: impl Future<Output = Result<Answer, Failure>>) -> Response {
    match answer.await {
        Ok(answer) => json_response(answer),
        Err(failure) => failure_response(&failure),
    }
}
