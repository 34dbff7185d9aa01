//! Fulfilment: what happens to an order after it is paid. Started from the outbox, once for each
//! order, under the order's id.
//!
//! The workflow opens the order's fulfilment and keeps it open until everything has arrived, so that
//! every paid order is visible as one running workflow until it is dealt with. Operators and carriers
//! tell it things by updates; its activities write them into the books, which are what counts, and it
//! keeps a small picture of them and watches the time. It is started to run its first task only when
//! the order should have been shipped, or when somebody tells it something: until then it costs a
//! row and no worker.

mod status;

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::OrderId;
use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    CancellableFuture as _, ContinueAsNewOptions, WaitConditionOptions, WorkflowCancellationToken,
    WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination, select,
};

use self::status::Alarm;
pub use self::status::{FulfilmentStatus, ShipmentNote};
use crate::{
    contract::{
        DATABASE,
        shipping::{
            AttentionInput, CallOffInput, CallOffOutcome, CarrierEventName, Fulfilment, ShipInput,
            ShipOutcome, ShipmentPlan, TrackInput, TrackOutcome,
        },
    },
    step::{self, Bug},
};

/// From here on fulfilments ship. A run that an older version began only waits, until it is told
/// something.
const SHIPS: &str = "fulfilment-ships";
/// The longest time that an order or a parcel may be given: ten years.
pub const WITHIN_MS_MAX: i64 = 10 * 365 * 24 * 3600 * 1000;
/// From here on what met a bug is tried again. A run that an older version began, and that met one, stays as
/// it is: people were told.
const RETRIES_BUGS: &str = "fulfilment-retries-bugs";
/// The first pause after a bug; those after it grow.
const BUG_PAUSE_MIN: Duration = Duration::from_secs(2);
/// A timer of no time at all would be an event for nothing.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// What fulfilment is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FulfilmentInput {
    /// Which order.
    pub order_id: OrderId,
    /// From when on the order waits to be shipped; from the first task on, if it is not said.
    #[serde(default)]
    pub opened_at: Option<DateTime<Utc>>,
    /// How long everything may take.
    #[serde(default)]
    pub timing: FulfilmentTiming,
    /// What the run before this one knew.
    #[serde(default)]
    pub status: FulfilmentStatus,
}

/// The bounds of a fulfilment. They are input, so that a running one keeps those it began with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FulfilmentTiming {
    /// How long an order may take to be shipped before people are told.
    pub ship_within_ms: u64,
    /// How long a parcel may take to arrive before people are told.
    pub deliver_within_ms: u64,
    /// How much one run is told before it continues as a new one, to keep its history short.
    pub events_per_run: u32,
}

impl Default for FulfilmentTiming {
    /// Three days to ship, two weeks to arrive.
    fn default() -> Self {
        Self {
            ship_within_ms: 3 * 24 * 3600 * 1000,
            deliver_within_ms: 14 * 24 * 3600 * 1000,
            events_per_run: 100,
        }
    }
}

/// Ships one paid order.
#[workflow]
pub struct FulfilmentWorkflow {
    input: FulfilmentInput,
    status: FulfilmentStatus,
    /// How much this run was told.
    told: u32,
    /// A cancellation was heard and came too late.
    too_late_to_cancel: bool,
    /// The last pause after a bug, since a step last succeeded.
    bug_pause: Option<Duration>,
}

