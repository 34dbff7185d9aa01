//! What every request passes, in either protocol: an id, a place among those in progress, a time
//! limit, a line in the log and a count. Nothing here knows what is asked for.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderName, HeaderValue, header};
use tokio::{sync::Semaphore, time::timeout};
use tower::ServiceExt;
use tracing::Instrument;
use uuid::Uuid;

use crate::{REQUEST_SECONDS_MAX, error::Error, metrics::Metrics};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer one is replaced by ours.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// What the edge keeps.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) metrics: Arc<Metrics>,
    /// One permit for each request in progress.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) grpc: Router,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Face {
    Http,
    Grpc,
}

/// Passes a request to the face that it speaks to.
pub(crate) async fn pass(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let began_at = Instant::now();
    let face = face(&request);
    let method = request.method().clone();
    let route = route(face, &request);
    let id = request_id(&request);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let span = tracing::info_span!("request", request.id = id.to_str().unwrap_or_default(), %method, route);
    edge.metrics.began();
    let mut response = serve(&edge, face, &route, request, next).instrument(span.clone()).await;
    let status = status(&response);
    let duration = began_at.elapsed();
    edge.metrics.ended(method.as_str(), &route, &status, duration);
    span.in_scope(|| {
        let duration_ms = duration.as_millis();
        tracing::debug!(status, duration_ms, "answered {method} {route} with {status}");
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

async fn serve(edge: &Edge, face: Face, route: &str, request: Request, next: Next) -> Response {
    // Whoever asks whether we live must be answered when we are busiest.
    let exempt = matches!(route, "/livez" | "/readyz" | "/metrics");
    let _place = match edge.places.try_acquire() {
        Ok(place) => Some(place),
        Err(_) if exempt => None,
        Err(_) => return refuse(face, Error::Overloaded),
    };
    let answer = async {
        match face {
            Face::Http => next.run(request).await,
            Face::Grpc => {
                edge.grpc.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
            }
        }
    };
    let answer = AssertUnwindSafe(answer).catch_unwind();
    match timeout(Duration::from_secs(REQUEST_SECONDS_MAX), answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => refuse(face, Error::Internal(anyhow::anyhow!("a handler panicked"))),
        Err(elapsed) => refuse(face, Error::unavailable(elapsed)),
    }
}

fn refuse(face: Face, error: Error) -> Response {
    match face {
        Face::Http => error.into_response(),
        Face::Grpc => tonic::Status::from(error).into_http(),
    }
}

fn face(request: &Request) -> Face {
    let grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc { Face::Grpc } else { Face::Http }
}

/// The pattern that the path matches.
fn route(face: Face, request: &Request) -> String {
    match face {
        Face::Grpc if crate::grpc::knows(request.uri().path()) => request.uri().path().to_owned(),
        Face::Grpc => "unmatched".to_owned(),
        Face::Http => request
            .extensions()
            .get::<MatchedPath>()
            .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned()),
    }
}

/// The client's id of the request, if it is one to put into a log, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    match request.headers().get(REQUEST_ID) {
        Some(id)
            if (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
                && id.as_bytes().iter().all(plain) =>
        {
            id.clone()
        }
        _ => HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("a UUID is plain ASCII"),
    }
}

/// The status by which the answer is counted; a gRPC call that failed at once says so in a header.
fn status(response: &Response) -> String {
    match response.headers().get("grpc-status").and_then(|status| status.to_str().ok()) {
        Some(code) => format!("grpc {code}"),
        None => response.status().as_u16().to_string(),
    }
}
