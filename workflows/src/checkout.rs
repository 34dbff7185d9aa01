//! The checkout: one attempt to buy one cart, from its first word to its last.
//!
//! Read [`CheckoutWorkflow::run`] and then `sell` in `sell.rs` for the story; what the steps do to the
//! world is in their activities. Capture is the point of no return: before it every failure is undone,
//! after it there is only forward.

mod pay;
mod sell;
mod status;

use std::time::Duration;

use domain::{Attempt, CheckoutId, CheckoutState, CustomerId, Money, PaymentMethod, Problem};
use serde::{Deserialize, Serialize};
use temporalio_common::error::ApplicationFailure;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_workflow::{
    SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use self::sell::Stop;
pub use self::status::{CheckoutStatus, NextAction};
use crate::{
    contract::{BegunAttempt, CloseInput, CloseOutcome, DATABASE, Payments},
    saga::Saga,
    step::{self, Bug, Patient, detached},
};

/// From here on each step that is stuck is told of until it is done.
const STUCK_STEP_BY_STEP: &str = "checkout-stuck-step-by-step";

/// What a checkout is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckoutInput {
    /// Which checkout; the workflow's id.
    pub checkout_id: CheckoutId,
    /// Who buys, and so whose cart.
    pub customer_id: CustomerId,
    /// What the customer agreed to pay; without it, today's prices apply.
    pub expected_total: Option<Money>,
    /// The payment method, if it is known at the start ("express"). Then a decline ends the checkout.
    pub payment: Option<PaymentMethod>,
    /// How long everything may take.
    pub timing: Timing,
}

/// The durations of a checkout, in milliseconds. They are input, so that a running checkout keeps
/// the ones it began with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timing {
    /// How long stock is held for a customer who has not paid.
    pub hold_ms: u64,
    /// How long a hold lasts at least once a payment attempt has begun.
    pub payment_window_ms: u64,
    /// How long a step may be retried before people are told.
    pub attention_after_ms: u64,
    /// How long to wait before first asking whether the customer has confirmed with their bank.
    pub action_poll_ms: u64,
}

impl Default for Timing {
    /// A hold of 15 minutes, five more for a payment under way, attention after one.
    fn default() -> Self {
        Self {
            hold_ms: 15 * 60 * 1000,
            payment_window_ms: 5 * 60 * 1000,
            attention_after_ms: 60 * 1000,
            action_poll_ms: 2000,
        }
    }
}

/// Word from outside that something has happened to an attempt at paying. What, is to be looked up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ChangedAttempt {
    /// Which attempt.
    pub attempt: Attempt,
}

/// What an operator decides about a checkout that needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// What does not finish is tried again now.
    Retry,
    /// It is undone, as if the customer had called it off. Not once the money may have been taken.
    GiveUp,
}

impl Resolution {
    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::GiveUp => "give_up",
        }
    }
}

/// One attempt to buy one cart.
#[workflow]
pub struct CheckoutWorkflow {
    input: CheckoutInput,
    status: CheckoutStatus,
    /// A payment method that was submitted and not yet tried.
    submitted: Option<PaymentMethod>,
    /// Something has happened to the attempt under way since the provider was last asked.
    payment_changed: bool,
    cancel_requested: bool,
    /// How often an operator has said what to do about what needs attention.
    resolutions: u32,
    /// An operator has said to undo it.
    given_up: bool,
    /// The steps that do not finish. Undos run side by side.
    stuck: Vec<String>,
}

#[workflow_methods]
impl CheckoutWorkflow {
    #[init]
    fn new(_ctx: &WorkflowContextView, input: CheckoutInput) -> Self {
        let submitted = input.payment.clone();
        Self {
            input,
            status: CheckoutStatus::new(),
            submitted,
            payment_changed: false,
            cancel_requested: false,
            resolutions: 0,
            given_up: false,
            stuck: Vec::new(),
        }
    }

