//! The workflow engine as the edge needs it: start a checkout, ask where it stands, tell it things.
//!
//! Every call has a deadline and a definite meaning: what is reported as under way is durable in the
//! engine, and what could not be handed over is an error that the client may retry.

mod reconcile;
mod refund;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use domain::{CheckoutId, CheckoutState, OrderId, PaymentMethod};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, GrpcCompression, RetryOptions,
    RpcOptions, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions, WorkflowExecutionStatus,
    WorkflowHandle, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowQueryOptions,
    WorkflowStartOptions, WorkflowStartUpdateOptions, WorkflowUpdateWithStartOptions,
    envconfig::LoadClientConfigProfileOptions,
    errors::{
        WorkflowInteractionError, WorkflowStartError, WorkflowUpdateError,
        WorkflowUpdateWithStartError,
    },
};
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};
use tokio::time::{sleep, timeout};
use tonic::Code;
use uuid::Uuid;
use workflows::{
    CheckoutInput, CheckoutStatus, CheckoutWorkflow, FulfilmentWorkflow, Resolution, TASK_QUEUE,
    contract::shipping::{CarrierEventName, ShipOutcome, ShipmentPlan, TrackOutcome},
};

use crate::error::Error;

/// How soon the engine gives a checkout's task to another worker when the one it was with is gone.
const TASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest a query may take: a worker that lives answers in milliseconds.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest a call may take that only looks something up, or hands something over.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon to look again for a fulfilment that is about to be started.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// One name for the one answer that starting a checkout waits for, so that any number of clients can
/// wait for it together.
const AWAIT_OUTCOME: &str = "await-outcome";
const CANCEL: &str = "cancel";
const STANDING: &str = "asking where a checkout stands";

/// How starting a checkout went.
pub(crate) enum Started {
    /// It is over, or waits for somebody.
    Answered(Box<CheckoutStatus>),
    /// Its run ended before it could be asked.
    Ended,
    /// It goes on, durably.
    Ongoing,
}

/// How telling a checkout something went.
pub(crate) enum Told {
    /// It was done, and this is how it stood then.
    Answered(Box<CheckoutStatus>),
    /// It was taken in, durably, and is being done.
    Ongoing,
    /// The checkout is in no state for it, or over.
    Refused,
}

/// What the engine knows of where a checkout stands.
pub(crate) enum Standing {
    /// There is no such workflow.
    Unknown,
    /// It runs. The state that it last published, which is not every one: those in which it waits for
    /// somebody.
    UnderWay(Option<CheckoutState>),
    /// It has closed, and this was its last word.
    Over(Box<CheckoutStatus>),
}

/// A connection to the engine that may come up after the process does.
#[derive(Clone)]
pub(crate) struct Engine {
    client: Arc<OnceLock<Client>>,
}

type Handle = WorkflowHandle<Client, CheckoutWorkflow>;

impl Engine {
    /// Reads the engine's own settings, and goes on connecting in the background.
    pub(crate) fn connect() -> anyhow::Result<Self> {
        let (mut connection, client) =
            ClientOptions::load_from_config(LoadClientConfigProfileOptions::default())
                .map_err(|error| anyhow::anyhow!("reading Temporal's settings: {error}"))?;
        connection.grpc_compression = GrpcCompression::None;
        connection.connect_timeout = Some(CONNECT_TIMEOUT);
        let engine = Self { client: Arc::new(OnceLock::new()) };
        tokio::spawn(keep_connecting(Arc::clone(&engine.client), connection, client));
        Ok(engine)
    }

    fn client(&self) -> Result<&Client, Error> {
        self.client
            .get()
            .ok_or_else(|| Error::Unavailable(anyhow::anyhow!("temporal was never reached yet")))
    }

    fn handle(&self, checkout_id: CheckoutId) -> Result<Handle, Error> {
        Ok(self.client()?.get_workflow_handle(checkout_id.to_string()))
    }

