//! One step of a workflow: quick when all is well, patient and visible when it is not.
//!
//! A step is first tried once as a local activity, which costs a history one event. Anything but a
//! definite answer moves it to a regular activity of the same name and input, which the engine
//! retries without end where an operator can see it pending. Steps are idempotent, so the second
//! path need not know how far the first one came. Both run detached from the workflow's
//! cancellation: a step that has begun is always followed to a definite outcome.

use std::time::Duration;

use temporalio_common::{
    ActivityDefinition, error::IncomingError,
    protos::temporal::api::failure::v1::failure::FailureInfo,
};
use temporalio_workflow::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, CancellableFuture,
    LocalActivityOptions, RetryPolicy, TimerOptions, TimerResult, WaitConditionOptions,
    WorkflowCancellationToken, WorkflowContext, select,
};

use crate::contract::StepLimits;

/// The first pause between two slow tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The longest pause between two tries of a step that met a bug.
const BUG_PAUSE_MAX: Duration = Duration::from_hours(1);

/// A step that can never succeed: its worker said so. What it said is for people to read.
#[derive(Debug)]
pub(crate) struct Bug(pub(crate) String);

/// A workflow that goes on with a step for as long as it takes, and puts one that takes long before
/// people's eyes.
pub(crate) trait Patient: Sized + 'static {
    /// How long a step may be retried before people are told.
    fn attention_after(&self) -> Duration;

    /// Puts a step that does not finish before people's eyes, or takes it away again.
    fn call_attention(ctx: &WorkflowContext<Self>, about: Option<String>);

    /// The same of a step that does not finish, or has now; others may be stuck beside it.
    fn stuck(ctx: &WorkflowContext<Self>, step: &str, is_stuck: bool) {
        Self::call_attention(ctx, is_stuck.then(|| format!("{step} does not finish")));
    }

    /// How often people have said what is to become of it; where they cannot, never.
    fn resolutions(&self) -> u32 {
        0
    }

    /// Whether they have said that it is to be undone.
    fn given_up(&self) -> bool {
        false
    }
}

/// The pause after the next bug in a row: twice the last one, so that what is not mended for weeks does not
/// outgrow its history.
pub(crate) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(BUG_PAUSE_MAX).max(pause)
}

/// Waiting that the workflow's cancellation does not end.
pub(crate) fn detached() -> WaitConditionOptions {
    WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
}

/// Lets every update handler of a workflow finish, so that no caller is left without an answer.
pub(crate) async fn answer_everyone<W: 'static>(ctx: &WorkflowContext<W>) {
    let handlers = ctx.clone();
    ctx.wait_condition_with_options(move |_| handlers.all_handlers_finished(), detached())
        .await
        .expect("a detached token is never cancelled");
}

/// Runs a step to its definite outcome. `activity` makes the marker, which cannot be cloned.
pub(crate) async fn run<W, AD>(
    ctx: &WorkflowContext<W>,
    activity: impl Fn() -> AD,
    input: AD::Input,
    summary: &str,
    limits: StepLimits,
) -> Result<AD::Output, Bug>
where
    W: Patient,
    AD: ActivityDefinition,
    AD::Input: Clone,
{
    match quick(ctx, activity(), input.clone(), summary, limits).await? {
        Some(outcome) => Ok(outcome),
        None => patient(ctx, activity, input, summary, limits).await,
    }
}

/// The fast path: one short try. `None` means that nothing definite came of it.
pub(crate) async fn quick<W, AD: ActivityDefinition>(
    ctx: &WorkflowContext<W>,
    activity: AD,
    input: AD::Input,
    summary: &str,
    limits: StepLimits,
) -> Result<Option<AD::Output>, Bug> {
    match ctx.execute_local_activity(activity, input, fast(summary, limits)).await {
        Ok(outcome) => Ok(Some(outcome)),
        Err(error) => bug(&error).map_or(Ok(None), Err),
    }
}

