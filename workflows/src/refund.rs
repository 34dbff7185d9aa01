//! A refund: money of a paid order on its way back, from the request until it is believed to have
//! arrived.
//!
//! Read [`RefundWorkflow::run`] for the story. The first step may refuse, having done nothing; after it
//! there is only forward. A refund that nobody can carry out now is tried for as long as it takes, in
//! plain sight; one that was made is looked at again, for weeks, since a bank may send it back.

mod status;

use std::time::Duration;

use domain::{Money, OrderId, RefundId, RefundPurpose, RefundState};
use serde::{Deserialize, Serialize};
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    CancellableFuture, ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext,
    WorkflowContextView, WorkflowResult, select,
};

pub use self::status::RefundStatus;
use crate::{
    contract::{
        DATABASE, PROVIDER, RefundOutcome, RefundReply, RefundRequest, Refunds, SettleRefundInput,
    },
    step::{self, Bug, Patient, detached},
};

/// From here on a refund that needs attention can be found by it.
const SHOWS_ATTENTION: &str = "refund-shows-attention";
/// How often one run looks at a refund before it continues as a new one, to keep its history short.
const LOOKS_PER_RUN: u32 = 40;
/// The longest pause between two looks.
const LOOK_PAUSE_MAX: Duration = Duration::from_hours(24);
/// How long a refund that succeeded is looked at for having come back.
const BELIEVED_AFTER: Duration = Duration::from_hours(30 * 24);
/// How long a refund may be pending before people are told.
pub const PENDING_MAX: Duration = Duration::from_hours(7 * 24);

/// What a refund is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefundInput {
    /// Which refund; the workflow's id.
    pub refund_id: RefundId,
    /// Of which order.
    pub order_id: OrderId,
    /// What for.
    pub purpose: RefundPurpose,
    /// How much; without, all that is left.
    pub amount: Option<Money>,
    /// Why, in one word.
    pub reason: String,
    /// Who asks.
    pub actor: String,
    /// What they call it.
    pub reference: String,
    /// How long everything may take.
    pub timing: RefundTiming,
    /// How far an earlier run came with looking.
    #[serde(default)]
    pub looking: Looking,
}

/// The durations of a refund, in milliseconds. They are input, so that a refund under way keeps the ones
/// it began with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefundTiming {
    /// How long a step may be retried before people are told.
    pub attention_after_ms: u64,
    /// How long to wait before first looking again at a refund that was made.
    pub look_after_ms: u64,
}

/// How long a refund has been looked at.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Looking {
    /// For how long, in all.
    pub waited_ms: u64,
    /// The last pause.
    pub pause_ms: u64,
}

impl Looking {
    /// The next pause, each twice the one before it.
    fn pause(&mut self, timing: &RefundTiming) -> Duration {
        let doubled = Duration::from_millis(self.pause_ms.saturating_mul(2));
        let pause = doubled.max(Duration::from_millis(timing.look_after_ms)).min(LOOK_PAUSE_MAX);
        self.pause_ms = millis(pause);
        self.waited_ms = self.waited_ms.saturating_add(self.pause_ms);
        pause
    }

    fn waited(self) -> Duration {
        Duration::from_millis(self.waited_ms)
    }
}

/// Gives money back once, and sees to it that it arrives.
#[workflow]
pub struct RefundWorkflow {
    input: RefundInput,
    status: RefundStatus,
    /// Somebody has heard something of it, and wants it looked at now.
    called: bool,
}

#[workflow_methods]
impl RefundWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: RefundInput) -> Self {
        Self { status: RefundStatus::new(), input, called: false }
    }

    /// Writes the refund down, makes it, and follows it.
    #[run(name = "refund")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<RefundStatus> {
        let input = ctx.state(|s| s.input.clone());
        Self::publish(ctx);
        match Self::persist(ctx, async |ctx| Self::request(ctx, &input).await).await {
            RefundReply::Taken { amount, state } => {
                ctx.state_mut(|s| s.status.taken(amount, state));
            }
            RefundReply::NotTaken { problem } => {
                let refused =
                    ApplicationFailure::builder(format!("not taken on: {}", problem.code()))
                        .type_name(problem.code().to_owned())
                        .non_retryable(true)
                        .build();
                ctx.state_mut(|s| s.status.not_taken(problem));
                Self::publish(ctx);
                step::answer_everyone(ctx).await;
                // A failed run may be started again under its id, which is right: it did nothing.
                return Err(refused.into());
            }
        }
        Self::publish(ctx);
        Self::settle(ctx, &input).await;
        Self::follow(ctx, input).await?;
        step::answer_everyone(ctx).await;
        Ok(ctx.state(|s| s.status.clone()))
    }

    /// How the refund stands.
    #[query(name = "status")]
    pub fn status(&self, _ctx: &WorkflowContextView) -> RefundStatus {
        self.status.clone()
    }

    /// Answers at the first definite word: what the provider says, why the refund is not taken on, or that
    /// it takes long.
    #[update(name = "await_word")]
    pub async fn await_word(ctx: &mut WorkflowContext<Self>) -> RefundStatus {
        ctx.wait_condition_with_options(|s| s.status.rests(), detached())
            .await
            .expect("a detached token is never cancelled");
        ctx.state(|s| s.status.clone())
    }

    /// Looks at the refund now, for somebody who has heard that it moved.
    #[signal(name = "look")]
    pub fn look(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.called = true;
    }
}