    /// Sells the cart, or leaves everything as it was.
    #[run(name = "checkout")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<CheckoutStatus> {
        let mut saga = Saga::default();
        match Self::sell(ctx, &mut saga).await {
            // Settling has announced the sale, so its fulfilment begins without this workflow.
            Ok(()) => Self::enter(ctx, CheckoutState::Completed),
            Err(Stop::Refused(problem)) => {
                Self::end(ctx, problem.clone());
                step::answer_everyone(ctx).await;
                // A failed run may be started again under its id, which is right: it did nothing.
                return Err(refusal(&problem).into());
            }
            Err(Stop::Undo(problem)) => {
                let problem = if ctx.state(|s| s.given_up) { Problem::Cancelled } else { problem };
                while let Err(Bug(detail)) =
                    Self::turn_back(ctx, saga.clone(), problem.clone()).await
                {
                    // Parked in plain sight, until somebody has mended it: ending here would lose an undo.
                    Self::call_attention(ctx, Some(detail));
                    let resolved = Self::resolved_since(ctx.state(Self::resolutions));
                    ctx.wait_condition_with_options(resolved, detached()).await?;
                    Self::call_attention(ctx, None);
                }
            }
        }
        step::answer_everyone(ctx).await;
        let status = ctx.state(|s| s.status.clone());
        if ctx.cancellation_token().is_cancelled() && status.state() == CheckoutState::Cancelled {
            return Err(WorkflowTermination::cancelled());
        }
        Ok(status)
    }

    /// Where the checkout stands, for people with the engine's tools. The edge does not ask this of a running
    /// checkout: a query may carry it ahead of its history.
    #[query(name = "status")]
    pub fn status(&self, _ctx: &WorkflowContextView) -> CheckoutStatus {
        self.status.clone()
    }

    /// Answers when the checkout is over or waits for somebody.
    #[update(name = "await_outcome")]
    pub async fn await_outcome(ctx: &mut WorkflowContext<Self>) -> CheckoutStatus {
        Self::when(ctx, |s| s.status.rests()).await
    }

    /// Wakes a checkout that waits for its customer's bank. Word of any other attempt tells nothing: an
    /// earlier one is decided, and a later one begins by asking.
    #[signal(name = "payment_changed")]
    pub fn payment_changed(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        changed: ChangedAttempt,
    ) {
        if changed.attempt == self.status.attempts {
            self.payment_changed = true;
        }
    }

    /// Tries to pay; answers when that attempt is decided.
    #[update(name = "submit_payment")]
    pub async fn submit_payment(
        ctx: &mut WorkflowContext<Self>,
        method: PaymentMethod,
    ) -> CheckoutStatus {
        ctx.state_mut(|s| {
            s.submitted = Some(method);
            s.status.enter(CheckoutState::Authorizing);
        });
        // A cancellation that came with it leaves it untried.
        Self::when(ctx, |s| {
            s.status.state().finished() || (s.submitted.is_none() && s.status.rests())
        })
        .await
    }

    #[update_validator(submit_payment)]
    fn validate_submit_payment(
        &self,
        _ctx: &WorkflowContextView,
        _method: &PaymentMethod,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self.status.stage() {
            CheckoutState::AwaitingPayment if !self.cancel_requested => Ok(()),
            stage => Err(format!("a payment cannot be submitted while {}", stage.as_str()).into()),
        }
    }

    /// Calls the checkout off; answers when everything is undone.
    #[update(name = "cancel")]
    pub async fn cancel(ctx: &mut WorkflowContext<Self>) -> CheckoutStatus {
        ctx.state_mut(|s| s.cancel_requested = true);
        Self::when(ctx, |s| s.status.state().finished()).await
    }

    /// Does something about what needs attention, as an operator has decided.
    #[update(name = "resolve")]
    pub fn resolve(
        &mut self,
        _ctx: &mut SyncWorkflowContext<Self>,
        resolution: Resolution,
    ) -> CheckoutStatus {
        self.resolutions += 1;
        if resolution == Resolution::GiveUp {
            self.cancel_requested = true;
            self.given_up = true;
        }
        self.status.clone()
    }

    #[update_validator(resolve)]
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the macro calls it with a reference")]
    fn validate_resolve(
        &self,
        _ctx: &WorkflowContextView,
        resolution: &Resolution,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.status.attention.is_none() {
            return Err("nothing about it needs attention".into());
        }
        match (resolution, self.status.stage()) {
            (Resolution::Retry, _)
            | (
                Resolution::GiveUp,
                CheckoutState::Validating
                | CheckoutState::Reserving
                | CheckoutState::AwaitingPayment
                | CheckoutState::Authorizing
                | CheckoutState::ActionRequired
                | CheckoutState::Placing,
            ) => Ok(()),
            (
                Resolution::GiveUp,
                stage @ (CheckoutState::Capturing
                | CheckoutState::Completed
                | CheckoutState::Compensating
                | CheckoutState::Failed
                | CheckoutState::Cancelled
                | CheckoutState::Expired
                | CheckoutState::NeedsAttention),
            ) => Err(format!("a checkout cannot be given up while {}", stage.as_str()).into()),
        }
    }

    #[update_validator(cancel)]
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the macro calls it with a reference")]
    fn validate_cancel(
        &self,
        _ctx: &WorkflowContextView,
        _input: &(),
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self.status.stage() {
            stage @ (CheckoutState::Capturing
            | CheckoutState::Completed
            | CheckoutState::Compensating
            | CheckoutState::Failed
            | CheckoutState::Cancelled
            | CheckoutState::Expired) => {
                Err(format!("a checkout cannot be cancelled while {}", stage.as_str()).into())
            }
            CheckoutState::Validating
            | CheckoutState::Reserving
            | CheckoutState::AwaitingPayment
            | CheckoutState::Authorizing
            | CheckoutState::ActionRequired
            | CheckoutState::Placing
            | CheckoutState::NeedsAttention => Ok(()),
        }
    }
}

