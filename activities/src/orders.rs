//! The order steps: open, place, settle, and the undo of the first two.

use std::sync::Arc;

use store::{
    PgPool,
    order::{self, Opened, Placed, Settled},
    payment,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::{
    self, BegunAttempt, CancelInput, OpenInput, OpenOutcome, PlaceInput, PlaceOutcome, SettleInput,
    Unsettled,
};

use crate::{failure, heartbeat, holds::Holds};

/// The record of the sale.
pub struct Orders {
    pool: PgPool,
    holds: Holds,
}

impl Orders {
    /// Orders kept in this database, that sell what is held for them.
    pub fn new(pool: PgPool, holds: Holds) -> Self {
        Self { pool, holds }
    }

    async fn open_order(&self, input: OpenInput) -> Result<OpenOutcome, store::Error> {
        let mut tx = self.pool.begin().await?;
        let opened =
            order::open(&mut tx, input.checkout_id, input.customer_id, input.expected_total)
                .await?;
        let begun = match opened {
            Opened::Pending { again: true, .. } => {
                payment::attempts(&mut tx, input.checkout_id.payment()).await?.pop()
            }
            Opened::Pending { again: false, .. } | Opened::Refused(_) => None,
        };
        tx.commit().await?;
        Ok(match opened {
            Opened::Pending { total, lines, again: _ } => {
                let begun = begun
                    .filter(|row| row.state.live())
                    .map(|row| BegunAttempt { attempt: row.attempt, method: row.method });
                OpenOutcome::Opened { total, lines, begun }
            }
            Opened::Refused(problem) => OpenOutcome::Refused { problem },
        })
    }

    async fn place_order(&self, input: PlaceInput) -> Result<PlaceOutcome, store::Error> {
        let held = self.holds.extend(input.checkout_id, input.hold_at_least_ms).await?.is_some();
        let mut tx = self.pool.begin().await?;
        let provider_ref = &input.authorization.provider_ref;
        let placed = order::place(&mut tx, input.checkout_id, provider_ref, held).await?;
        tx.commit().await?;
        Ok(match placed {
            Placed::Placed => PlaceOutcome::Placed,
            Placed::HoldEnded => PlaceOutcome::HoldEnded,
        })
    }

    async fn settle_order(&self, input: SettleInput) -> Result<Option<Unsettled>, store::Error> {
        let mut tx = self.pool.begin().await?;
        let settled = order::settle(&mut tx, input.checkout_id).await?;
        tx.commit().await?;
        match settled {
            Settled::Final => {}
            Settled::Undone => return Ok(Some(Unsettled::Undone)),
        }
        // Apart, and never the other way round: the order decides that its stock is sold.
        self.holds.sell(input.checkout_id).await?;
        Ok(None)
    }

    async fn cancel_order(&self, input: CancelInput) -> Result<(), store::Error> {
        let mut tx = self.pool.begin().await?;
        order::cancel(&mut tx, input.checkout_id, &input.problem).await?;
        Ok(tx.commit().await?)
    }
}

#[activities]
impl Orders {
    #[activity(definition = contract::Open)]
    pub async fn open(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: OpenInput,
    ) -> Result<OpenOutcome, ActivityError> {
        heartbeat::during(&ctx, self.open_order(input)).await.map_err(failure::database)
    }

    #[activity(definition = contract::Place)]
    pub async fn place(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PlaceInput,
    ) -> Result<PlaceOutcome, ActivityError> {
        heartbeat::during(&ctx, self.place_order(input)).await.map_err(failure::database)
    }

    #[activity(definition = contract::Settle)]
    pub async fn settle(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: SettleInput,
    ) -> Result<Option<Unsettled>, ActivityError> {
        heartbeat::during(&ctx, self.settle_order(input)).await.map_err(failure::database)
    }

    #[activity(definition = contract::Cancel)]
    pub async fn cancel(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CancelInput,
    ) -> Result<(), ActivityError> {
        heartbeat::during(&ctx, self.cancel_order(input)).await.map_err(failure::database)
    }
}