impl RefundWorkflow {
    async fn request(ctx: &WorkflowContext<Self>, input: &RefundInput) -> Result<RefundReply, Bug> {
        let request = RefundRequest {
            refund_id: input.refund_id,
            order_id: input.order_id,
            purpose: input.purpose,
            amount: input.amount,
            reason: input.reason.clone(),
            actor: input.actor.clone(),
            reference: input.reference.clone(),
        };
        step::run(ctx, || Refunds::request, request, "write the refund down", DATABASE).await
    }

    /// Makes the refund, or looks at the one that was made, and takes in the provider's word.
    async fn settle(ctx: &WorkflowContext<Self>, input: &RefundInput) {
        let RefundOutcome { state, code } = Self::persist(ctx, async |ctx| {
            let settle = SettleRefundInput { refund_id: input.refund_id };
            step::run(ctx, || Refunds::settle_refund, settle, "pay the money back", PROVIDER).await
        })
        .await;
        ctx.state_mut(|s| s.status.hear(state, code));
        Self::publish(ctx);
    }

    /// Looks at what was made, less and less often, until no word can be expected any more.
    async fn follow(ctx: &WorkflowContext<Self>, mut input: RefundInput) -> WorkflowResult<()> {
        for _ in 0..LOOKS_PER_RUN {
            let (state, called) = ctx.state(|s| (s.status.state, s.called));
            let waited = input.looking.waited();
            let believed = state == RefundState::Succeeded && waited >= BELIEVED_AFTER && !called;
            if !state.open() || believed {
                return Ok(());
            }
            if state == RefundState::Pending && waited >= PENDING_MAX {
                Self::call_attention(ctx, Some("the refund stays pending".to_owned()));
            }
            let before = input.looking;
            let pause = input.looking.pause(&input.timing);
            if Self::rest(ctx, pause).await {
                // A pause that was cut short counts for nothing.
                input.looking = before;
            }
            Self::settle(ctx, &input).await;
        }
        step::answer_everyone(ctx).await;
        ctx.continue_as_new(input, ContinueAsNewOptions::default())?;
        Ok(())
    }

    /// Waits, until the pause is over or somebody calls; whether somebody did.
    async fn rest(ctx: &WorkflowContext<Self>, pause: Duration) -> bool {
        let mut pause = step::timer(ctx, pause, "until the refund is looked at again");
        let mut called = ctx.wait_condition_with_options(|s| s.called, detached());
        let called = select! {
            _ = called => {
                pause.cancel();
                true
            }
            _ = pause => false,
        };
        ctx.state_mut(|s| s.called = false);
        called
    }

    /// Takes a step until it is done. Even a bug in it only calls for people: money that was promised is
    /// never forgotten.
    async fn persist<T>(
        ctx: &WorkflowContext<Self>,
        step: impl AsyncFn(&WorkflowContext<Self>) -> Result<T, Bug>,
    ) -> T {
        let mut pause = ctx.state(Self::attention_after);
        loop {
            match step(ctx).await {
                Ok(done) => return done,
                Err(Bug(detail)) => {
                    Self::call_attention(ctx, Some(detail));
                    step::timer(ctx, pause, "before the step is tried again").await;
                    pause = step::longer(pause);
                    Self::call_attention(ctx, None);
                }
            }
        }
    }

    fn publish(ctx: &WorkflowContext<Self>) {
        let (details, updates) = ctx.state(|s| {
            let previous = ctx.search_attributes();
            (s.status.to_markdown(&s.input), s.status.search_attributes(&previous))
        });
        ctx.set_current_details(details);
        let alarmed = ctx.state(|s| s.status.alarm(&ctx.search_attributes()));
        if let Some(alarmed) = alarmed.filter(|_| ctx.patched(SHOWS_ATTENTION)) {
            ctx.upsert_search_attributes(vec![alarmed]);
        }
        if !updates.is_empty() {
            ctx.upsert_search_attributes(updates);
        }
    }
}

impl Patient for RefundWorkflow {
    fn attention_after(&self) -> Duration {
        Duration::from_millis(self.input.timing.attention_after_ms)
    }

    fn call_attention(ctx: &WorkflowContext<Self>, about: Option<String>) {
        ctx.state_mut(|s| s.status.attention = about);
        Self::publish(ctx);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a pause is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_the_first_to_a_day() {
        let timing = RefundTiming { attention_after_ms: 1, look_after_ms: 2000 };
        let mut looking = Looking::default();
        let pauses: Vec<_> = (0..20).map(|_| looking.pause(&timing).as_secs()).collect();
        assert_eq!(pauses[..4], [2, 4, 8, 16]);
        assert_eq!(pauses[19], LOOK_PAUSE_MAX.as_secs());
        assert!(pauses.is_sorted());
        assert_eq!(looking.waited().as_secs(), pauses.iter().sum::<u64>());
    }
}