    /// Whether the engine answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        match describe(&self.handle(CheckoutId::from(Uuid::nil()))?).await {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(error) => Err(unavailable("asking whether temporal is there", error)),
        }
    }

    /// Starts the checkout unless it runs already, and waits a little for its outcome. A checkout
    /// that was refused before it did anything may be started again; a finished one may not.
    pub(crate) async fn start(
        &self,
        input: CheckoutInput,
        asked_before: bool,
        wait: Duration,
    ) -> Result<Started, Error> {
        let client = self.client()?;
        if wait.is_zero() {
            let started = timeout(CALL_TIMEOUT, start_only(client, input));
            return started
                .await
                .map_err(|_| late("starting a checkout"))?
                .map(|_| Started::Ongoing);
        }
        if asked_before {
            return start_again(client, input, wait).await;
        }
        let id = input.checkout_id;
        match timeout(wait, start_first(client, input)).await {
            Ok(Ok(started)) => Ok(started),
            // No answer to rely on, as when the worker died: what was started goes on.
            Ok(Err(_)) | Err(_) => match describe(&self.handle(id)?).await {
                Ok(()) => Ok(Started::Ongoing),
                Err(error) => Err(unavailable("starting a checkout", error)),
            },
        }
    }

    /// What the engine knows of where the checkout stands.
    ///
    /// It tells this by itself while the workflow runs. A query of the workflow would not do then: a worker
    /// answers one with all events that there are by then, and what it keeps of the workflow has then run
    /// ahead of the task that brings them.
    pub(crate) async fn standing(&self, checkout_id: CheckoutId) -> Result<Standing, Error> {
        let asked = async {
            let handle = self.handle(checkout_id)?;
            let options =
                WorkflowDescribeOptions::builder().rpc_options(within(CALL_TIMEOUT)).build();
            let described = match handle.describe(options).await {
                Ok(described) => described,
                Err(WorkflowInteractionError::NotFound(_)) => return Ok(Standing::Unknown),
                Err(error) => return Err(unavailable(STANDING, error)),
            };
            if described.status() == WorkflowExecutionStatus::Running {
                let state = described.search_attributes().get(&CheckoutStatus::STATE);
                return Ok(Standing::UnderWay(state.and_then(|name| CheckoutState::parse(&name))));
            }
            // This run and no later one.
            let mut run = handle.info().clone();
            run.run_id = Some(described.run_id().to_owned());
            let run = Handle::new(self.client()?.clone(), run);
            let options =
                WorkflowQueryOptions::builder().rpc_options(within(QUERY_TIMEOUT)).build();
            let status = run.query(CheckoutWorkflow::status, (), options).await;
            status
                .map(|status| Standing::Over(Box::new(status)))
                .map_err(|error| unavailable(STANDING, error))
        };
        timeout(CALL_TIMEOUT, asked).await.map_err(|_| late(STANDING))?
    }

    /// Hands a payment method to the checkout, and waits a little for what comes of it.
    pub(crate) async fn submit_payment(
        &self,
        checkout_id: CheckoutId,
        method: PaymentMethod,
        idempotency_key: Option<&str>,
        wait: Duration,
    ) -> Result<Told, Error> {
        let handle = self.handle(checkout_id)?;
        let options = WorkflowStartUpdateOptions::builder()
            .maybe_update_id(idempotency_key.map(payment_update))
            .rpc_options(within(wait.max(CALL_TIMEOUT)))
            .build();
        let send = || {
            handle.start_update(CheckoutWorkflow::submit_payment, method.clone(), options.clone())
        };
        told(send, wait).await
    }

    /// What a checkout that is over had answered to a payment method under that key; refused, if it was
    /// never handed one.
    pub(crate) async fn told_to_pay(
        &self,
        checkout_id: CheckoutId,
        idempotency_key: &str,
    ) -> Result<Told, Error> {
        const ASKING: &str = "asking what a checkout was told";
        let handle = self.handle(checkout_id)?;
        let update = CheckoutWorkflow::submit_payment;
        let told = handle.get_update_handle(update, payment_update(idempotency_key));
        match timeout(CALL_TIMEOUT, told.get_result(within(CALL_TIMEOUT))).await {
            Ok(Ok(status)) => Ok(Told::Answered(Box::new(status))),
            Ok(Err(WorkflowUpdateError::NotFound(_) | WorkflowUpdateError::Failed(_))) => {
                Ok(Told::Refused)
            }
            Ok(Err(error)) => Err(unavailable(ASKING, error)),
            Err(_) => Err(late(ASKING)),
        }
    }

    /// Calls the checkout off, and waits a little until it is undone.
    pub(crate) async fn cancel(
        &self,
        checkout_id: CheckoutId,
        wait: Duration,
    ) -> Result<Told, Error> {
        let handle = self.handle(checkout_id)?;
        let options = WorkflowStartUpdateOptions::builder()
            .update_id(CANCEL.to_owned())
            .rpc_options(within(wait.max(CALL_TIMEOUT)))
            .build();
        told(|| handle.start_update(CheckoutWorkflow::cancel, (), options.clone()), wait).await
    }

    /// Tells a checkout that needs attention what an operator has decided.
    pub(crate) async fn resolve(
        &self,
        checkout_id: CheckoutId,
        resolution: Resolution,
    ) -> Result<Told, Error> {
        let handle = self.handle(checkout_id)?;
        let options =
            WorkflowStartUpdateOptions::builder().rpc_options(within(CALL_TIMEOUT)).build();
        let send = || handle.start_update(CheckoutWorkflow::resolve, resolution, options.clone());
        told(send, CALL_TIMEOUT).await
    }

    /// Has the order's fulfilment make a shipment. One that is not there yet is about to be started.
    pub(crate) async fn plan_shipment(
        &self,
        order_id: OrderId,
        plan: ShipmentPlan,
    ) -> Result<ShipOutcome, Error> {
        let handle = self.fulfilment(order_id)?;
        let planned = async {
            loop {
                let update = FulfilmentWorkflow::plan_shipment;
                match handle.execute_update(update, plan.clone(), briefly()).await {
                    Err(WorkflowUpdateError::NotFound(_)) => sleep(LOOK_PAUSE).await,
                    answered => break answered,
                }
            }
        };
        timeout(CALL_TIMEOUT, planned)
            .await
            .map_err(|_| late("telling a fulfilment to ship"))?
            .map_err(|error| unavailable("telling a fulfilment to ship", error))
    }

    /// Tells the order's fulfilment of an event that is in the books.
    pub(crate) async fn carrier_event(
        &self,
        order_id: OrderId,
        event: CarrierEventName,
    ) -> Result<(), Error> {
        let handle = self.fulfilment(order_id)?;
        let told = handle.execute_update(FulfilmentWorkflow::carrier_event, event, briefly());
        match timeout(CALL_TIMEOUT, told).await {
            Ok(Ok(TrackOutcome::Tracked { .. } | TrackOutcome::NotOurs)) => Ok(()),
            Ok(Ok(TrackOutcome::Broken { detail })) => {
                Err(Error::Internal(anyhow::anyhow!(detail)))
            }
            Ok(Err(error)) => Err(unavailable("telling a fulfilment of an event", error)),
            Err(_) => Err(late("telling a fulfilment of an event")),
        }
    }

    fn fulfilment(
        &self,
        order_id: OrderId,
    ) -> Result<WorkflowHandle<Client, FulfilmentWorkflow>, Error> {
        Ok(self.client()?.get_workflow_handle(order_id.to_string()))
    }
}