/// Runs a step of any workflow to its definite outcome. Nobody is told how long it takes but by the
/// engine, which shows it pending.
pub(crate) async fn until_done<AD, W>(
    ctx: &WorkflowContext<W>,
    activity: impl Fn() -> AD,
    input: AD::Input,
    summary: &str,
    limits: StepLimits,
) -> Result<AD::Output, Bug>
where
    AD: ActivityDefinition,
    AD::Input: Clone,
{
    match quick(ctx, activity(), input.clone(), summary, limits).await? {
        Some(outcome) => Ok(outcome),
        None => ctx
            .execute_activity(activity(), input, slow(summary, limits))
            .await
            .map_err(|error| bug(&error).unwrap_or_else(|| Bug(error.to_string()))),
    }
}

/// The slow path: as many tries as it takes. A step still unfinished when its bound passes is put
/// before people's eyes, and goes on.
pub(crate) async fn patient<W, AD>(
    ctx: &WorkflowContext<W>,
    activity: impl Fn() -> AD,
    input: AD::Input,
    summary: &str,
    limits: StepLimits,
) -> Result<AD::Output, Bug>
where
    W: Patient,
    AD: ActivityDefinition,
    AD::Input: Clone,
{
    let begin = || ctx.execute_activity(activity(), input.clone(), slow(summary, limits));
    let name = activity().name().to_owned();
    let mut answer = begin();
    let attention_after = ctx.state(W::attention_after);
    let mut alarm = timer(ctx, attention_after, &format!("{name} should have answered by now"));
    let in_time = select! {
        answered = answer => Some(answered),
        _ = alarm => None,
    };
    if let Some(answered) = in_time {
        alarm.cancel();
        return answered.map_err(definite);
    }
    W::stuck(ctx, &name, true);
    let answered = loop {
        let before = ctx.state(W::resolutions);
        let mut resolved =
            ctx.wait_condition_with_options(move |s| s.resolutions() > before, detached());
        let answered = select! {
            answered = answer => Some(answered),
            _ = resolved => None,
        };
        if let Some(answered) = answered {
            break answered.map_err(definite);
        }
        // Its pause ends at once; a try that is on its way is awaited, and may still answer.
        answer.cancel();
        match answer.await {
            Ok(outcome) => break Ok(outcome),
            Err(error) => {
                if let Some(bug) = bug(&error) {
                    break Err(bug);
                }
            }
        }
        if ctx.state(W::given_up) {
            break Err(Bug(format!("{name} was given up")));
        }
        answer = begin();
    };
    W::stuck(ctx, &name, false);
    answered
}

/// What a slow step that ended without an answer comes to.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn definite(error: ActivityExecutionError) -> Bug {
    bug(&error).unwrap_or_else(|| Bug(error.to_string()))
}

/// A timer that the workflow's cancellation does not end: a cancelled timer is no expiry.
pub(crate) fn timer<'a, W>(
    ctx: &'a WorkflowContext<W>,
    duration: Duration,
    summary: &str,
) -> impl CancellableFuture<Output = TimerResult> + use<'a, W> {
    ctx.timer(
        TimerOptions::builder(duration)
            .cancellation_token(WorkflowCancellationToken::new())
            .summary(summary.to_owned())
            .build(),
    )
}

fn fast(summary: &str, limits: StepLimits) -> LocalActivityOptions {
    LocalActivityOptions::builder()
        .start_to_close_timeout(limits.fast_timeout)
        .schedule_to_close_timeout(limits.fast_timeout)
        .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
        .cancellation_token(WorkflowCancellationToken::new())
        .summary(summary.to_owned())
        .build()
}

fn slow(summary: &str, limits: StepLimits) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(limits.slow_timeout)
        .heartbeat_timeout(limits.heartbeat_timeout)
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .cancellation_token(WorkflowCancellationToken::new())
        .retry_policy(
            RetryPolicy::builder()
                .initial_interval(RETRY_INTERVAL)
                .maximum_interval(limits.retry_interval_max)
                .build(),
        )
        .summary(summary)
        .build()
}

/// The worker's word that trying again is pointless, if that is what the error is. A regular
/// activity's failure comes wrapped, a local one's bare.
fn bug(error: &ActivityExecutionError) -> Option<Bug> {
    if let ActivityExecutionError::Serialization(error) = error {
        return Some(Bug(error.to_string()));
    }
    let wrapped = error.cause().map(IncomingError::failure);
    wrapped.into_iter().chain(error.failure()).find_map(|failure| match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) if info.non_retryable => {
            Some(Bug(failure.message.clone()))
        }
        _ => None,
    })
}
