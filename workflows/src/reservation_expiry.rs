//! The sweeper: one workflow that gives back the holds that ran out.
//!
//! A checkout that waits for its customer has a timer of its own. This is the second leg, for holds
//! whose workflow was ended by hand or never got to its timer. Both may race freely: a reservation
//! resolves once, on the database's clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    ActivityOptions, ContinueAsNewOptions, RetryPolicy, TimerOptions, TimerResult, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::contract::{ExpireDueInput, Inventory};

/// There is one sweeper in a namespace, and this is its id.
pub const WORKFLOW_ID: &str = "reservation-expiry";
/// The most holds freed in one transaction.
const BATCH_MAX: u32 = 200;
/// How many sweeps one run makes before it continues as a new one, to keep its history short.
const SWEEPS_PER_RUN: u32 = 100;
/// Holds that run out within this of each other are freed together.
const SLEEP_MIN: Duration = Duration::from_secs(1);

/// What the sweeper is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReservationExpiryInput {
    /// The longest sleep: no hold may be shorter, or it would be found late.
    pub sleep_max_ms: u64,
}

/// Frees holds that ran out, for ever.
#[workflow]
pub struct ReservationExpiryWorkflow {
    input: ReservationExpiryInput,
}

#[workflow_methods]
impl ReservationExpiryWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: ReservationExpiryInput) -> Self {
        Self { input }
    }

    /// Sweeps, sleeps until the next hold runs out, and sweeps again.
    #[run(name = "reservation_expiry")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        let input = ctx.state(|s| s.input.clone());
        let sleep_max = Duration::from_millis(input.sleep_max_ms).max(SLEEP_MIN);
        for _ in 0..SWEEPS_PER_RUN {
            let sweep = ExpireDueInput { limit: BATCH_MAX };
            let outcome =
                ctx.execute_activity(Inventory::expire_due, sweep, sweep_options()).await?;
            if outcome.expired >= BATCH_MAX {
                continue;
            }
            let pause = outcome.next_due_in_ms.map_or(sleep_max, |due_ms| {
                Duration::from_millis(due_ms).clamp(SLEEP_MIN, sleep_max)
            });
            ctx.set_current_details(format!(
                "Last sweep: {} freed, {} with a payment in flight. Next in {} s at the latest.",
                outcome.expired,
                outcome.in_flight,
                pause.as_secs_f32().ceil()
            ));
            let summary = "until the next hold runs out".to_owned();
            let timer = ctx.timer(TimerOptions::builder(pause).summary(summary).build());
            if timer.await == TimerResult::Cancelled {
                return Err(WorkflowTermination::cancelled());
            }
        }
        ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
        Ok(())
    }
}

fn sweep_options() -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(60))
        .heartbeat_timeout(Duration::from_secs(5))
        .retry_policy(RetryPolicy::builder().maximum_interval(Duration::from_secs(10)).build())
        .summary("free holds that ran out")
        .build()
}