/// The engine's name for a payment under a client's key.
fn payment_update(idempotency_key: &str) -> String {
    format!("payment:{idempotency_key}")
}

fn briefly() -> WorkflowExecuteUpdateOptions {
    WorkflowExecuteUpdateOptions::builder().rpc_options(within(CALL_TIMEOUT)).build()
}

async fn keep_connecting(
    slot: Arc<OnceLock<Client>>,
    connection: ConnectionOptions,
    options: ClientOptions,
) {
    let mut complained = false;
    loop {
        match Connection::connect(connection.clone()).await {
            Ok(connection) => {
                let client =
                    Client::new(connection, options).expect("a client without plugins cannot fail");
                // Nobody else fills it.
                drop(slot.set(client));
                tracing::info!("connected to temporal");
                return;
            }
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(%error, "temporal cannot be reached; going on trying");
            }
            Err(_) => {}
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Starts the checkout and waits for its outcome, in one round trip.
async fn start_first(client: &Client, input: CheckoutInput) -> Result<Started, Error> {
    let options = WorkflowUpdateWithStartOptions::new(
        TASK_QUEUE,
        input.checkout_id.to_string(),
        WorkflowIdConflictPolicy::UseExisting,
    )
    .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicateFailedOnly)
    .task_timeout(TASK_TIMEOUT)
    .search_attributes(search_attributes(&input))
    .static_summary(summary(&input))
    .update_id(AWAIT_OUTCOME)
    .build();
    let (run, await_outcome) = (CheckoutWorkflow::run, CheckoutWorkflow::await_outcome);
    match client.execute_update_with_start_workflow(run, input, await_outcome, (), options).await {
        Ok(status) => Ok(Started::Answered(Box::new(status))),
        Err(
            WorkflowUpdateWithStartError::Start(WorkflowStartError::AlreadyStarted { .. })
            | WorkflowUpdateWithStartError::Update(
                WorkflowUpdateError::NotFound(_) | WorkflowUpdateError::Failed(_),
            ),
        ) => Ok(Started::Ended),
        Err(error) => Err(unavailable("starting a checkout", error)),
    }
}

/// Finds the checkout's run, or starts another if the last was refused, and waits for its outcome. In one
/// round trip the engine would answer for the refused run, instead of starting another; and until the start
/// is known to have come to something, what is there may be that run.
async fn start_again(
    client: &Client,
    input: CheckoutInput,
    wait: Duration,
) -> Result<Started, Error> {
    let started = timeout(CALL_TIMEOUT, start_only(client, input)).await;
    let started = started.map_err(|_| late("starting a checkout"))??;
    let Some(handle) = started else { return Ok(Started::Ended) };
    let options =
        WorkflowExecuteUpdateOptions::builder().update_id(AWAIT_OUTCOME.to_owned()).build();
    let outcome = handle.execute_update(CheckoutWorkflow::await_outcome, (), options);
    match timeout(wait, outcome).await {
        Ok(Ok(status)) => Ok(Started::Answered(Box::new(status))),
        Ok(Err(WorkflowUpdateError::NotFound(_) | WorkflowUpdateError::Failed(_))) => {
            Ok(Started::Ended)
        }
        Ok(Err(error)) => Err(unavailable("waiting for a checkout", error)),
        Err(_) => Ok(Started::Ongoing),
    }
}

/// Starts the checkout without waiting for anything but the engine's word that it is durable. `None`
/// if it is over.
async fn start_only(client: &Client, input: CheckoutInput) -> Result<Option<Handle>, Error> {
    let options = WorkflowStartOptions::new(TASK_QUEUE, input.checkout_id.to_string())
        .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicateFailedOnly)
        .task_timeout(TASK_TIMEOUT)
        .search_attributes(search_attributes(&input))
        .static_summary(summary(&input))
        .build();
    match client.start_workflow(CheckoutWorkflow::run, input, options).await {
        Ok(handle) => Ok(Some(WorkflowHandle::new(client.clone(), handle.info().clone()))),
        Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(None),
        Err(error) => Err(unavailable("starting a checkout", error)),
    }
}

