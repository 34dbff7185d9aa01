//! Fulfilment: what happens to an order after it is paid. Started from the outbox, once for each
//! order, under the order's id.
//!
//! The workflow opens the order's fulfilment and keeps it open, so that every paid order is visible
//! as one running workflow until it is dealt with. It is started to run its first task only after
//! [`FIRST_LOOK`], or when somebody tells it something: until then it costs a row and no worker.

use std::time::Duration;

use domain::OrderId;
use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{WorkflowContext, WorkflowContextView, WorkflowResult};

/// How long a paid order may lie before its fulfilment looks at it unasked.
pub const FIRST_LOOK: Duration = Duration::from_hours(3 * 24);

/// What fulfilment is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FulfilmentInput {
    /// Which order.
    pub order_id: OrderId,
}

/// Ships one paid order.
#[workflow]
pub struct FulfilmentWorkflow {
    input: FulfilmentInput,
}

#[workflow_methods]
impl FulfilmentWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: FulfilmentInput) -> Self {
        Self { input }
    }

    /// Waits to be told, by cancellation, that the order needs no fulfilment any more.
    #[run(name = "fulfilment")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        let order_id = ctx.state(|s| s.input.order_id);
        ctx.set_current_details(format!("{order_id} is paid and waits to be shipped."));
        ctx.wait_condition(|_| false).await?;
        Ok(())
    }
}
