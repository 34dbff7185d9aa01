//! The steps of a sale, in order: the quote, the hold, the money set aside, the order, the money taken, the
//! end. Paying, which may take several attempts, is in `pay.rs`.

use std::time::Duration;

use domain::{Authorization, CaptureOutcome, CheckoutState, Money, Problem};
use temporalio_workflow::{CancellableFuture, WorkflowContext, select};

use super::{CheckoutInput, CheckoutWorkflow};
use crate::{
    contract::{
        CaptureInput, DATABASE, Inventory, OpenInput, OpenOutcome, Orders, PROVIDER, Payments,
        PlaceInput, PlaceOutcome, ReserveInput, ReserveOutcome, SettleInput, Unsettled,
    },
    saga::{Saga, Undo},
    step::{self, Bug, Patient, detached},
};

/// Why `sell` did not sell.
pub(super) enum Stop {
    /// The first step refused, definitely, having done nothing.
    Refused(Problem),
    /// Something had begun, and is to be undone.
    Undo(Problem),
}

impl From<Bug> for Stop {
    fn from(Bug(detail): Bug) -> Self {
        Self::Undo(Problem::Internal { detail })
    }
}

impl CheckoutWorkflow {
    /// The story of a sale, step by step. Each undo is registered before its step.
    pub(super) async fn sell(ctx: &WorkflowContext<Self>, saga: &mut Saga) -> Result<(), Stop> {
        let input = ctx.state(|s| s.input.clone());
        let total = Self::open(ctx, saga, &input).await?;
        Self::stop_if_cancelled(ctx)?;
        Self::reserve(ctx, saga, &input).await?;
        let authorization = Self::pay(ctx, saga, &input, total).await?;
        Self::stop_if_cancelled(ctx)?;
        Self::place(ctx, &input, &authorization).await?;
        Self::stop_if_cancelled(ctx)?;
        Self::capture(ctx, &input, authorization).await?;
        match Self::settle(ctx, &input).await {
            None => Ok(()),
            // Called off by a task that was lost, and its word with it, when it had begun to undo this.
            Some(Unsettled::Undone) => Err(Stop::Undo(Problem::Cancelled)),
        }
    }

    async fn open(
        ctx: &WorkflowContext<Self>,
        saga: &mut Saga,
        input: &CheckoutInput,
    ) -> Result<Money, Stop> {
        saga.register(Undo::CancelOrder);
        let open = OpenInput {
            checkout_id: input.checkout_id,
            customer_id: input.customer_id,
            expected_total: input.expected_total,
        };
        match step::run(ctx, || Orders::open, open, "freeze the quote", DATABASE).await? {
            OpenOutcome::Opened { total, lines, begun } => {
                ctx.state_mut(|s| {
                    s.status.opened(total, lines);
                    s.go_on_with(begun);
                });
                Ok(total)
            }
            OpenOutcome::Refused { problem } => {
                saga.forget();
                Err(Stop::Refused(problem))
            }
        }
    }

    async fn reserve(
        ctx: &WorkflowContext<Self>,
        saga: &mut Saga,
        input: &CheckoutInput,
    ) -> Result<(), Stop> {
        Self::enter(ctx, CheckoutState::Reserving);
        saga.register(Undo::ReleaseStock);
        let reserve =
            ReserveInput { checkout_id: input.checkout_id, hold_ms: input.timing.hold_ms };
        match step::run(ctx, || Inventory::reserve, reserve, "hold the stock", DATABASE).await? {
            ReserveOutcome::Reserved { expires_at } => {
                ctx.state_mut(|s| s.status.held_until(expires_at));
                Ok(())
            }
            ReserveOutcome::SoldOut { lines } => Err(Stop::Undo(Problem::OutOfStock { lines })),
            ReserveOutcome::Ended => Err(Stop::Undo(Problem::HoldExpired)),
        }
    }

    async fn place(
        ctx: &WorkflowContext<Self>,
        input: &CheckoutInput,
        authorization: &Authorization,
    ) -> Result<(), Stop> {
        Self::enter(ctx, CheckoutState::Placing);
        let place = PlaceInput {
            checkout_id: input.checkout_id,
            authorization: authorization.clone(),
            hold_at_least_ms: input.timing.payment_window_ms,
        };
        match step::run(ctx, || Orders::place, place, "place the order", DATABASE).await? {
            PlaceOutcome::Placed => Ok(()),
            PlaceOutcome::HoldEnded => Err(Stop::Undo(Problem::HoldExpired)),
        }
    }

    async fn capture(
        ctx: &WorkflowContext<Self>,
        input: &CheckoutInput,
        authorization: Authorization,
    ) -> Result<(), Stop> {
        Self::enter(ctx, CheckoutState::Capturing);
        let capture = CaptureInput { checkout_id: input.checkout_id, authorization };
        match step::run(ctx, || Payments::capture, capture, "take the money", PROVIDER).await? {
            CaptureOutcome::Captured => Ok(()),
            CaptureOutcome::Refused { code } => {
                Err(Stop::Undo(Problem::PaymentDeclined { decline_code: code }))
            }
        }
    }

    /// The money is ours, so this goes on until it is done. Even a bug in it only calls for people:
    /// undoing a sale that was paid for is not a thing to do by default.
    pub(super) async fn settle(
        ctx: &WorkflowContext<Self>,
        input: &CheckoutInput,
    ) -> Option<Unsettled> {
        let mut pause = Duration::from_millis(input.timing.attention_after_ms);
        loop {
            let settle = SettleInput { checkout_id: input.checkout_id };
            match step::run(ctx, || Orders::settle, settle, "make the sale final", DATABASE).await {
                Ok(unsettled) => return unsettled,
                Err(Bug(detail)) => {
                    Self::call_attention(ctx, Some(detail));
                    let mut paused = step::timer(ctx, pause, "before settling is tried again");
                    let resolved = Self::resolved_since(ctx.state(Self::resolutions));
                    let mut resolved = ctx.wait_condition_with_options(resolved, detached());
                    select! {
                        _ = paused => {}
                        _ = resolved => paused.cancel(),
                    }
                    pause = step::longer(pause);
                    Self::call_attention(ctx, None);
                }
            }
        }
    }
}
