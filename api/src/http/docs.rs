//! `/v1/openapi.json` and the page that shows it to people. The page is ours and complete: it loads
//! nothing from anywhere else.

use axum::{
    Router,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::header;
use utoipa::openapi::OpenApi;

const PAGE: &str = include_str!("docs/page.html");
/// The page's own script and style, and requests to its own host; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn router(document: &OpenApi) -> Router {
    let json = document.to_pretty_json().expect("the document is JSON");
    let document = async move || ([(header::CONTENT_TYPE, "application/json")], json);
    Router::new().route("/v1/openapi.json", get(document)).route("/docs", get(page))
}

/// Whoever opens the bare address in a browser is looking for the docs.
pub(super) async fn root() -> Redirect {
    Redirect::temporary("/docs")
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, PAGE).into_response()
}
