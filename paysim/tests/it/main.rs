//! The card network from outside: over HTTP, against a real Postgres, one database per test.

mod books;
mod endpoint;
mod events;
mod faults;
mod harness;
mod idempotency;
mod lifecycle;
mod process;
mod refunds;
mod three_d_secure;
mod webhooks;
mod wire;