/// How often an update is sent in all, if its task is lost.
const TELLS_MAX: u32 = 4;

/// Sends an update and waits a little for what becomes of it. It is durable only once a worker has
/// accepted it, so one that was not accepted in time is an error, and one that was goes on without us.
/// One that came in while a task was under way which
/// the engine then threw away, such as for a signal that came with it, is lost with that task before the
/// workflow has seen it, and is sent again.
async fn told<F: Future<Output = Result<UpdateHandle, WorkflowUpdateError>>>(
    send: impl Fn() -> F,
    wait: Duration,
) -> Result<Told, Error> {
    let mut tells = 1;
    loop {
        match tell(send(), wait).await? {
            Ok(told) => return Ok(told),
            // The handlers themselves never fail: a failure is the validator's refusal, or the end of
            // the workflow before the update came to it.
            Err(WorkflowUpdateError::NotFound(_) | WorkflowUpdateError::Failed(_)) => {
                return Ok(Told::Refused);
            }
            Err(WorkflowUpdateError::Rpc(status))
                if status.code() == Code::FailedPrecondition && tells < TELLS_MAX =>
            {
                tells += 1;
                sleep(LOOK_PAUSE).await;
            }
            Err(error) => return Err(unavailable("telling a checkout something", error)),
        }
    }
}

async fn tell(
    accepted: impl Future<Output = Result<UpdateHandle, WorkflowUpdateError>>,
    wait: Duration,
) -> Result<Result<Told, WorkflowUpdateError>, Error> {
    let handle = match timeout(wait.max(CALL_TIMEOUT), accepted).await {
        Ok(Ok(handle)) => handle,
        Ok(Err(error)) => return Ok(Err(error)),
        Err(_) => return Err(late("telling a checkout something")),
    };
    Ok(match timeout(wait, handle.get_result(within(wait.max(CALL_TIMEOUT)))).await {
        Ok(Ok(status)) => Ok(Told::Answered(Box::new(status))),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Told::Ongoing),
    })
}

type UpdateHandle = temporalio_client::WorkflowUpdateHandle<Client, CheckoutStatus>;

async fn describe(handle: &Handle) -> Result<(), WorkflowInteractionError> {
    let options =
        WorkflowDescribeOptions::builder().rpc_options(within(Duration::from_secs(1))).build();
    handle.describe(options).await.map(drop)
}

fn unavailable(
    doing: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Unavailable(anyhow::Error::new(error).context(doing))
}

fn late(doing: &'static str) -> Error {
    Error::Unavailable(anyhow::anyhow!("temporal took too long").context(doing))
}

fn within(limit: Duration) -> RpcOptions {
    RpcOptions::builder().timeout(limit).retry_options(RetryOptions::no_retries()).build()
}

fn summary(input: &CheckoutInput) -> String {
    format!("checkout for {}", input.customer_id)
}

fn search_attributes(input: &CheckoutInput) -> SearchAttributes {
    let keyword = SearchAttributeKey::<String>::keyword;
    SearchAttributes::new([
        keyword("CheckoutState").value_set("validating".to_owned()),
        keyword("OrderId").value_set(input.checkout_id.order().to_string()),
        keyword("CustomerId").value_set(input.customer_id.to_string()),
    ])
}
