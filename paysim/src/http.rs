//! The HTTP face: routes, authentication, limits, and turning answers into responses. Status codes of
//! the API come with the answers; no rule of payments stands here.

mod call;
mod control;
mod events;
mod paging;
mod read_faults;
mod reads;
mod search_query;
mod three_d_secure;
mod webhooks;
mod writes;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::Response,
    routing::{get, post},
};

use crate::{
    app::App,
    error::{ApiError, chain_text},
    execute::Failure,
    view::Answer,
};

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/payment_intents", get(reads::list_intents).post(writes::create))
        .route("/v1/payment_intents/search", get(reads::search_intents))
        .route("/v1/payment_intents/{id}", get(reads::retrieve_intent))
        .route("/v1/payment_intents/{id}/confirm", post(writes::confirm))
        .route("/v1/payment_intents/{id}/capture", post(writes::capture))
        .route("/v1/payment_intents/{id}/cancel", post(writes::cancel))
        .route("/v1/refunds", get(reads::list_refunds).post(writes::refund))
        .route("/v1/refunds/{id}", get(reads::retrieve_refund))
        .route("/v1/events", get(events::list_events))
        .route("/v1/events/{id}", get(events::retrieve_event))
        .route("/3ds/{id}", get(three_d_secure::page).post(three_d_secure::submit))
        .route("/ledger", get(control::ledger))
        .route("/ledger/summary", get(control::ledger_summary))
        .route("/faults", get(control::armed).post(control::arm).delete(control::disarm))
        .route("/authorizations/expire", post(control::expire))
        .route("/refunds/settle", post(control::settle))
        .route("/webhooks", get(webhooks::deliveries))
        .route("/webhooks/resend", post(webhooks::resend))
        .route(
            "/webhooks/faults",
            get(webhooks::armed).post(webhooks::arm).delete(webhooks::disarm),
        )
        .route("/livez", get(control::livez))
        .route("/readyz", get(control::readyz))
        .fallback(no_such_url)
        .method_not_allowed_fallback(no_such_url)
        .with_state(app)
}

async fn no_such_url(request: Request) -> Response {
    let error = ApiError::no_such_url(request.method().as_str(), request.uri().path());
    error_response(&error)
}

fn json_response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if answer.status == 429 {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn error_response(error: &ApiError) -> Response {
    json_response(Answer::error(error, None, ""))
}

/// Answers nobody decided to keep: refusals before anything ran, and our own trouble.
fn failure_response(failure: &Failure) -> Response {
    match failure {
        Failure::Api(error) => error_response(error),
        Failure::Store(error) => {
            let chain = chain_text(error);
            tracing::error!(error = %chain, "the network's database failed: {chain}");
            error_response(&ApiError::internal())
        }
    }
}