impl CheckoutWorkflow {
    /// Bars the sale from becoming final and undoes everything. A sale that turns out to be final, by a
    /// task that was lost, is brought to its end instead.
    async fn turn_back(
        ctx: &WorkflowContext<Self>,
        mut saga: Saga,
        problem: Problem,
    ) -> Result<(), Bug> {
        Self::enter(ctx, CheckoutState::Compensating);
        let input = ctx.state(|s| s.input.clone());
        // Stock that was refused is the one end before which nothing can have been taken.
        if !matches!(problem, Problem::OutOfStock { .. }) {
            saga.register_all();
            let close = CloseInput { checkout_id: input.checkout_id };
            match step::run(ctx, || Payments::close, close, "bar the sale", DATABASE).await? {
                CloseOutcome::Closed => {}
                CloseOutcome::Sold => {
                    // What is sold is never undone, so this only finishes it.
                    let _settled = Self::settle(ctx, &input).await;
                    Self::enter(ctx, CheckoutState::Completed);
                    return Ok(());
                }
            }
        }
        saga.compensate(ctx, input.checkout_id, &problem).await?;
        Self::end(ctx, problem);
        Ok(())
    }

    /// Takes an attempt up that an earlier run began and nobody told this one of, as when it was started over.
    fn go_on_with(&mut self, begun: Option<BegunAttempt>) {
        if let (None, Some(BegunAttempt { attempt, method })) = (&self.submitted, begun) {
            self.status.attempts = attempt.saturating_sub(1);
            self.submitted = Some(method);
        }
    }

    /// Whether an operator has said something since.
    fn resolved_since(before: u32) -> impl Fn(&Self) -> bool {
        move |s| s.resolutions > before
    }

    fn stop_if_cancelled(ctx: &WorkflowContext<Self>) -> Result<(), Stop> {
        if ctx.state(|s| s.cancel_requested) || ctx.cancellation_token().is_cancelled() {
            return Err(Stop::Undo(Problem::Cancelled));
        }
        Ok(())
    }

    /// Waits, cancelled or not, and answers with the status of that moment.
    async fn when(
        ctx: &WorkflowContext<Self>,
        condition: impl FnMut(&Self) -> bool,
    ) -> CheckoutStatus {
        ctx.wait_condition_with_options(condition, detached())
            .await
            .expect("a detached token is never cancelled");
        ctx.state(|s| s.status.clone())
    }

    fn enter(ctx: &WorkflowContext<Self>, stage: CheckoutState) {
        ctx.state_mut(|s| s.status.enter(stage));
        Self::publish(ctx);
    }

    fn end(ctx: &WorkflowContext<Self>, problem: Problem) {
        ctx.state_mut(|s| s.status.end(problem));
        Self::publish(ctx);
    }

    /// Shows the status to whoever watches the engine. An upsert is an event, so only the states an
    /// operator would filter by are written.
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

impl Patient for CheckoutWorkflow {
    fn attention_after(&self) -> Duration {
        Duration::from_millis(self.input.timing.attention_after_ms)
    }

    fn call_attention(ctx: &WorkflowContext<Self>, about: Option<String>) {
        ctx.state_mut(|s| s.status.attention(about));
        Self::publish(ctx);
    }

    fn stuck(ctx: &WorkflowContext<Self>, step: &str, is_stuck: bool) {
        ctx.state_mut(|s| {
            s.stuck.retain(|other| other != step);
            if is_stuck {
                s.stuck.push(step.to_owned());
            }
        });
        // An older version forgot of several all with the first that was done.
        if !is_stuck && !ctx.patched(STUCK_STEP_BY_STEP) {
            ctx.state_mut(|s| s.stuck.clear());
        }
        let about = ctx.state(|s| match &s.stuck[..] {
            [] => None,
            [step] => Some(format!("{step} does not finish")),
            several => Some(format!("{} do not finish", several.join(" and "))),
        });
        Self::call_attention(ctx, about);
    }

    fn resolutions(&self) -> u32 {
        self.resolutions
    }

    fn given_up(&self) -> bool {
        // Once it is being undone there is nothing to give up, and to try again means just that.
        self.given_up && self.status.stage() != CheckoutState::Compensating
    }
}

fn refusal(problem: &Problem) -> ApplicationFailure {
    ApplicationFailure::builder(format!("the checkout was refused: {}", problem.code()))
        .type_name(problem.code().to_owned())
        .details(problem.clone())
        .non_retryable(true)
        .build()
}
