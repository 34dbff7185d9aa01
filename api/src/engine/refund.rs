//! Refunds, as the edge needs them of the engine: asked for once, and waited for a little.

use std::time::Duration;

use temporalio_client::{
    Client, WorkflowExecuteUpdateOptions, WorkflowHandle, WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy, WorkflowQueryOptions, WorkflowStartOptions,
    errors::{WorkflowStartError, WorkflowUpdateError},
};
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};
use tokio::time::timeout;
use workflows::{RefundInput, RefundStatus, RefundWorkflow, TASK_QUEUE};

use super::{CALL_TIMEOUT, Engine, QUERY_TIMEOUT, TASK_TIMEOUT, late, unavailable, within};
use crate::error::Error;

/// One name for the one answer that a request waits for, so that any number of them can wait together.
const AWAIT_WORD: &str = "await-word";

/// How asking for a refund went. It is durable now, whatever the word.
pub(crate) struct Asked {
    /// The first definite word, if it came in time.
    pub(crate) word: Option<RefundStatus>,
    /// It had been asked for before.
    pub(crate) replayed: bool,
}

type Handle = WorkflowHandle<Client, RefundWorkflow>;

impl Engine {
    /// Starts the refund unless it was started, and waits a little for the first definite word. One that
    /// was refused before it did anything may be started again.
    ///
    /// In one round trip the engine would answer for the refused run, instead of starting another.
    pub(crate) async fn refund(&self, input: RefundInput, wait: Duration) -> Result<Asked, Error> {
        let client = self.client()?;
        let id = input.refund_id.to_string();
        let started = timeout(CALL_TIMEOUT, start(client, input)).await;
        let started = started.map_err(|_| late("starting a refund"))??;
        let replayed = started.is_none();
        let handle = started.unwrap_or_else(|| client.get_workflow_handle(id));
        let options =
            WorkflowExecuteUpdateOptions::builder().update_id(AWAIT_WORD.to_owned()).build();
        let word = handle.execute_update(RefundWorkflow::await_word, (), options);
        let word = match timeout(wait, word).await {
            Ok(Ok(status)) => Some(status),
            // It was over before it could be told to answer, and still tells how it stands.
            Ok(Err(WorkflowUpdateError::NotFound(_) | WorkflowUpdateError::Failed(_))) => {
                status(&handle).await
            }
            // Nobody answers now; what it left in the database tells.
            Ok(Err(_)) | Err(_) => None,
        };
        Ok(Asked { word, replayed })
    }
}

async fn status(handle: &Handle) -> Option<RefundStatus> {
    let options = WorkflowQueryOptions::builder().rpc_options(within(QUERY_TIMEOUT)).build();
    let status = handle.query(RefundWorkflow::status, (), options);
    timeout(QUERY_TIMEOUT, status).await.ok()?.ok()
}

/// `None` if it was started before, and not refused.
async fn start(client: &Client, input: RefundInput) -> Result<Option<Handle>, Error> {
    let options = WorkflowStartOptions::new(TASK_QUEUE, input.refund_id.to_string())
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicateFailedOnly)
        .task_timeout(TASK_TIMEOUT)
        .search_attributes(search_attributes(&input))
        .static_summary(format!("refund for {}", input.order_id))
        .build();
    match client.start_workflow(RefundWorkflow::run, input, options).await {
        Ok(handle) => Ok(Some(WorkflowHandle::new(client.clone(), handle.info().clone()))),
        Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(None),
        Err(error) => Err(unavailable("starting a refund", error)),
    }
}

fn search_attributes(input: &RefundInput) -> SearchAttributes {
    let order = SearchAttributeKey::<String>::keyword("OrderId");
    let amount = SearchAttributeKey::<i64>::int("AmountMinor");
    let order = order.value_set(input.order_id.to_string());
    match input.amount {
        Some(money) => SearchAttributes::new([order, amount.value_set(money.minor())]),
        // How much is left is decided later.
        None => SearchAttributes::new([order]),
    }
}
