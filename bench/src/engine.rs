//! The bench's own client of the engine: starts bare workflows and looks at what histories weigh.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, GrpcCompression, NamespacedClient as _,
    RpcOptions, UntypedWorkflow, WorkflowDescribeOptions, WorkflowIdConflictPolicy,
    WorkflowUpdateWithStartOptions, grpc::WorkflowService as _,
};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowType, taskqueue::v1::TaskQueue,
    workflowservice::v1::StartWorkflowExecutionRequest,
};
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};
use tokio::time::{Instant, sleep, timeout};
use tonic::IntoRequest as _;

use crate::bare::{BareInput, BareWorkflow, SEQUEL, TASK_QUEUE};

/// As the API waits for a checkout that was started with `Prefer: wait=20`.
const WAIT: Duration = Duration::from_secs(20);
/// As the API sets it for a checkout.
const TASK_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// As long as a fulfilment sleeps.
const SLEEP: Duration = Duration::from_hours(3 * 24);

/// How long a history is.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Weight {
    pub(crate) events: usize,
    pub(crate) bytes: i64,
}

pub(crate) async fn connect(address: &str) -> anyhow::Result<Client> {
    let target =
        format!("http://{address}").parse::<url::Url>().context("no address of a Temporal")?;
    // Between neighbours, compressing costs more than the bytes it saves.
    let options = ConnectionOptions::new(target).grpc_compression(GrpcCompression::None).build();
    let connection = Connection::connect(options).await?;
    Ok(Client::new(connection, ClientOptions::new("default").build())?)
}

/// Starts a bare workflow as the API starts a checkout, and waits for its answer.
pub(crate) async fn run_bare(client: &Client, input: BareInput) -> anyhow::Result<()> {
    let keyword = SearchAttributeKey::<String>::keyword;
    let options = WorkflowUpdateWithStartOptions::new(
        TASK_QUEUE,
        input.id.clone(),
        WorkflowIdConflictPolicy::UseExisting,
    )
    .task_timeout(TASK_TIMEOUT)
    .search_attributes(SearchAttributes::new([
        keyword("CheckoutState").value_set("validating".to_owned()),
        keyword("OrderId").value_set(input.id.clone()),
        keyword("CustomerId").value_set(input.id.clone()),
    ]))
    .static_summary(format!("bare {}", input.id))
    .update_id("await-done")
    .rpc_options(RpcOptions::builder().timeout(WAIT).build())
    .build();
    let answer = client.execute_update_with_start_workflow(
        BareWorkflow::run,
        input,
        BareWorkflow::await_done,
        (),
        options,
    );
    timeout(WAIT, answer).await.context("a bare workflow did not answer in time")??;
    Ok(())
}

/// Starts the workflow that a bare one leaves behind, as the shop's relay starts a fulfilment.
pub(crate) async fn leave_sleeping(client: &Client, id: String) -> anyhow::Result<()> {
    let start = StartWorkflowExecutionRequest {
        namespace: client.namespace(),
        request_id: id.clone(),
        workflow_id: format!("{id}-sequel"),
        workflow_type: Some(WorkflowType { name: SEQUEL.to_owned() }),
        task_queue: Some(TaskQueue { name: TASK_QUEUE.to_owned(), ..Default::default() }),
        workflow_start_delay: Some(SLEEP.try_into()?),
        ..Default::default()
    };
    client.connection().clone().start_workflow_execution(start.into_request()).await?;
    Ok(())
}

/// The weight of a workflow that is about to close, once it has.
pub(crate) async fn weigh_closed(client: &Client, id: &str) -> anyhow::Result<Weight> {
    weigh(client, id, |running| !running).await
}

/// The weight of a workflow that sleeps.
pub(crate) async fn weigh_asleep(client: &Client, id: &str) -> anyhow::Result<Weight> {
    weigh(client, id, |running| running).await
}

async fn weigh(client: &Client, id: &str, ripe: impl Fn(bool) -> bool) -> anyhow::Result<Weight> {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(id.to_owned());
    let began = Instant::now();
    loop {
        let found = handle.describe(WorkflowDescribeOptions::default()).await?;
        let running = found.close_time().is_none();
        if ripe(running) {
            let info = found
                .raw()
                .workflow_execution_info
                .as_ref()
                .context("a description without its subject")?;
            return Ok(Weight { events: found.history_length(), bytes: info.history_size_bytes });
        }
        ensure!(began.elapsed() < LOOK_LIMIT, "the workflow {id} does not come to rest");
        sleep(LOOK_EVERY).await;
    }
}
