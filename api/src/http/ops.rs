//! `/livez`, `/readyz` and `/metrics`: for those who run it.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};

use crate::{
    error::{Error, Problem},
    metrics::Metrics,
    service::Service,
};

/// Whether this process lives. It never depends on a neighbour.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operations",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests can be served: the database and the workflow engine answer, and the process is not
/// about to end.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "They can", body = String, content_type = "text/plain"),
        (status = 503, description = "unavailable", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn readyz(State(service): State<Service>) -> Result<&'static str, Error> {
    service.ready().await?;
    Ok("ok\n")
}

/// Not part of the API's document: its format is Prometheus'.
pub(super) fn metrics_router(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(show)).with_state(metrics)
}

async fn show(
    State(metrics): State<Arc<Metrics>>,
) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}
