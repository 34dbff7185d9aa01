//! The inbox's relay: sees to it that whatever is told from outside about a payment is looked at. A
//! checkout that waits for its customer's bank is woken, and looks; what comes for a payment that is over
//! is looked at here. Why it does no more than that is in decision 0013. What is about a refund is carried
//! in `refund`.
//!
//! Every worker runs one. An arrival is a worker's for a while and then due again, so one that died in
//! the middle is carried by another, and twice equals once.

mod refund;

use std::time::Duration;

use activities::{Payments, Refunds};
use anyhow::Context as _;
use domain::{Attempt, CheckoutId};
use futures::future::join_all;
use sqlx::PgPool;
use store::{
    inbox::{self, Waiting},
    payment::AttemptState,
};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowSignalOptions,
    errors::WorkflowInteractionError,
};
use workflows::{ChangedAttempt, CheckoutWorkflow};

use crate::relay::{self, BATCH, REST};

/// How long an arrival is one worker's. Longer than what is done about one ordinarily takes.
const LEASE: Duration = Duration::from_secs(60);
/// For how long an arrival is remembered after it was carried. The provider sends an event for three days
/// until it is taken, and people can have it sent again for a month; told after this, it is one more look.
const KEPT_FOR: Duration = Duration::from_hours(90 * 24);
/// How often a worker looks for what is to be forgotten.
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// How long an arrival is left that tells something only later.
const LATER: Duration = Duration::from_secs(1);
/// The same when the database, the engine or the provider did not do as asked.
const LATER_IN_TROUBLE: Duration = Duration::from_secs(5);

/// Goes on until it is dropped.
pub(crate) async fn run(pool: PgPool, client: Client, payments: Payments, refunds: Refunds) {
    tokio::join!(
        relay::forever("the inbox", REST, || carry(&pool, &client, &payments, &refunds)),
        relay::forever("the inbox's past", FORGET_EVERY, || forget(&pool)),
    );
}

/// Forgets one batch; how many there were.
async fn forget(pool: &PgPool) -> anyhow::Result<usize> {
    let mut conn = pool.acquire().await?;
    let forgotten = inbox::forget(&mut conn, milliseconds(KEPT_FOR), i64::from(BATCH)).await?;
    Ok(usize::try_from(forgotten)?)
}

/// Carries one batch; how many there were. One that cannot be carried keeps no other from it.
async fn carry(
    pool: &PgPool,
    client: &Client,
    payments: &Payments,
    refunds: &Refunds,
) -> anyhow::Result<usize> {
    let batch = {
        let mut conn = pool.acquire().await?;
        inbox::claim(&mut conn, i64::from(BATCH), milliseconds(LEASE)).await?
    };
    let deliveries = batch.iter().map(|arrival| async {
        match &arrival.refund {
            Some(refund) => refund::deliver(client, refunds, arrival, refund).await,
            None => deliver(client, payments, arrival).await,
        }
    });
    let results = join_all(deliveries).await;
    let mut conn = pool.acquire().await?;
    for (arrival, result) in batch.iter().zip(results) {
        let later = match result {
            Ok(Delivered::Done) => {
                inbox::mark_carried(&mut conn, arrival).await?;
                continue;
            }
            Ok(Delivered::NotYet) => LATER,
            Err(error) => {
                let Waiting { payment_id, event_id, kind, .. } = arrival;
                let error = format!("{error:#}");
                tracing::warn!(payment.id = %payment_id, error, "{kind} of {payment_id} waits: {event_id}");
                LATER_IN_TROUBLE
            }
        };
        inbox::postpone(&mut conn, arrival, milliseconds(later)).await?;
    }
    Ok(batch.len())
}

/// What is to be done about an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    /// The checkout waits for this.
    Wake(Attempt),
    /// The payment is over: nobody else will look.
    Look,
    /// The payment is closed and its checkout still turns back, which looks by itself, unless its
    /// workflow is gone.
    LookIfAbandoned,
    /// The step under way will know, and only then can it be said whether there is more to this.
    Wait,
    /// Our books have the last word on this already.
    Nothing,
}

