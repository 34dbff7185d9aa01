//! The undo stack of a checkout.
//!
//! An undo is registered before its step runs, so a step whose outcome never arrived is undone too;
//! each undo is harmless when its step never ran, ran twice, or is still on its way. They run in
//! reverse, and one that will not finish does not keep the rest from running.

use domain::{CheckoutId, Problem};
use temporalio_common::ActivityDefinition;
use temporalio_workflow::{WorkflowContext, join_all};

use crate::{
    checkout::CheckoutWorkflow,
    contract::{
        CancelInput, DATABASE, Inventory, Orders, PROVIDER, Payments, ReleaseInput, ReleaseReason,
        StepLimits, VoidInput,
    },
    step::{self, Bug},
};

/// What may have to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    /// The order and the lock on the cart; and the record that the checkout is over.
    CancelOrder,
    /// The hold on the stock.
    ReleaseStock,
    /// The money set aside.
    VoidPayment,
}

/// The undos of the steps begun so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Saga {
    undos: Vec<Undo>,
}

impl Saga {
    /// Notes an undo. To be called before its step; again for a step that is repeated, to no effect.
    pub(crate) fn register(&mut self, undo: Undo) {
        if !self.undos.contains(&undo) {
            self.undos.push(undo);
        }
    }

    /// Notes every undo there is. A task that was lost may have got further than the run that
    /// repeats it: its effects are in the world, and nothing of it is in the history. Where that
    /// repetition takes another way than forward, it undoes what it does not remember doing.
    pub(crate) fn register_all(&mut self) {
        for undo in [Undo::CancelOrder, Undo::ReleaseStock, Undo::VoidPayment] {
            self.register(undo);
        }
    }

    /// Forgets everything: for a step that answered, definitely, that it did nothing.
    pub(crate) fn forget(&mut self) {
        self.undos.clear();
    }

    /// Runs every undo, last registered first. One that does not finish at once is set aside until
    /// the others have run, and then retried without end. Cancelling the order waits even for those:
    /// it is what tells the world that everything is undone. A bug in an undo is returned, never
    /// dropped.
    pub(crate) async fn compensate(
        self,
        ctx: &WorkflowContext<CheckoutWorkflow>,
        checkout_id: CheckoutId,
        problem: &Problem,
    ) -> Result<(), Bug> {
        let (conclusion, effects): (Vec<_>, Vec<_>) =
            self.undos.into_iter().rev().partition(|undo| *undo == Undo::CancelOrder);
        let mut bugs = Vec::new();
        let mut unfinished = Vec::new();
        for undo in effects {
            match undo.run(ctx, checkout_id, problem, Pace::Quick).await {
                Ok(true) => {}
                Ok(false) => unfinished.push(undo.run(ctx, checkout_id, problem, Pace::Patient)),
                Err(bug) => bugs.push(bug),
            }
        }
        bugs.extend(join_all(unfinished).await.into_iter().filter_map(Result::err));
        if let Some(bug) = bugs.into_iter().next() {
            return Err(bug);
        }
        for undo in conclusion {
            if !undo.run(ctx, checkout_id, problem, Pace::Quick).await? {
                undo.run(ctx, checkout_id, problem, Pace::Patient).await?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Pace {
    Quick,
    Patient,
}

impl Undo {
    /// Whether the undo finished; with patience it does.
    async fn run(
        self,
        ctx: &WorkflowContext<CheckoutWorkflow>,
        checkout_id: CheckoutId,
        problem: &Problem,
        pace: Pace,
    ) -> Result<bool, Bug> {
        match self {
            Self::CancelOrder => {
                let input = CancelInput { checkout_id, problem: problem.clone() };
                pace.run(ctx, || Orders::cancel, input, "cancel the order", DATABASE).await
            }
            Self::ReleaseStock => {
                let reason = match problem {
                    Problem::HoldExpired => ReleaseReason::Expired,
                    _ => ReleaseReason::Released,
                };
                let input = ReleaseInput { checkout_id, reason };
                pace.run(ctx, || Inventory::release, input, "give the stock back", DATABASE).await
            }
            Self::VoidPayment => {
                let input = VoidInput { checkout_id };
                pace.run(ctx, || Payments::void, input, "void the payment", PROVIDER).await
            }
        }
    }
}

impl Pace {
    async fn run<AD>(
        self,
        ctx: &WorkflowContext<CheckoutWorkflow>,
        activity: impl Fn() -> AD,
        input: AD::Input,
        summary: &str,
        limits: StepLimits,
    ) -> Result<bool, Bug>
    where
        AD: ActivityDefinition,
        AD::Input: Clone,
    {
        Ok(match self {
            Self::Quick => step::quick(ctx, activity(), input, summary, limits).await?.is_some(),
            Self::Patient => {
                step::patient(ctx, activity, input, summary, limits).await?;
                true
            }
        })
    }
}
