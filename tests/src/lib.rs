//! The harness: a whole shop of real processes for each test, and a customer to shop in it.
//!
//! A [`Shop`] has its own database, its own card network and its own Temporal namespace, on servers
//! that all tests of a process share. It is driven over HTTP as a client would, and judged by its
//! database's laws and by the card network's own ledger. Tests hold no sleeps: they wait for a
//! condition, with a deadline, by [`eventually`].
#![expect(clippy::missing_panics_doc, reason = "a harness panics where a test should fail")]

mod books;
mod customer;
mod liar;
mod listener;
mod post_office;
mod server;
mod shop;

use std::{future::Future, time::Duration};

pub use self::{
    books::Books,
    customer::{Answer, Customer, checkout_body},
    liar::Liar,
    listener::{Listener, Posted},
    post_office::{Mail, PostOffice},
    server::DatabaseServer,
    shop::{
        Arrival, CARRIER_SECRET, JWT_SECRET, Payment, Shop, Spec, WEBHOOK_SECRET, event,
        refund_event, signature,
    },
};

/// How long a test waits for what should come about by itself.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something to see, and panics with `what` when the deadline passes.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl FnMut() -> F,
) -> T {
    within(PATIENCE, what, look).await
}

/// The same, with a deadline of its own.
pub async fn within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: not within {} s",
            patience.as_secs()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