/// Decides by our books alone. Whoever is in the middle of a step is left alone: it asks the provider
/// anyway, and a message in the middle of it would have the engine refuse what it has done so far.
fn todo(arrival: &Waiting) -> Todo {
    match (arrival.closed, arrival.finished) {
        (true, true) => return Todo::Look,
        (true, false) => return Todo::LookIfAbandoned,
        (false, true) => return Todo::Nothing,
        (false, false) => {}
    }
    match (arrival.attempt_state, arrival.attempt) {
        (Some(AttemptState::ActionRequired), Some(attempt)) => Todo::Wake(attempt),
        (Some(AttemptState::Started), _) => Todo::Wait,
        (
            Some(
                AttemptState::ActionRequired
                | AttemptState::Approved
                | AttemptState::Captured
                | AttemptState::Declined
                | AttemptState::Closed,
            )
            | None,
            _,
        ) => Todo::Nothing,
    }
}

enum Delivered {
    Done,
    NotYet,
}

async fn deliver(
    client: &Client,
    payments: &Payments,
    arrival: &Waiting,
) -> anyhow::Result<Delivered> {
    let checkout_id = arrival.payment_id.checkout();
    match todo(arrival) {
        Todo::Wake(attempt) => {
            if !wake(client, checkout_id, attempt, &arrival.event_id).await? {
                look(payments, arrival).await?;
            }
        }
        Todo::LookIfAbandoned => {
            if running(client, checkout_id).await? {
                return Ok(Delivered::NotYet);
            }
            look(payments, arrival).await?;
        }
        Todo::Look => look(payments, arrival).await?,
        Todo::Wait => return Ok(Delivered::NotYet),
        Todo::Nothing => tell_of_strays(arrival),
    }
    Ok(Delivered::Done)
}

/// Whether there is a checkout to wake.
async fn wake(
    client: &Client,
    checkout_id: CheckoutId,
    attempt: Attempt,
    event_id: &str,
) -> anyhow::Result<bool> {
    let handle = client.get_workflow_handle::<CheckoutWorkflow>(checkout_id.to_string());
    let options = WorkflowSignalOptions::builder().request_id(event_id.to_owned()).build();
    let changed = ChangedAttempt { attempt };
    match handle.signal(CheckoutWorkflow::payment_changed, changed, options).await {
        Ok(()) => Ok(true),
        Err(WorkflowInteractionError::NotFound(_)) => Ok(false),
        Err(error) => Err(error).context("the engine did not wake the checkout"),
    }
}

async fn running(client: &Client, checkout_id: CheckoutId) -> anyhow::Result<bool> {
    let handle = client.get_workflow_handle::<CheckoutWorkflow>(checkout_id.to_string());
    match handle.describe(WorkflowDescribeOptions::default()).await {
        Ok(described) => Ok(described.status() == WorkflowExecutionStatus::Running),
        Err(WorkflowInteractionError::NotFound(_)) => Ok(false),
        Err(error) => Err(error).context("the engine does not say whether the checkout runs"),
    }
}

/// Finds nothing to do while the payment is open: then its stock is held, and when that runs out the
/// sweeper asks the provider.
async fn look(payments: &Payments, arrival: &Waiting) -> anyhow::Result<()> {
    let Waiting { payment_id, provider_ref, tries, .. } = arrival;
    payments.return_late(*payment_id, provider_ref.as_deref(), *tries).await?;
    Ok(())
}

/// An open payment takes money by the intent that its attempt noted. Another that says it is for the
/// same attempt was not made by us, or was made and lost.
fn tell_of_strays(arrival: &Waiting) {
    if let (Some(told), Some(noted)) = (&arrival.provider_ref, &arrival.attempt_ref)
        && told != noted
    {
        let payment_id = arrival.payment_id;
        tracing::error!(payment.id = %payment_id, "{told} says it is for {payment_id}, which is paid by {noted}");
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("months at most")
}
