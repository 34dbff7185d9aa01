//! The payment part of a checkout: attempts, waiting for the customer, and the hold that runs out.

use std::time::Duration;

use domain::{
    Authorization, AuthorizeOutcome, CheckoutState, Money, PaymentMethod, Problem,
    payment::ATTEMPTS_MAX,
};
use temporalio_workflow::{CancellableFuture, TimerResult, WorkflowContext, select};

use super::{CheckoutInput, CheckoutWorkflow, Stop};
use crate::{
    contract::{AuthorizeInput, AuthorizeReply, PROVIDER, Payments},
    saga::{Saga, Undo},
    step,
};

/// The longest pause between two looks at whether the customer has confirmed with their bank.
const ACTION_POLL_MAX: Duration = Duration::from_secs(30);

/// The issuer said no, and why.
struct Declined(String);

impl CheckoutWorkflow {
    /// Tries payment methods until one is approved, the tries are used up, or the hold runs out.
    pub(super) async fn pay(
        ctx: &WorkflowContext<Self>,
        saga: &mut Saga,
        input: &CheckoutInput,
        total: Money,
    ) -> Result<Authorization, Stop> {
        loop {
            let method = Self::payment_method(ctx).await?;
            match Self::attempt(ctx, saga, input, total, method).await? {
                Ok(authorization) => return Ok(authorization),
                Err(Declined(decline_code)) => {
                    let attempts = ctx.state(|s| s.status.attempts);
                    if input.payment.is_some() || attempts >= ATTEMPTS_MAX {
                        return Err(Stop::Undo(Problem::PaymentDeclined { decline_code }));
                    }
                    ctx.state_mut(|s| s.status.declined(decline_code));
                }
            }
        }
    }

    /// The method to try next: the one given at the start, or one the customer submits while the
    /// stock is held.
    async fn payment_method(ctx: &WorkflowContext<Self>) -> Result<PaymentMethod, Stop> {
        Self::stop_if_cancelled(ctx)?;
        if let Some(method) = ctx.state_mut(|s| s.submitted.take()) {
            return Ok(method);
        }
        Self::enter(ctx, CheckoutState::AwaitingPayment);
        let mut hold = step::timer(ctx, Self::hold_left(ctx), "the hold on the stock runs out");
        let mut called = ctx.wait_condition(|s| s.submitted.is_some() || s.cancel_requested);
        let ran_out = select! {
            // Listed first, so that a payment which came with the last second is tried.
            _ = called => false,
            fired = hold => fired == TimerResult::Fired,
        };
        if ran_out {
            return Err(Stop::Undo(Problem::HoldExpired));
        }
        hold.cancel();
        Self::stop_if_cancelled(ctx)?;
        ctx.state_mut(|s| s.submitted.take()).ok_or(Stop::Undo(Problem::Cancelled))
    }

    /// One attempt, followed to its end; a 3-D Secure confirmation is part of it.
    async fn attempt(
        ctx: &WorkflowContext<Self>,
        saga: &mut Saga,
        input: &CheckoutInput,
        amount: Money,
        method: PaymentMethod,
    ) -> Result<Result<Authorization, Declined>, Stop> {
        let attempt = ctx.state_mut(|s| {
            s.status.attempts += 1;
            s.status.attempts
        });
        Self::enter(ctx, CheckoutState::Authorizing);
        saga.register(Undo::VoidPayment);
        let authorize = AuthorizeInput {
            checkout_id: input.checkout_id,
            attempt,
            amount,
            method,
            hold_at_least_ms: input.timing.payment_window_ms,
        };
        let mut poll_after = Duration::from_millis(input.timing.action_poll_ms);
        let summary = format!("authorize {amount}, attempt {attempt}");
        loop {
            // What has been told until here is seen by asking now; what is told meanwhile may not be.
            ctx.state_mut(|s| s.payment_changed = false);
            let AuthorizeReply { outcome, hold_expires_at } =
                step::run(ctx, || Payments::authorize, authorize.clone(), &summary, PROVIDER)
                    .await?;
            if let Some(expires_at) = hold_expires_at {
                ctx.state_mut(|s| s.status.held_until(expires_at));
            }
            let url = match outcome {
                AuthorizeOutcome::Approved(authorization) => return Ok(Ok(authorization)),
                AuthorizeOutcome::Declined { decline_code } => {
                    return Ok(Err(Declined(decline_code)));
                }
                AuthorizeOutcome::Closed | AuthorizeOutcome::HoldEnded => {
                    return Err(Stop::Undo(Problem::HoldExpired));
                }
                AuthorizeOutcome::ActionRequired { url } => url,
            };
            if ctx.state(|s| s.status.stage()) != CheckoutState::ActionRequired {
                ctx.state_mut(|s| s.status.redirect(url));
                Self::publish(ctx);
            }
            Self::await_customer(ctx, poll_after).await?;
            poll_after = (poll_after * 3 / 2).min(ACTION_POLL_MAX);
        }
    }

    /// Waits before looking again whether the customer has confirmed, at most until somebody says that
    /// there is something to see. At the hold's end there is a last look; after that the hold has run out.
    async fn await_customer(ctx: &WorkflowContext<Self>, poll_after: Duration) -> Result<(), Stop> {
        let left = Self::hold_left(ctx);
        if left.is_zero() {
            return Err(Stop::Undo(Problem::HoldExpired));
        }
        let mut pause = step::timer(ctx, poll_after.min(left), "until the bank is asked again");
        let mut called = ctx.wait_condition(|s| s.payment_changed || s.cancel_requested);
        select! {
            _ = called => pause.cancel(),
            _ = pause => {}
        }
        Self::stop_if_cancelled(ctx)
    }

    /// How much of the hold is left. The database's clock set its end, the engine's measures the rest.
    fn hold_left(ctx: &WorkflowContext<Self>) -> Duration {
        let now = ctx.workflow_time().expect("a workflow runs within a task, which has a time");
        ctx.state(|s| s.status.expires_at)
            .and_then(|expires_at| std::time::SystemTime::from(expires_at).duration_since(now).ok())
            .unwrap_or_default()
    }
}
