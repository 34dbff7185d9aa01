//! Load: clients that each do one thing after the other, and how long each took. No request is sent
//! before its client's last one is answered, so throughput is what the system gives to so many.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use domain::CheckoutId;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use uuid::Uuid;

/// How many of the errors of a cell are told.
const ERRORS_MAX: usize = 3;

/// What came of a cell's work.
#[derive(Debug)]
pub(crate) struct Driven<J, T> {
    pub(crate) elapsed: Duration,
    pub(crate) latencies_ms: Vec<f64>,
    pub(crate) done: Vec<T>,
    pub(crate) failed: usize,
    /// The first few.
    pub(crate) errors: Vec<String>,
    /// Not begun, because the time was up.
    pub(crate) left: VecDeque<J>,
}

/// Lets so many clients take jobs until there are none or the time is up.
pub(crate) async fn drive<J, T, F>(
    jobs: VecDeque<J>,
    clients: u16,
    limit: Duration,
    run: impl Fn(J) -> F + Clone + Send + 'static,
) -> Driven<J, T>
where
    J: Send + 'static,
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send,
{
    let jobs = Arc::new(Mutex::new(jobs));
    let began = Instant::now();
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let (jobs, run) = (Arc::clone(&jobs), run.clone());
        crowd.spawn(async move {
            let mut results = Vec::new();
            while began.elapsed() < limit {
                let Some(job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
                else {
                    break;
                };
                let asked = Instant::now();
                let result = run(job).await;
                results.push((asked.elapsed().as_secs_f64() * 1000.0, result));
            }
            results
        });
    }
    let results = crowd.join_all().await.into_iter().flatten();
    let elapsed = began.elapsed();
    let mut driven = Driven {
        elapsed,
        latencies_ms: Vec::new(),
        done: Vec::new(),
        failed: 0,
        errors: Vec::new(),
        left: std::mem::take(&mut *jobs.lock().unwrap_or_else(PoisonError::into_inner)),
    };
    for (latency_ms, result) in results {
        match result {
            Ok(done) => {
                driven.latencies_ms.push(latency_ms);
                driven.done.push(done);
            }
            Err(error) => {
                driven.failed += 1;
                if driven.errors.len() < ERRORS_MAX {
                    driven.errors.push(format!("{error:#}"));
                }
            }
        }
    }
    driven
}

/// A shop's address, and how to talk to it.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) http: Client,
    pub(crate) api_url: String,
}

/// Somebody with a full cart.
#[derive(Debug)]
pub(crate) struct Customer {
    token: String,
}

impl Door {
    /// A new guest puts one piece into the cart.
    pub(crate) async fn enter(&self, sku: &str) -> anyhow::Result<Customer> {
        let answer = self.http.post(format!("{}/v1/sessions", self.api_url)).send().await?;
        let (status, body) = read(answer).await?;
        let token = body["token"]
            .as_str()
            .with_context(|| format!("no session: {status} {body}"))?
            .to_owned();
        let item = json!({ "sku": sku, "quantity": 1 });
        let request = self
            .http
            .post(format!("{}/v1/cart/items", self.api_url))
            .bearer_auth(&token)
            .json(&item);
        let (status, body) = read(request.send().await?).await?;
        if status != StatusCode::OK {
            bail!("nothing in the cart: {status} {body}");
        }
        Ok(Customer { token })
    }

    /// The whole checkout in one request, to its end.
    pub(crate) async fn buy(&self, customer: Customer) -> anyhow::Result<CheckoutId> {
        let (status, body) = self.check_out(&customer).await?;
        if status != StatusCode::CREATED || body["state"] != "completed" {
            bail!("not sold: {status} {body}");
        }
        let id = body["id"].as_str().context("a checkout without an id")?;
        id.parse().ok().with_context(|| format!("{id} is no checkout's id"))
    }

    /// The same, whatever comes of it: the status, and the problem's code.
    pub(crate) async fn attempt(
        &self,
        customer: &Customer,
    ) -> anyhow::Result<(StatusCode, String)> {
        let (status, body) = self.check_out(customer).await?;
        Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
    }

    async fn check_out(&self, customer: &Customer) -> anyhow::Result<(StatusCode, Value)> {
        let body = json!({
            "email": "ada@example.com",
            "payment": { "method": "pm_card_visa" },
            "shipping_address": {
                "name": "Ada Example", "line1": "1 Test Lane", "city": "Berlin", "postal_code": "10115", "country": "DE",
            },
        });
        let request = self
            .http
            .post(format!("{}/v1/checkouts", self.api_url))
            .bearer_auth(&customer.token)
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .header("Prefer", "wait=20")
            .json(&body);
        read(request.send().await?).await
    }
}

async fn read(answer: reqwest::Response) -> anyhow::Result<(StatusCode, Value)> {
    let status = answer.status();
    let text = answer.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_job_is_done_once_and_failures_are_counted_apart() {
        let jobs: VecDeque<u32> = (0..100).collect();
        let driven = drive(jobs, 7, Duration::from_secs(60), |job| async move {
            anyhow::ensure!(job % 10 != 0, "job {job}");
            Ok(job)
        })
        .await;
        let mut done = driven.done;
        done.sort_unstable();
        assert_eq!(done, (0..100).filter(|job| job % 10 != 0).collect::<Vec<_>>());
        assert_eq!((driven.failed, driven.errors.len(), driven.left.len()), (10, ERRORS_MAX, 0));
    }

    #[tokio::test]
    async fn no_job_is_begun_once_the_time_is_up() {
        let driven: Driven<u32, u32> =
            drive((0..5).collect(), 2, Duration::ZERO, |job| async move { Ok(job) }).await;
        assert_eq!((driven.done.len(), driven.left.len()), (0, 5));
    }
}
