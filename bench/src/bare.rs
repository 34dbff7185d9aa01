//! The yardstick: a workflow with a checkout's shape and none of its work. The same number of steps
//! in the same kind, the same search attributes and upsert, and the same sleeping workflow left behind;
//! every step does nothing. What it costs is what the engine charges for a checkout before we do anything.
#![expect(
    clippy::unused_async,
    reason = "a step is async as a checkout's is, and has nothing to wait for"
)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_common::{ActivityDefinition, search_attributes::SearchAttributeKey};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    LocalActivityOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

/// What it leaves behind, as a sale leaves its fulfilment: asleep, so no worker needs to know it.
pub(crate) const SEQUEL: &str = "bare_sequel";
/// Apart from the shop's, so that no worker serves both.
pub(crate) const TASK_QUEUE: &str = "bench-bare";
/// Registered by the shop's workers, and of the type that a checkout upserts.
const STATE: SearchAttributeKey<String> = SearchAttributeKey::<String>::keyword("CheckoutState");
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// A checkout's steps, without anything in them.
pub(crate) struct Bare;

#[activities]
impl Bare {
    #[activity(name = "bare.open")]
    pub(crate) async fn open(_ctx: ActivityContext, _input: ()) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(name = "bare.reserve")]
    pub(crate) async fn reserve(_ctx: ActivityContext, _input: ()) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(name = "bare.authorize")]
    pub(crate) async fn authorize(_ctx: ActivityContext, _input: ()) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(name = "bare.place")]
    pub(crate) async fn place(_ctx: ActivityContext, _input: ()) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(name = "bare.capture")]
    pub(crate) async fn capture(_ctx: ActivityContext, _input: ()) -> Result<(), ActivityError> {
        Ok(())
    }

    #[activity(name = "bare.settle")]
    pub(crate) async fn settle(_ctx: ActivityContext, _input: ()) -> Result<(), ActivityError> {
        Ok(())
    }
}

/// What a bare workflow is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BareInput {
    /// Its own id.
    pub(crate) id: String,
}

/// A checkout's shape.
#[workflow]
pub(crate) struct BareWorkflow {
    done: bool,
}

#[workflow_methods]
impl BareWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, _input: BareInput) -> Self {
        Self { done: false }
    }

    #[run(name = "bare")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        Self::step(ctx, Bare::open).await?;
        Self::step(ctx, Bare::reserve).await?;
        Self::step(ctx, Bare::authorize).await?;
        Self::step(ctx, Bare::place).await?;
        Self::step(ctx, Bare::capture).await?;
        Self::step(ctx, Bare::settle).await?;
        ctx.state_mut(|s| s.done = true);
        ctx.upsert_search_attributes([STATE.value_set("completed".to_owned())]);
        let handlers = ctx.clone();
        ctx.wait_condition(move |_| handlers.all_handlers_finished()).await?;
        Ok(())
    }

    #[update(name = "await_done")]
    pub(crate) async fn await_done(ctx: &mut WorkflowContext<Self>) {
        ctx.wait_condition(|s| s.done).await.expect("nobody cancels it");
    }
}

impl BareWorkflow {
    async fn step<AD>(ctx: &WorkflowContext<Self>, activity: AD) -> WorkflowResult<()>
    where
        AD: ActivityDefinition<Input = (), Output = ()>,
    {
        let options = LocalActivityOptions::builder().start_to_close_timeout(STEP_TIMEOUT).build();
        ctx.execute_local_activity(activity, (), options).await?;
        Ok(())
    }
}