#[workflow_methods]
impl FulfilmentWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: FulfilmentInput) -> Self {
        let status = input.status.clone();
        Self { input, status, told: 0, too_late_to_cancel: false, bug_pause: None }
    }

    /// Goes on until everything has arrived, or the order is called off before anything was sent.
    #[run(name = "fulfilment")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        Self::publish(ctx);
        if !ctx.patched(SHIPS) {
            ctx.wait_condition(|s| s.told > 0).await?;
        }
        let opened_at = ctx.state(|s| s.input.opened_at).unwrap_or_else(|| now(ctx));
        while !ctx.state(|s| s.status.finished()) {
            if ctx.cancellation_token().is_cancelled() && !ctx.state(|s| s.too_late_to_cancel) {
                if Self::call_off(ctx).await {
                    step::answer_everyone(ctx).await;
                    return Err(WorkflowTermination::cancelled());
                }
                continue;
            }
            let alarm = ctx.state(|s| s.status.next_alarm(opened_at, &s.input.timing));
            match alarm {
                Some(alarm) if alarm.at <= now(ctx) => Self::call_attention(ctx, alarm).await,
                alarm => {
                    if Self::told_enough(ctx) {
                        step::answer_everyone(ctx).await;
                        if !Self::interrupted(ctx) {
                            return Self::continue_as_new(ctx, opened_at);
                        }
                        continue;
                    }
                    Self::wait(ctx, alarm).await;
                }
            }
        }
        step::answer_everyone(ctx).await;
        Self::publish(ctx);
        Ok(())
    }

    /// Where the fulfilment stands.
    #[query(name = "status")]
    pub fn status(&self, _ctx: &WorkflowContextView) -> FulfilmentStatus {
        self.status.clone()
    }

    /// Makes a shipment; answers when it is in the books.
    #[update(name = "plan_shipment")]
    pub async fn plan_shipment(ctx: &mut WorkflowContext<Self>, plan: ShipmentPlan) -> ShipOutcome {
        let input = ShipInput { order_id: ctx.state(|s| s.input.order_id), plan };
        let shipped =
            step::until_done(ctx, || Fulfilment::ship, input, "make a shipment", DATABASE).await;
        let outcome = shipped.unwrap_or_else(|Bug(detail)| ShipOutcome::Broken { detail });
        let at = now(ctx);
        ctx.state_mut(|s| {
            s.told += 1;
            if let ShipOutcome::Shipped { parcel, order, .. } = &outcome {
                s.status.learn(parcel.clone(), *order, at);
            }
        });
        Self::publish(ctx);
        outcome
    }

    /// Hears of a carrier's event; answers when what it says is in the books.
    #[update(name = "carrier_event")]
    pub async fn carrier_event(
        ctx: &mut WorkflowContext<Self>,
        event: CarrierEventName,
    ) -> TrackOutcome {
        let input = TrackInput { order_id: ctx.state(|s| s.input.order_id), event };
        let tracked =
            step::until_done(ctx, || Fulfilment::track, input, "follow a parcel", DATABASE).await;
        let outcome = tracked.unwrap_or_else(|Bug(detail)| TrackOutcome::Broken { detail });
        let at = now(ctx);
        ctx.state_mut(|s| {
            s.told += 1;
            if let TrackOutcome::Tracked { parcel, order } = &outcome {
                s.status.learn(parcel.clone(), *order, at);
            }
        });
        Self::publish(ctx);
        outcome
    }
}

impl FulfilmentWorkflow {
    /// Ends the fulfilment if nothing has left the house; whether it did.
    async fn call_off(ctx: &WorkflowContext<Self>) -> bool {
        let input = CallOffInput { order_id: ctx.state(|s| s.input.order_id) };
        let outcome =
            step::until_done(ctx, || Fulfilment::call_off, input, "call it off", DATABASE).await;
        let at = now(ctx);
        let called_off = match outcome {
            Ok(CallOffOutcome::CalledOff) => {
                ctx.state_mut(Self::mended);
                true
            }
            Ok(CallOffOutcome::GoesOn { order, parcels }) => {
                ctx.state_mut(|s| {
                    s.mended();
                    s.too_late_to_cancel = true;
                    for parcel in parcels {
                        s.status.learn(parcel, order, at);
                    }
                });
                false
            }
            Err(bug) => {
                if !Self::await_mending(ctx, bug).await {
                    ctx.state_mut(|s| s.too_late_to_cancel = true);
                }
                false
            }
        };
        Self::publish(ctx);
        called_off
    }

