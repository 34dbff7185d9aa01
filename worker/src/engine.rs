//! Reaching Temporal, and making sure that what the workflows count on is there.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use temporalio_client::{
    Client, ClientOptions, Connection, GrpcCompression, NamespacedClient as _,
    envconfig::LoadClientConfigProfileOptions,
    grpc::{OperatorService as _, WorkflowService as _},
};
use temporalio_common::{
    WorkflowDefinition,
    protos::{
        coresdk::AsJsonPayloadExt as _,
        temporal::api::{
            common::v1::WorkflowType,
            enums::v1::{IndexedValueType, WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
            operatorservice::v1::{AddSearchAttributesRequest, ListSearchAttributesRequest},
            sdk::v1::UserMetadata,
            taskqueue::v1::TaskQueue,
            workflowservice::v1::{
                DescribeNamespaceRequest, RegisterNamespaceRequest, StartWorkflowExecutionRequest,
            },
        },
    },
};
use tonic::{Code, IntoRequest as _};

/// How long a worker waits for Temporal to come up before it gives up.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);
/// How long a namespace made here keeps the histories of workflows that ended.
const RETENTION: Duration = Duration::from_hours(7 * 24);

/// A workflow that is to sleep from its start.
pub(crate) struct Sleeper {
    pub(crate) id: String,
    /// Both are what the web UI shows of it before its first task.
    pub(crate) summary: String,
    pub(crate) details: String,
    /// Unless somebody wakes it with an update.
    pub(crate) first_task_in: Duration,
}

/// Starts a workflow whose first task is far off, once for its id, whatever became of it since. By
/// the engine's own call, since the SDK's knows no delay.
pub(crate) async fn start_sleeping<W>(
    client: &Client,
    workflow: W,
    input: &W::Input,
    sleeper: Sleeper,
) -> anyhow::Result<()>
where
    W: WorkflowDefinition<Input: serde::Serialize>,
{
    let start = StartWorkflowExecutionRequest {
        namespace: client.namespace(),
        request_id: sleeper.id.clone(),
        workflow_id: sleeper.id,
        workflow_type: Some(WorkflowType { name: workflow.name().to_owned() }),
        task_queue: Some(TaskQueue {
            name: workflows::TASK_QUEUE.to_owned(),
            ..Default::default()
        }),
        input: Some(input.as_json_payload()?.into()),
        workflow_id_reuse_policy: WorkflowIdReusePolicy::RejectDuplicate as i32,
        workflow_id_conflict_policy: WorkflowIdConflictPolicy::UseExisting as i32,
        workflow_start_delay: Some(sleeper.first_task_in.try_into()?),
        user_metadata: Some(UserMetadata {
            summary: Some(sleeper.summary.as_json_payload()?),
            details: Some(sleeper.details.as_json_payload()?),
        }),
        ..Default::default()
    };
    match client.connection().clone().start_workflow_execution(start.into_request()).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        Err(status) => Err(status).context("the engine did not start a workflow"),
    }
}

/// Connects by the SDK's own environment variables, waiting for a server that is still starting.
pub(crate) async fn connect() -> anyhow::Result<Client> {
    let (mut connection, client) =
        ClientOptions::load_from_config(LoadClientConfigProfileOptions::default()).map_err(
            |error| anyhow::anyhow!("TEMPORAL_ADDRESS and its fellows do not make sense: {error}"),
        )?;
    // Between neighbours, compressing costs more than the bytes it saves.
    connection.grpc_compression = GrpcCompression::None;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let connection = loop {
        match Connection::connect(connection.clone()).await {
            Ok(connection) => break connection,
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(error).with_context(|| {
                    format!(
                        "no Temporal at {}: start it, or set TEMPORAL_ADDRESS",
                        connection.target
                    )
                });
            }
            Err(error) => {
                tracing::info!(%error, "waiting for Temporal at {}", connection.target);
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    Ok(Client::new(connection, client)?)
}

/// Registers the namespace and the search attributes that are missing. An attribute that the server
/// does not know makes every workflow task that sets it fail, so a worker does not start without.
pub(crate) async fn ensure(client: &Client) -> anyhow::Result<()> {
    ensure_namespace(client).await?;
    ensure_search_attributes(client).await
}

async fn ensure_namespace(client: &Client) -> anyhow::Result<()> {
    let namespace = client.namespace();
    let describe = DescribeNamespaceRequest { namespace: namespace.clone(), ..Default::default() };
    match client.connection().clone().describe_namespace(describe.into_request()).await {
        Ok(_) => return Ok(()),
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(status).context("the namespace cannot be read"),
    }
    let register = RegisterNamespaceRequest {
        namespace: namespace.clone(),
        workflow_execution_retention_period: Some(RETENTION.try_into().expect("a week fits")),
        ..Default::default()
    };
    match client.connection().clone().register_namespace(register.into_request()).await {
        Ok(_) => tracing::info!("registered the Temporal namespace {namespace}"),
        Err(status) if status.code() == Code::AlreadyExists => {}
        Err(status) => {
            return Err(status).with_context(|| {
                format!("the namespace {namespace} does not exist and may not be made: register it")
            });
        }
    }
    Ok(())
}

async fn ensure_search_attributes(client: &Client) -> anyhow::Result<()> {
    let namespace = client.namespace();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match missing(client, &namespace).await {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) => add(client, &namespace, missing).await?,
            // A namespace that was just made is not known everywhere at once.
            Err(status)
                if status.code() == Code::NotFound && tokio::time::Instant::now() < deadline => {}
            Err(status) => return Err(status).context("the search attributes cannot be listed"),
        }
        tokio::time::sleep(PAUSE / 5).await;
    }
}

async fn missing(client: &Client, namespace: &str) -> Result<HashMap<String, i32>, tonic::Status> {
    let list = ListSearchAttributesRequest { namespace: namespace.to_owned() };
    let known = client
        .connection()
        .clone()
        .list_search_attributes(list.into_request())
        .await?
        .into_inner()
        .custom_attributes;
    Ok(workflows::SEARCH_ATTRIBUTES
        .iter()
        .filter(|(name, _)| !known.contains_key(*name))
        .map(|(name, kind)| ((*name).to_owned(), value_type(kind) as i32))
        .collect())
}

async fn add(
    client: &Client,
    namespace: &str,
    missing: HashMap<String, i32>,
) -> anyhow::Result<()> {
    let names: Vec<_> = missing.keys().cloned().collect();
    let add =
        AddSearchAttributesRequest { search_attributes: missing, namespace: namespace.to_owned() };
    match client.connection().clone().add_search_attributes(add.into_request()).await {
        Ok(_) => tracing::info!("registered the search attributes {}", names.join(", ")),
        // Another worker was quicker.
        Err(status) if status.code() == Code::AlreadyExists => {}
        Err(status) => {
            return Err(status).with_context(|| {
                format!("register these search attributes: {}", names.join(", "))
            });
        }
    }
    Ok(())
}

fn value_type(kind: &str) -> IndexedValueType {
    match kind {
        "Int" => IndexedValueType::Int,
        "Datetime" => IndexedValueType::Datetime,
        _ => IndexedValueType::Keyword,
    }
}
