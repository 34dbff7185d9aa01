//! What Prometheus may ask: how many requests there were, how they ended, how long they took.

use std::time::Duration;

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntGauge, Registry, TextEncoder};

/// From a cart's read to a checkout that is waited for.
const SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

/// This process's counters.
pub(crate) struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    in_progress: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let opts = HistogramOpts::new(
            "holdfast_request_duration_seconds",
            "Requests by route and status, with the time until their response began.",
        )
        .buckets(SECONDS.to_vec());
        let requests =
            HistogramVec::new(opts, &["method", "route", "status"]).expect("the names are valid");
        let in_progress = IntGauge::new(
            "holdfast_requests_in_progress",
            "Requests whose response has not begun.",
        )
        .expect("the name is valid");
        let registry = Registry::new();
        registry.register(Box::new(requests.clone())).expect("registered once");
        registry.register(Box::new(in_progress.clone())).expect("registered once");
        Self { registry, requests, in_progress }
    }

    pub(crate) fn began(&self) {
        self.in_progress.inc();
    }

    /// The route is a pattern, never a path: a client cannot make new time series.
    pub(crate) fn ended(&self, method: &str, route: &str, status: &str, duration: Duration) {
        self.in_progress.dec();
        self.requests.with_label_values(&[method, route, status]).observe(duration.as_secs_f64());
    }

    pub(crate) fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("a vector takes every byte");
        String::from_utf8(text).unwrap_or_default()
    }
}
