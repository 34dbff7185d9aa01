//! Telling merchants' endpoints of events: what is configured, and what its parts share. The parts are
//! the courier that sends, the signature it puts on, and the faults that befall deliveries.

mod courier;
mod fault;
mod signature;

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Url;
use tokio::sync::Notify;

pub(crate) use self::{
    courier::Courier,
    fault::{DeliveryFault, DeliveryFaults, DeliveryOrder},
};

const URLS_MAX: usize = 10;

/// Where events are sent, and how that goes wrong. Without a URL nothing is sent.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Each gets every event.
    pub urls: Vec<String>,
    /// What deliveries are signed with; needed as soon as there is a URL.
    pub secret: Option<String>,
    /// The pause after the first failed try; each next one is twice as long, up to a minute.
    pub retry_ms: u64,
    /// How long an endpoint may take to answer.
    pub timeout_ms: u64,
    /// Seed of the pseudo-random faults of deliveries; none without it.
    pub fault_seed: Option<u64>,
    /// How many of a hundred deliveries the seed strikes.
    pub fault_rate_percent: u8,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            secret: None,
            retry_ms: 1_000,
            timeout_ms: 10_000,
            fault_seed: None,
            fault_rate_percent: 0,
        }
    }
}

/// What those who make events, those who send them and those who look on share.
#[derive(Debug)]
pub(crate) struct Webhooks {
    pub(crate) urls: Vec<String>,
    pub(crate) faults: DeliveryFaults,
    bell: Notify,
}

impl Webhooks {
    pub(crate) fn new(config: &WebhookConfig) -> anyhow::Result<Self> {
        if config.urls.len() > URLS_MAX {
            bail!("more than {URLS_MAX} webhook URLs");
        }
        for url in &config.urls {
            let parsed: Url = url.parse().with_context(|| format!("the webhook URL {url}"))?;
            if !["http", "https"].contains(&parsed.scheme()) {
                bail!("the webhook URL {url} is neither http nor https");
            }
        }
        let faults = DeliveryFaults::new(config.fault_seed, config.fault_rate_percent);
        Ok(Self { urls: config.urls.clone(), faults, bell: Notify::new() })
    }

    /// Says that there may be something to send.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    async fn rung_within(&self, patience: Duration) {
        // Silence is as good as the bell: either way the queue is looked at.
        let _ = tokio::time::timeout(patience, self.bell.notified()).await;
    }
}
