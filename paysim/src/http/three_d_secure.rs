//! The page on which a buyer passes or fails 3-D Secure. It needs no key: it stands for the bank's
//! own page, opened by the buyer's browser.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use chrono::Utc;

use super::call::Id;
use crate::{
    app::App,
    error::{ApiError, chain_text},
    event::Cause,
    execute::Failure,
    form::Form,
    intent::{Intent, Outcome, Status},
    record::record,
};

const BODY_BYTES_MAX: usize = 1_024;
const ATTEMPTS_MAX: u32 = 16;

pub(super) async fn page(State(app): State<Arc<App>>, Id(id): Id) -> Response {
    match find(&app, &id).await {
        Ok(intent) if intent.status == Status::RequiresAction => {
            let content = format!(
                "<p>A payment of <strong>{} {}</strong> waits for you.</p>\
                 <form method=\"post\">\
                 <button name=\"result\" value=\"approve\">Approve</button> \
                 <button name=\"result\" value=\"decline\">Decline</button></form>",
                major_units(&intent),
                intent.currency.to_ascii_uppercase(),
            );
            html(StatusCode::OK, &content)
        }
        Ok(_) => nothing_to_approve(),
        Err(failure) => failure_page(&failure),
    }
}

pub(super) async fn submit(State(app): State<Arc<App>>, Id(id): Id, body: Body) -> Response {
    let Some(passed) = parse_result(body).await else {
        return html(StatusCode::BAD_REQUEST, "<p>The result must be approve or decline.</p>");
    };
    match authenticate(&app, &id, passed).await {
        Ok(Some(intent)) => back_to_shop(&intent, passed),
        Ok(None) => nothing_to_approve(),
        Err(failure) => failure_page(&failure),
    }
}

async fn parse_result(body: Body) -> Option<bool> {
    let body = to_bytes(body, BODY_BYTES_MAX).await.ok()?;
    let form = Form::parse(&body).ok()?;
    match form.text("result").ok()?? {
        "approve" => Some(true),
        "decline" => Some(false),
        _ => None,
    }
}

/// `None` when the intent does not wait for the buyer, be it that the answer was given before.
async fn authenticate(app: &App, id: &str, passed: bool) -> Result<Option<Intent>, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        let Some(outcome) = find(app, id).await?.authenticate(passed) else {
            return Ok(None);
        };
        match outcome {
            Outcome::Done(change) | Outcome::Declined(change, _) => {
                if record(app, &change, None, Cause::default(), Utc::now()).await? {
                    return Ok(Some(change.intent));
                }
            }
            Outcome::Refused(..) => return Ok(None),
        }
    }
    Err(ApiError::lock_timeout().into())
}

async fn find(app: &App, id: &str) -> Result<Intent, Failure> {
    let loaded = app.store.load(id, None).await?;
    Ok(loaded.intent.ok_or_else(|| ApiError::no_such("payment_intent", id))?)
}

fn back_to_shop(intent: &Intent, passed: bool) -> Response {
    let status = if passed { "succeeded" } else { "failed" };
    match &intent.return_url {
        Some(url) => {
            let joint = if url.contains('?') { '&' } else { '?' };
            let url = format!("{url}{joint}payment_intent={}&redirect_status={status}", intent.id);
            Redirect::to(&url).into_response()
        }
        None => html(
            StatusCode::OK,
            &format!("<p>Authentication {status}. You may close this page.</p>"),
        ),
    }
}

fn nothing_to_approve() -> Response {
    html(StatusCode::CONFLICT, "<p>This payment does not wait for authentication.</p>")
}

fn failure_page(failure: &Failure) -> Response {
    let status = match failure {
        Failure::Api(error) => StatusCode::from_u16(error.status),
        Failure::Store(error) => {
            tracing::error!(error = %chain_text(error), "the network's database failed");
            Ok(StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    html(status, "<p>This payment cannot be shown.</p>")
}

/// Nothing a client wrote goes into a page, so there is nothing to escape.
fn html(status: StatusCode, content: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>3-D Secure (simulated)</title>\
         <style>body{{font:1.1rem system-ui;max-width:26rem;margin:4rem auto;padding:0 1rem}}\
         button{{font:inherit;padding:.5rem 1.5rem}}</style></head>\
         <body><h1>3-D Secure</h1>{content}<p><small>Simulated. No money moves.</small></p></body></html>",
    );
    let mut response = (status, Html(page)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

fn major_units(intent: &Intent) -> String {
    let digits = iso_currency::Currency::from_code(&intent.currency.to_ascii_uppercase())
        .and_then(iso_currency::Currency::exponent)
        .map_or(0, usize::from);
    let text = format!("{:0>width$}", intent.amount, width = digits + 1);
    match text.split_at(text.len() - digits) {
        (whole, "") => whole.to_owned(),
        (whole, part) => format!("{whole}.{part}"),
    }
}
