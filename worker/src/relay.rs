//! The relay: carries what the outbox announces to those it concerns. Today that is one reader: a
//! paid order begins its fulfilment, and one that is not to be shipped any more ends it.
//!
//! Every worker runs one; they share the rows by locks. An event that was carried but could not be
//! marked is carried again, which the workflow's id makes harmless.

use std::{future::Future, time::Duration};

use anyhow::Context as _;
use domain::OrderId;
use futures::future::join_all;
use sqlx::PgPool;
use store::outbox::{self, Event};
use temporalio_client::{Client, WorkflowCancelOptions, errors::WorkflowInteractionError};
use tokio::time::sleep;
use workflows::{FulfilmentInput, FulfilmentStatus, FulfilmentTiming, FulfilmentWorkflow};

use crate::engine::{self, Sleeper};

/// How many events are carried side by side.
pub(crate) const BATCH: u8 = 16;
/// How long to rest when there was less to do than that.
pub(crate) const REST: Duration = Duration::from_millis(250);
/// How long to rest when the database or the engine did not do as asked.
const REST_IN_TROUBLE: Duration = Duration::from_secs(2);

/// Goes on until it is dropped.
pub(crate) async fn run(pool: PgPool, client: Client, timing: FulfilmentTiming) {
    forever("the outbox", REST, || carry(&pool, &client, &timing)).await;
}

/// Carries batch after batch, resting for so long when there is less to do than that.
pub(crate) async fn forever<F: Future<Output = anyhow::Result<usize>>>(
    what: &str,
    rest: Duration,
    carry: impl Fn() -> F,
) {
    loop {
        match carry().await {
            Ok(carried) if carried == usize::from(BATCH) => {}
            Ok(_) => sleep(rest).await,
            Err(error) => {
                tracing::warn!("{what} waits: {error:#}");
                sleep(REST_IN_TROUBLE).await;
            }
        }
    }
}

/// Carries one batch in one transaction; how many there were. What could be carried is marked, though
/// another was not.
async fn carry(pool: &PgPool, client: &Client, timing: &FulfilmentTiming) -> anyhow::Result<usize> {
    let mut tx = pool.begin().await?;
    let events = outbox::claim(&mut tx, i64::from(BATCH)).await?;
    if events.is_empty() {
        return Ok(0);
    }
    let results = join_all(events.iter().map(|event| deliver(client, event, timing))).await;
    let mut carried = Vec::new();
    let mut trouble = Ok(events.len());
    for (event, result) in events.iter().zip(results) {
        match result {
            Ok(()) => carried.push(event.id),
            Err(error) => {
                trouble = Err(error.context(format!("{} of {}", event.topic, event.cause)));
            }
        }
    }
    outbox::mark_carried(&mut tx, &carried).await?;
    tx.commit().await?;
    trouble
}

async fn deliver(client: &Client, event: &Event, timing: &FulfilmentTiming) -> anyhow::Result<()> {
    match event.topic.as_str() {
        outbox::ORDER_PAID => begin_fulfilment(client, event, timing).await,
        outbox::ORDER_CALLED_OFF => end_fulfilment(client, event, timing).await,
        // Of no concern to anybody yet.
        _ => Ok(()),
    }
}

fn order(event: &Event) -> anyhow::Result<OrderId> {
    event.cause.parse().ok().context("the cause is no order's id")
}

async fn begin_fulfilment(
    client: &Client,
    event: &Event,
    timing: &FulfilmentTiming,
) -> anyhow::Result<()> {
    let order_id = order(event)?;
    let sleeper = Sleeper {
        id: order_id.to_string(),
        summary: format!("ship {order_id}"),
        details: format!("{order_id} is paid and waits to be shipped."),
        first_task_in: Duration::from_millis(timing.ship_within_ms),
    };
    let input = FulfilmentInput {
        order_id,
        opened_at: Some(event.created_at),
        timing: timing.clone(),
        status: FulfilmentStatus::default(),
    };
    engine::start_sleeping(client, FulfilmentWorkflow::run, &input, sleeper).await
}

/// The news that the order is paid may come after this: the fulfilment is there to be ended, so that
/// nothing can begin it later.
async fn end_fulfilment(
    client: &Client,
    event: &Event,
    timing: &FulfilmentTiming,
) -> anyhow::Result<()> {
    begin_fulfilment(client, event, timing).await?;
    let order_id = order(event)?;
    let handle = client.get_workflow_handle::<FulfilmentWorkflow>(order_id.to_string());
    match handle.cancel(WorkflowCancelOptions::default()).await {
        // One that has ended needs no word.
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
        Err(error) => {
            Err(error).context("a fulfilment cannot be told that its order is called off")
        }
    }
}