    /// Puts what has not happened by its time before people's eyes.
    async fn call_attention(ctx: &WorkflowContext<Self>, alarm: Alarm) {
        let input = AttentionInput {
            order_id: ctx.state(|s| s.input.order_id),
            shipment_id: alarm.shipment,
        };
        let called =
            step::until_done(ctx, || Fulfilment::attention, input, "call for people", DATABASE)
                .await;
        let told = match called {
            Ok(()) => {
                ctx.state_mut(Self::mended);
                true
            }
            Err(bug) => !Self::await_mending(ctx, bug).await,
        };
        if told {
            ctx.state_mut(|s| s.status.told_of(alarm));
        }
        Self::publish(ctx);
    }

    /// Puts a bug before people's eyes, and waits before its step is tried again, less and less often, or
    /// as soon as there is news. `false` for a run that is to go on without it.
    async fn await_mending(ctx: &WorkflowContext<Self>, Bug(detail): Bug) -> bool {
        let (pause, told) = ctx.state_mut(|s| {
            s.status.trouble = Some(detail);
            let pause = s.bug_pause.map_or(BUG_PAUSE_MIN, step::longer);
            s.bug_pause = Some(pause);
            (pause, s.told)
        });
        if !ctx.patched(RETRIES_BUGS) {
            return false;
        }
        Self::publish(ctx);
        let mut news =
            ctx.wait_condition_with_options(move |s: &Self| s.told != told, step::detached());
        let mut pause = step::timer(ctx, pause, "until the step is tried again");
        select! {
            _ = news => pause.cancel(),
            _ = pause => {}
        }
        true
    }

    /// A step has succeeded, which one that met a bug may have been.
    fn mended(&mut self) {
        self.status.trouble = None;
        self.bug_pause = None;
    }

    /// Whether there is something to do that the next run would not know of.
    fn interrupted(ctx: &WorkflowContext<Self>) -> bool {
        let cancelled = ctx.cancellation_token().is_cancelled();
        ctx.state(|s| s.status.finished() || (cancelled && !s.too_late_to_cancel))
    }

    fn told_enough(ctx: &WorkflowContext<Self>) -> bool {
        ctx.state(|s| s.told >= s.input.timing.events_per_run.max(1))
            || ctx.continue_as_new_suggested()
    }

    fn continue_as_new(
        ctx: &WorkflowContext<Self>,
        opened_at: DateTime<Utc>,
    ) -> WorkflowResult<()> {
        let input = ctx.state(|s| FulfilmentInput {
            opened_at: Some(opened_at),
            status: s.status.clone(),
            ..s.input.clone()
        });
        ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
        Ok(())
    }

    /// Until somebody tells something, or calls it off, or the time of the alarm has come.
    async fn wait(ctx: &WorkflowContext<Self>, alarm: Option<Alarm>) {
        let (told, deaf) = ctx.state(|s| (s.told, s.too_late_to_cancel));
        let token = if deaf { WorkflowCancellationToken::new() } else { ctx.cancellation_token() };
        let options = WaitConditionOptions::builder().cancellation_token(token).build();
        // What ended it, a message or a cancellation, is seen from the state.
        let mut news = ctx.wait_condition_with_options(move |s| s.told != told, options);
        let Some(alarm) = alarm else {
            drop(news.await);
            return;
        };
        let pause = (alarm.at - now(ctx)).to_std().unwrap_or_default().max(PAUSE_MIN);
        let summary = match alarm.shipment {
            Some(id) => format!("{id} should have arrived by then"),
            None => "everything should be shipped by then".to_owned(),
        };
        let mut due = step::timer(ctx, pause, &summary);
        let told = select! {
            _ = news => true,
            _ = due => false,
        };
        if told {
            due.cancel();
        }
    }

    /// Shows the status to whoever watches the engine.
    fn publish(ctx: &WorkflowContext<Self>) {
        let (details, updates) = ctx.state(|s| {
            let previous = ctx.search_attributes();
            (s.status.to_markdown(&s.input), s.status.search_attributes(&previous))
        });
        ctx.set_current_details(details);
        if !updates.is_empty() {
            ctx.upsert_search_attributes(updates);
        }
    }
}

/// The time according to the workflow, the same when it is replayed.
fn now(ctx: &WorkflowContext<FulfilmentWorkflow>) -> DateTime<Utc> {
    ctx.workflow_time().expect("a task has a time").into()
}
