//! Looking at deliveries and meddling with them: the queue, sending again, faults to arm. Stripe does
//! some of this on its dashboard; here it is for the operator and asks for no key.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::Uri,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::control::{json_body, respond};
use crate::{
    app::App, error::ApiError, form::Form, store::DeliveryFilter, view::Answer,
    webhook::DeliveryOrder,
};

const DELIVERIES_DEFAULT: i64 = 1_000;
const DELIVERIES_MAX: i64 = 10_000;

pub(super) async fn deliveries(State(app): State<Arc<App>>, uri: Uri) -> Response {
    respond(async {
        let form = Form::parse(uri.query().unwrap_or_default().as_bytes())?;
        form.only(&["after", "event", "limit", "payment_id", "payment_intent", "state"])?;
        let filter = DeliveryFilter {
            event: form.text("event")?,
            payment_id: form.text("payment_id")?,
            payment_intent: form.text("payment_intent")?,
        };
        let state = form.text("state")?;
        let limit = form.integer("limit")?.unwrap_or(DELIVERIES_DEFAULT).clamp(1, DELIVERIES_MAX);
        let after = form.integer("after")?.unwrap_or(0);
        let deliveries = app.store.deliveries_list(filter, state, after, limit).await?;
        let full = i64::try_from(deliveries.len()).is_ok_and(|count| count == limit);
        let next = deliveries.last().filter(|_| full).map(|delivery| delivery.id);
        Ok(Answer::ok(&json!({ "deliveries": deliveries, "next_after": next })))
    })
    .await
}

/// What to send again: one event, or all of a payment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resend {
    event: Option<String>,
    payment_id: Option<String>,
    payment_intent: Option<String>,
}

pub(super) async fn resend(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(async {
        let Resend { event, payment_id, payment_intent } = json_body(request).await?;
        let named = [&event, &payment_id, &payment_intent].into_iter().flatten();
        if named.count() != 1 {
            let message = "Name what to send again: one of event, payment_id and payment_intent.";
            return Err(ApiError::invalid(None, message).into());
        }
        if app.webhooks.urls.is_empty() {
            return Err(ApiError::invalid(None, "No webhook URL is configured.").into());
        }
        let filter = DeliveryFilter {
            event: event.as_deref(),
            payment_id: payment_id.as_deref(),
            payment_intent: payment_intent.as_deref(),
        };
        let queued = app.store.deliveries_resend(filter, &app.webhooks.urls).await?;
        if queued == 0 {
            let id = event.or(payment_id).or(payment_intent).unwrap_or_default();
            return Err(ApiError::no_such("event", &id).into());
        }
        app.webhooks.ring();
        Ok(Answer::ok(&json!({ "queued": queued })))
    })
    .await
}

pub(super) async fn armed(State(app): State<Arc<App>>) -> Response {
    respond(async { Ok(armed_now(&app)) }).await
}

pub(super) async fn arm(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(async {
        let order: DeliveryOrder = json_body(request).await?;
        let armed = app.webhooks.faults.arm(order);
        armed.map_err(|error| ApiError::invalid(None, error.to_string()))?;
        Ok(armed_now(&app))
    })
    .await
}

pub(super) async fn disarm(State(app): State<Arc<App>>, uri: Uri) -> Response {
    respond(async {
        let form = Form::parse(uri.query().unwrap_or_default().as_bytes())?;
        form.only(&["payment_id"])?;
        app.webhooks.faults.disarm(form.text("payment_id")?);
        Ok(armed_now(&app))
    })
    .await
}

fn armed_now(app: &App) -> Answer {
    Answer::ok(&json!({ "armed": app.webhooks.faults.armed() }))
}
