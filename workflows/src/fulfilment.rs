//! Fulfilment: what happens to an order after it is paid. Started by the checkout, outliving it.
//!
//! The workflow opens the order's fulfilment and keeps it open, so that every paid order is visible
//! as one running workflow until it is dealt with.

use domain::OrderId;
use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{WorkflowContext, WorkflowContextView, WorkflowResult};

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
