//! The edge: one port that speaks HTTP and gRPC.
//!
//! `http` and `grpc` are two thin faces over `service`; `error` is the one place that turns an error
//! into a status. The edge starts, updates and queries checkouts and reads what they did. It writes
//! only what no workflow owns: carts, what a checkout was asked for, what is told of payments and by carriers, and
//! where events are posted to.

mod auth;
mod carrier_secrets;
mod config;
mod edge;
mod engine;
mod error;
pub mod grpc;
mod http;
mod metrics;
mod server;
mod service;

pub use self::{
    auth::{JwtSecret, Operator, operator_token},
    carrier_secrets::CarrierSecrets,
    config::{Config, WebhookSecrets},
    server::{Running, run},
};

/// The largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest that a request may take until its response begins, in seconds.
const REQUEST_SECONDS_MAX: u64 = 30;
/// How many clients may watch checkouts at once, in one process.
const STREAMS_MAX: usize = 1000;
/// The longest that one client may watch a checkout before it must ask again, in seconds.
const STREAM_SECONDS_MAX: u64 = 600;
/// What a client is told to wait after a refusal that will pass, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
