//! The page on which a buyer passes or fails 3-D Secure. It needs no key: it stands for the bank's
//! own page, opened by the buyer's browser.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};

use super::call::Id;
use crate::{
    app::App,
    error::chain_text,
    execute::Failure,
    form::Form,
    intent::{Intent, Status},
    unasked::{Authentication, authenticate, find},
};

const BODY_BYTES_MAX: usize = 1_024;

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
        Ok(intent) => nothing_to_approve(&intent),
        Err(failure) => failure_page(&failure),
    }
}

pub(super) async fn submit(State(app): State<Arc<App>>, Id(id): Id, body: Body) -> Response {
    let Some(passed) = parse_result(body).await else {
        return html(StatusCode::BAD_REQUEST, "<p>The result must be approve or decline.</p>");
    };
    match authenticate(&app, &id, passed).await {
        Ok(Authentication::Received(intent)) => back_to_shop(&intent, passed),
        Ok(Authentication::NotAwaited(intent)) => nothing_to_approve(&intent),
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

fn back_to_shop(intent: &Intent, passed: bool) -> Response {
    let status = if passed { "succeeded" } else { "failed" };
    match shop_url(intent, status) {
        Some(url) => Redirect::to(&url).into_response(),
        None => html(
            StatusCode::OK,
            &format!("<p>Authentication {status}. You may close this page.</p>"),
        ),
    }
}

/// Where the buyer came from, told how it went.
fn shop_url(intent: &Intent, status: &str) -> Option<String> {
    let url = intent.return_url.as_deref()?;
    let joint = if url.contains('?') { '&' } else { '?' };
    Some(format!("{url}{joint}payment_intent={}&redirect_status={status}", intent.id))
}

/// Says why, and how to get back: a second click on a button shows its answer, not the first one's.
fn nothing_to_approve(intent: &Intent) -> Response {
    let (reason, status) = match intent.status {
        Status::Succeeded | Status::RequiresCapture | Status::Processing => {
            ("This payment is approved already.", Some("succeeded"))
        }
        Status::Canceled => ("This payment was canceled.", Some("failed")),
        Status::RequiresPaymentMethod if intent.last_payment_error.is_some() => {
            ("This payment was declined.", Some("failed"))
        }
        Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction => {
            ("This payment does not wait for authentication.", None)
        }
    };
    let link = status
        .and_then(|status| shop_url(intent, status))
        .map(|url| format!("<p><a href=\"{}\">Back to the shop</a></p>", escaped(&url)))
        .unwrap_or_default();
    html(StatusCode::CONFLICT, &format!("<p>{reason}</p>{link}"))
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

/// Of what clients wrote only a return URL goes into a page, and that one escaped.
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
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
