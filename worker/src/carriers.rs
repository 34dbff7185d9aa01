//! Tells orders' fulfilments what their carriers said. The events are in the books already, so whoever
//! took them in may be gone.
//!
//! Every worker does so; they share the events by locks. One that was told but could not be marked is
//! told again, which changes nothing. An event of a fulfilment that is over goes into the books without
//! it: a parcel may arrive late.

use std::time::Duration;

use domain::OrderId;
use futures::future::join_all;
use sqlx::PgPool;
use store::{
    carrier::{self, Waiting},
    shipment,
};
use temporalio_client::{
    Client, RetryOptions, RpcOptions, WorkflowExecuteUpdateOptions, errors::WorkflowUpdateError,
};
use tokio::time::{sleep, timeout};
use workflows::{
    FulfilmentWorkflow,
    contract::shipping::{CarrierEventName, TrackOutcome},
};

/// How many events are told side by side, and in one transaction.
const BATCH: u8 = 16;
/// How long to rest when there was less to do than that.
const REST: Duration = Duration::from_millis(250);
/// How long to rest when the database did not do as asked.
const REST_IN_TROUBLE: Duration = Duration::from_secs(2);
/// How long one fulfilment may take to take an event in.
const TELL_TIMEOUT: Duration = Duration::from_secs(8);
/// How long an event rests that could not be told.
const PAUSE_MS: i64 = 2000;

/// Goes on until it is dropped.
pub(crate) async fn run(pool: PgPool, client: Client) {
    loop {
        match tell(&pool, &client).await {
            Ok(told) if told == usize::from(BATCH) => {}
            Ok(_) => sleep(REST).await,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the carriers' events wait");
                sleep(REST_IN_TROUBLE).await;
            }
        }
    }
}

/// Tells one batch; how many there were. What could not be told does not keep others waiting.
async fn tell(pool: &PgPool, client: &Client) -> anyhow::Result<usize> {
    let mut tx = pool.begin().await?;
    let events = carrier::claim(&mut tx, i64::from(BATCH)).await?;
    if events.is_empty() {
        return Ok(0);
    }
    let results = join_all(events.iter().map(|event| deliver(pool, client, event))).await;
    let (mut told, mut untold) = (Vec::new(), Vec::new());
    for (event, result) in events.iter().zip(results) {
        match result {
            Ok(()) => told.push(event),
            Err(error) => {
                let Waiting { carrier, event_id, .. } = event;
                tracing::warn!(
                    error = format!("{error:#}"),
                    "event {event_id} of {carrier} could not be told; trying again"
                );
                untold.push(event);
            }
        }
    }
    carrier::mark_told(&mut tx, &told).await?;
    carrier::postpone(&mut tx, &untold, PAUSE_MS).await?;
    tx.commit().await?;
    Ok(events.len())
}

async fn deliver(pool: &PgPool, client: &Client, event: &Waiting) -> anyhow::Result<()> {
    // Of a parcel that nobody knows. Who makes it will find the event.
    let Some(order_id) = event.order_id else { return Ok(()) };
    let name =
        CarrierEventName { carrier: event.carrier.clone(), event_id: event.event_id.clone() };
    let rpc = RpcOptions::builder().timeout(TELL_TIMEOUT).retry_options(RetryOptions::no_retries());
    let options = WorkflowExecuteUpdateOptions::builder().rpc_options(rpc.build()).build();
    let handle = client.get_workflow_handle::<FulfilmentWorkflow>(order_id.to_string());
    let update = handle.execute_update(FulfilmentWorkflow::carrier_event, name, options);
    match timeout(TELL_TIMEOUT, update).await? {
        Ok(TrackOutcome::Tracked { .. } | TrackOutcome::NotOurs) => Ok(()),
        Ok(TrackOutcome::Broken { detail }) => Err(anyhow::anyhow!(detail)),
        Err(WorkflowUpdateError::NotFound(_)) => without_workflow(pool, order_id, event).await,
        Err(error) => Err(error.into()),
    }
}

/// The fulfilment is over, or was ended by hand.
async fn without_workflow(pool: &PgPool, order_id: OrderId, event: &Waiting) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    shipment::track(&mut tx, order_id, &event.carrier, &event.event_id).await?;
    Ok(tx.commit().await?)
}
