//! Reaching Temporal, and making sure that what the workflows count on is there.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use temporalio_client::{
    Client, ClientOptions, Connection, GrpcCompression, NamespacedClient as _,
    envconfig::LoadClientConfigProfileOptions,
    grpc::{OperatorService as _, WorkflowService as _},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::IndexedValueType,
    operatorservice::v1::{AddSearchAttributesRequest, ListSearchAttributesRequest},
    workflowservice::v1::{DescribeNamespaceRequest, RegisterNamespaceRequest},
};
use tonic::{Code, IntoRequest as _};

/// How long a worker waits for Temporal to come up before it gives up.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);
/// How long a namespace made here keeps the histories of workflows that ended.
const RETENTION: Duration = Duration::from_hours(7 * 24);

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
