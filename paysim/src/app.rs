//! What every request shares: the books, the faults, the limits. No handling of requests.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::sleep,
};

use crate::{fault::Faults, idempotency::InFlight, store::Store, webhook::Webhooks};

/// Requests under way at once; the next one is told to come back.
pub(crate) const REQUESTS_MAX: usize = 2_048;

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) webhooks: Webhooks,
    /// Rings when a refund waits for its last word.
    pub(crate) refunds_to_settle: Notify,
    /// How long it waits.
    pub(crate) refund_settle: TimeDelta,
    pub(crate) in_flight: InFlight,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) latency: Duration,
    pub(crate) public_url: String,
    pub(crate) api_key: Option<String>,
    pub(crate) key_lifetime: TimeDelta,
    /// Turns true when the process is asked to end.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl App {
    pub(crate) fn stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits, but not beyond the process's own end: a held connection must not hold up a restart.
    pub(crate) async fn hold(&self, delay_ms: u64) {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = sleep(Duration::from_millis(delay_ms)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}
