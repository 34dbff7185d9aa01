//! Sends what is due, a bounded number at once, and tries again until the endpoint takes it. All it
//! knows stands in the queue, so it can die at any moment.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, HeaderName},
    redirect, retry,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use super::{DeliveryFault, WebhookConfig, fault::Fate, signature};
use crate::{
    app::App,
    error::chain_text,
    store::{Due, Error},
};

const TRIES_AT_ONCE_MAX: usize = 16;
/// A retry's pause is at its longest by then.
const DOUBLINGS_MAX: u32 = 20;
const RETRY_MAX: TimeDelta = TimeDelta::minutes(1);
/// Stripe gives up after three days.
const LIFETIME: TimeDelta = TimeDelta::days(3);
/// How much longer than an endpoint's time a try may take before it counts as dead.
const ACCOUNTING_TIME: Duration = Duration::from_secs(5);
/// The queue is looked at this often even when nobody rings.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// How long the tries under way may go on when the process ends; the others are made again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const COPIES: i32 = 2;
/// Beyond the five minutes that Stripe's libraries tolerate.
const STALE_BY_S: i64 = 600;
const ERROR_CHARS_MAX: usize = 300;
const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// Whoever brings events to the endpoints.
pub(crate) struct Courier {
    app: Arc<App>,
    http: Client,
    secret: String,
    retry_ms: u64,
    timeout: Duration,
    places: Arc<Semaphore>,
}

impl Courier {
    /// `None` when there is nobody to tell.
    pub(crate) fn new(app: &Arc<App>, config: &WebhookConfig) -> anyhow::Result<Option<Arc<Self>>> {
        if config.urls.is_empty() {
            return Ok(None);
        }
        let secret = config.secret.clone().filter(|secret| !secret.is_empty());
        let secret =
            secret.context("a webhook URL needs a webhook secret to sign deliveries with")?;
        // A second installation is refused, which is the state wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let timeout = Duration::from_millis(config.timeout_ms);
        let http = Client::builder()
            .user_agent("paysim")
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            // The queue decides on trying again.
            .retry(retry::never())
            .build()
            .context("no HTTP client for deliveries")?;
        Ok(Some(Arc::new(Self {
            app: Arc::clone(app),
            http,
            secret,
            retry_ms: config.retry_ms,
            timeout,
            places: Arc::new(Semaphore::new(TRIES_AT_ONCE_MAX)),
        })))
    }

    /// Works off the queue until the process is asked to end.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut stopping = self.app.stopping.clone();
        let mut tries = JoinSet::new();
        tokio::select! {
            () = Arc::clone(&self).work(&mut tries) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        let _ = timeout(DRAIN_TIMEOUT, async { while tries.join_next().await.is_some() {} }).await;
    }

