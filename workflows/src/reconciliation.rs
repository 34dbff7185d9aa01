//! Reconciliation: the card provider's books held against ours, and ours against each other.
//!
//! Started by a schedule, one at a time. It goes through the provider's payments of the last days, page by
//! page, then through the stock that is held, then through the counters, and last through what should long
//! be over. What may safely be mended is; what may not becomes a case for people. A second one after it finds
//! nothing to do.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    ActivityOptions, ContinueAsNewOptions, RetryPolicy, WorkflowContext, WorkflowContextView,
    WorkflowResult,
};

use crate::contract::reconciling::{
    OverdueInput, PageInput, PageOutcome, Reconciliation, Tally, WholeInput,
};

/// The schedule's id, and what the ids of its runs begin with.
pub const SCHEDULE_ID: &str = "reconciliation";
/// From here on what should long be over is looked at, too.
const LOOKS_AT_PROMISES: &str = "reconciliation-looks-at-promises";
/// A page is a few payments, each of which may have to be looked at by itself, and what lay between them.
const STEP_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What a reconciliation is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconciliationInput {
    /// How far back it looks, in milliseconds.
    pub lookback_ms: u64,
    /// How long a checkout, or asking for a refund, may take before people are told, in milliseconds.
    pub overdue_after_ms: u64,
    /// How many pages one run goes through before it continues as a new one, to keep its history short.
    pub pages_per_run: u32,
    /// More new cases than this are no differences but a mistake, such as the key of another account.
    pub cases_max: u64,
    /// How far the run before this one came.
    pub progress: Option<Progress>,
}

impl ReconciliationInput {
    /// A reconciliation of so much of the past, from the beginning and with the usual limits.
    pub const fn of_the_last(lookback_ms: u64) -> Self {
        Self {
            lookback_ms,
            overdue_after_ms: 3 * 3600 * 1000,
            pages_per_run: 200,
            cases_max: 500,
            progress: None,
        }
    }
}

impl Default for ReconciliationInput {
    /// Eight days, longer than an authorization lives; and three hours, longer than a hold lasts with its
    /// customer at their bank.
    fn default() -> Self {
        Self::of_the_last(8 * 24 * 3600 * 1000)
    }
}

/// How far a reconciliation has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    /// The page that is next.
    pub page: PageInput,
    /// What was found so far.
    pub tally: Tally,
}

/// Compares books once.
#[workflow]
pub struct ReconciliationWorkflow {
    input: ReconciliationInput,
}

#[workflow_methods]
impl ReconciliationWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: ReconciliationInput) -> Self {
        Self { input }
    }

    /// Goes through everything once; what it came to.
    #[run(name = "reconciliation")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Tally> {
        let input = ctx.state(|s| s.input.clone());
        let begun = input.progress.clone();
        let Progress { mut page, mut tally } = begun.unwrap_or_else(|| Progress {
            page: first_page(ctx, input.lookback_ms),
            tally: Tally::default(),
        });
        for _ in 0..input.pages_per_run.max(1) {
            let compare = options("compare a page of payments");
            let outcome = ctx.execute_activity(Reconciliation::page, page.clone(), compare).await?;
            let PageOutcome { tally: found, next_after, compared_to_unix_s } = outcome;
            tally = tally.and(found);
            Self::publish(ctx, tally);
            stop_if_absurd(tally, input.cases_max)?;
            let Some(after) = next_after else {
                return Self::finish(ctx, tally, input.overdue_after_ms).await;
            };
            page = PageInput { after: Some(after), compared_to_unix_s, ..page };
        }
        let progress = Some(Progress { page, tally });
        let input = ReconciliationInput { progress, ..input };
        ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
        Ok(tally)
    }
}

impl ReconciliationWorkflow {
    /// What can be compared without the provider, once everything with it is.
    async fn finish(
        ctx: &WorkflowContext<Self>,
        tally: Tally,
        after_ms: u64,
    ) -> WorkflowResult<Tally> {
        let look = options("look for orphan holds");
        let held = ctx.execute_activity(Reconciliation::holds, WholeInput {}, look).await?;
        let count = options("compare counters with ledgers");
        let counted = ctx.execute_activity(Reconciliation::counters, WholeInput {}, count).await?;
        let mut tally = tally.and(held).and(counted);
        if ctx.patched(LOOKS_AT_PROMISES) {
            let look = options("look for what should long be over");
            let overdue = OverdueInput { after_ms };
            let overdue = ctx.execute_activity(Reconciliation::overdue, overdue, look).await?;
            tally = tally.and(overdue);
        }
        Self::publish(ctx, tally);
        Ok(tally)
    }

    /// Shows what was found to whoever watches the engine.
    fn publish(ctx: &WorkflowContext<Self>, tally: Tally) {
        let Tally { looked_at, under_way, mended, opened, left } = tally;
        ctx.set_current_details(format!(
            "{looked_at} looked at, {under_way} of them under way. {mended} differences mended, {opened} \
             cases opened, {left} left for the next time."
        ));
    }
}

fn first_page(ctx: &WorkflowContext<ReconciliationWorkflow>, lookback_ms: u64) -> PageInput {
    let now = ctx.workflow_time().expect("a task has a time");
    let now = now.duration_since(UNIX_EPOCH).expect("after 1970");
    let seconds = |time: Duration| i64::try_from(time.as_secs()).expect("a time of this age");
    let from = now.saturating_sub(Duration::from_millis(lookback_ms));
    // Into the future a little, for the provider's clock is another.
    let to_unix_s = seconds(now) + 60;
    PageInput { from_unix_s: seconds(from), to_unix_s, after: None, compared_to_unix_s: to_unix_s }
}

/// Ends a run whose findings cannot be meant, before it fills the list of cases.
fn stop_if_absurd(tally: Tally, cases_max: u64) -> WorkflowResult<()> {
    if tally.opened <= cases_max {
        return Ok(());
    }
    let failure = ApplicationFailure::builder(format!(
        "more than {cases_max} new cases: do the workers have the API key of the shop's own account, and \
         the shop's own database? Nothing else was compared"
    ));
    Err(failure.type_name("too_many_cases".to_owned()).non_retryable(true).build().into())
}

fn options(summary: &str) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(STEP_TIMEOUT)
        .heartbeat_timeout(Duration::from_secs(10))
        .retry_policy(RetryPolicy::builder().maximum_interval(Duration::from_secs(60)).build())
        .summary(summary)
        .build()
}