    async fn work(self: Arc<Self>, tries: &mut JoinSet<()>) {
        loop {
            while tries.try_join_next().is_some() {}
            let pause = match self.send_due(tries).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(error = %chain_text(&error), "deliveries cannot be read");
                    PAUSE_AFTER_TROUBLE
                }
            };
            self.app.webhooks.rung_within(pause).await;
        }
    }

    /// Begins as many tries as there are places and says how long there is nothing more to do.
    async fn send_due(self: &Arc<Self>, tries: &mut JoinSet<()>) -> Result<Duration, Error> {
        let free = self.places.available_permits();
        if free == 0 {
            return Ok(PATIENCE);
        }
        let App { store, webhooks, .. } = &*self.app;
        let at = Utc::now();
        let rows_max = i64::try_from(free).expect("a few places fit");
        let again_at = at + self.timeout + ACCOUNTING_TIME;
        let due = store.deliveries_claim(&webhooks.urls, at, again_at, rows_max).await?;
        if due.is_empty() {
            let next_at = store.deliveries_due_at(&webhooks.urls).await?;
            let pause =
                next_at.map_or(PATIENCE, |at| (at - Utc::now()).to_std().unwrap_or_default());
            return Ok(pause.min(PATIENCE));
        }
        for due in due {
            let fault = match due.fault()? {
                None if due.attempts == 1 && !due.resent => self.strike(&due, at).await?,
                known => Met::Send(known),
            };
            if let Met::Send(fault) = fault {
                let place = Arc::clone(&self.places)
                    .try_acquire_owned()
                    .expect("only this loop takes places, and it claimed no more than were free");
                tries.spawn(Arc::clone(self).attempt(due, fault, place));
            }
        }
        Ok(Duration::ZERO)
    }

    /// Decides, at its first try, what goes wrong with a delivery.
    async fn strike(&self, due: &Due, at: DateTime<Utc>) -> Result<Met, Error> {
        let App { store, webhooks, .. } = &*self.app;
        let fate = webhooks.faults.fate(due.id, &due.event_type, due.payment_id.as_deref());
        let Some(Fate { kind, delay_ms }) = fate else {
            return Ok(Met::Send(None));
        };
        tracing::info!(
            event.id = due.event,
            fault.kind = kind.as_str(),
            "fault {} befalls the delivery of {}",
            kind.as_str(),
            due.event,
        );
        match kind {
            DeliveryFault::Lose => {
                store.delivery_strike(due.id, kind).await?;
                Ok(Met::Kept)
            }
            DeliveryFault::Delay | DeliveryFault::Reorder => {
                let until = at + Duration::from_millis(delay_ms);
                store.delivery_hold(due.id, kind, until).await?;
                Ok(Met::Kept)
            }
            DeliveryFault::Duplicate => {
                store.delivery_duplicate(due.id, COPIES, at).await?;
                Ok(Met::Send(Some(kind)))
            }
            DeliveryFault::Forge | DeliveryFault::Stale => {
                store.delivery_strike(due.id, kind).await?;
                Ok(Met::Send(Some(kind)))
            }
        }
    }

    /// One try and its account.
    async fn attempt(
        self: Arc<Self>,
        due: Due,
        fault: Option<DeliveryFault>,
        place: OwnedSemaphorePermit,
    ) {
        let answer = self.post(&due, fault.filter(|_| due.attempts == 1)).await;
        let store = &self.app.store;
        let now = Utc::now();
        let next_at = next_try(self.retry_ms, due.attempts, due.created_at, now);
        let accounted = match answer {
            Ok(status) if status.is_success() => {
                store.delivery_done(due.id, status.as_u16(), now).await
            }
            Ok(status) => {
                let error = format!("the endpoint answered {status}");
                store.delivery_failed(due.id, Some(status.as_u16()), &error, next_at).await
            }
            Err(error) => {
                let error: String =
                    chain_text(&error.without_url()).chars().take(ERROR_CHARS_MAX).collect();
                store.delivery_failed(due.id, None, &error, next_at).await
            }
        };
        if let Err(error) = accounted {
            // Nothing is lost: the queue gives it out again when its time is over.
            tracing::error!(event.id = due.event, error = %chain_text(&error), "a delivery is unaccounted for");
        }
        drop(place);
        self.app.webhooks.ring();
    }

    /// Signs anew each time, for a signature is good for minutes only.
    async fn post(&self, due: &Due, fault: Option<DeliveryFault>) -> reqwest::Result<StatusCode> {
        let now_s = Utc::now().timestamp();
        let signature = match fault {
            Some(DeliveryFault::Forge) => signature::header("whsec_of_a_forger", now_s, &due.body),
            Some(DeliveryFault::Stale) => {
                signature::header(&self.secret, now_s - STALE_BY_S, &due.body)
            }
            Some(
                DeliveryFault::Duplicate
                | DeliveryFault::Delay
                | DeliveryFault::Reorder
                | DeliveryFault::Lose,
            )
            | None => signature::header(&self.secret, now_s, &due.body),
        };
        let request = self
            .http
            .post(&due.url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(SIGNATURE, signature)
            .body(due.body.clone());
        Ok(request.send().await?.status())
    }
}

/// When a delivery that failed for the `attempts`-th time is tried next; never, once it is too old.
fn next_try(
    retry_ms: u64,
    attempts: i32,
    created_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let doublings = u32::try_from(attempts - 1).unwrap_or_default().min(DOUBLINGS_MAX);
    let pause = Duration::from_millis(retry_ms.saturating_mul(1 << doublings));
    let pause = TimeDelta::from_std(pause).unwrap_or(RETRY_MAX).min(RETRY_MAX);
    Some(now + pause).filter(|next_at| *next_at < created_at + LIFETIME)
}

/// What a delivery met before its first try.
enum Met {
    /// It goes out, perhaps in bad shape.
    Send(Option<DeliveryFault>),
    /// It stays here, for a while or for good.
    Kept,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_end_after_three_days() {
        let created_at = DateTime::UNIX_EPOCH;
        let pause_ms = |attempts, now| {
            let next_at = next_try(1_000, attempts, created_at, now);
            next_at.map(|next_at| (next_at - now).num_milliseconds())
        };
        let pauses: Vec<_> = [1, 2, 3, 6, 7, 100].map(|n| pause_ms(n, created_at)).into();
        let expected = [1_000, 2_000, 4_000, 32_000, 60_000, 60_000].map(Some);
        assert_eq!(pauses, expected);
        assert!(pause_ms(100, created_at + TimeDelta::hours(71)).is_some());
        assert_eq!(pause_ms(100, created_at + TimeDelta::hours(72)), None);
    }
}
