//! The stock steps: reserve, its undo, and the sweep of holds that ran out.

use std::sync::Arc;

use domain::{CheckoutId, OrderState, Problem};
use store::{
    PgPool,
    inventory::{Reserved, Resolution},
    order, payment,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::{
    self, ExpireDueInput, ExpireDueOutcome, ReleaseInput, ReleaseReason, ReserveInput,
    ReserveOutcome,
};

use crate::{failure, heartbeat, holds::Holds, payments::Payments};

/// How much longer a hold is kept that cannot be freed when it runs out, such as for its payment being in
/// flight.
const GRACE_MS: u64 = 30_000;

/// Stock held for checkouts.
pub struct Inventory {
    pool: PgPool,
    holds: Holds,
    payments: Payments,
}

impl Inventory {
    /// These holds, of orders kept in this database and paid for in this way.
    pub fn new(pool: PgPool, holds: Holds, payments: Payments) -> Self {
        Self { pool, holds, payments }
    }

    async fn hold(&self, input: ReserveInput) -> Result<ReserveOutcome, store::Error> {
        Ok(match self.holds.take(input.checkout_id, input.hold_ms).await? {
            Reserved::Held { expires_at } => ReserveOutcome::Reserved { expires_at },
            Reserved::SoldOut(lines) => ReserveOutcome::SoldOut { lines },
            Reserved::Ended => ReserveOutcome::Ended,
        })
    }

    async fn give_back(&self, input: ReleaseInput) -> Result<(), store::Error> {
        let resolution = match input.reason {
            ReleaseReason::Released => Resolution::Released,
            ReleaseReason::Expired => Resolution::Expired,
        };
        self.holds.give_back(input.checkout_id, resolution).await.map(drop)
    }

    async fn sweep(&self, input: ExpireDueInput) -> Result<ExpireDueOutcome, store::Error> {
        let due = self.holds.due(input.limit).await?;
        let paying = {
            let mut conn = self.pool.acquire().await?;
            payment::in_flight(&mut conn, &due).await?
        };
        let (mut expired, mut in_flight) = (0, 0);
        for checkout_id in due {
            match self.sweep_one(checkout_id, paying.contains(&checkout_id)).await {
                Ok(Swept::Freed) => expired += 1,
                Ok(Swept::Left) => {}
                Ok(Swept::InFlight) => in_flight += 1,
                // One hold that cannot be freed must not keep the others from being freed.
                Err(error) => {
                    let error = failure::chain(&error);
                    tracing::error!(checkout.id = %checkout_id, error, "a hold cannot be freed: {checkout_id}");
                    self.keep_a_while(checkout_id).await;
                }
            }
        }
        let next_due_in_ms = self.holds.next_due_in_ms().await?;
        Ok(ExpireDueOutcome { expired, in_flight, next_due_in_ms })
    }

    async fn sweep_one(
        &self,
        checkout_id: CheckoutId,
        paying: bool,
    ) -> Result<Swept, store::Error> {
        if paying && !self.payments.abandon(checkout_id).await {
            if self.sell_if_final(checkout_id).await? {
                return Ok(Swept::Left);
            }
            tracing::warn!(checkout.id = %checkout_id, "hold ran out with its payment in flight: {checkout_id}");
            self.keep_a_while(checkout_id).await;
            return Ok(Swept::InFlight);
        }
        Ok(if self.free(checkout_id).await? { Swept::Freed } else { Swept::Left })
    }

    /// Ends the checkout, whose workflow may be gone, and frees its hold. A workflow that is still
    /// there comes to the same end by itself, and finds it done. One that makes the hold last longer in
    /// this moment finds that its payment is closed and its order cancelled.
    async fn free(&self, checkout_id: CheckoutId) -> Result<bool, store::Error> {
        let mut tx = self.pool.begin().await?;
        order::lock_first(&mut tx, checkout_id).await?;
        if !payment::close(&mut tx, checkout_id.payment()).await?
            || !self.holds.ran_out(checkout_id).await?
        {
            return Ok(false);
        }
        order::cancel(&mut tx, checkout_id, &Problem::HoldExpired).await?;
        tx.commit().await?;
        let freed = self.holds.give_back(checkout_id, Resolution::Expired).await?;
        if freed == Resolution::Expired {
            tracing::info!(checkout.id = %checkout_id, "hold ran out, stock given back: {checkout_id}");
        }
        Ok(freed == Resolution::Expired)
    }

    /// Sells the stock of an order that is paid, whose settling stopped half-way.
    async fn sell_if_final(&self, checkout_id: CheckoutId) -> Result<bool, store::Error> {
        let order = {
            let mut conn = self.pool.acquire().await?;
            order::state(&mut conn, checkout_id.order()).await?
        };
        let sold = order.is_some_and(OrderState::sold);
        if sold {
            self.holds.sell(checkout_id).await?;
            tracing::warn!(checkout.id = %checkout_id, "stock of a paid order was still held, and is sold now: {checkout_id}");
        }
        Ok(sold)
    }

    /// Lets the hold be, so that others come first the next time.
    async fn keep_a_while(&self, checkout_id: CheckoutId) {
        if let Err(error) = self.holds.postpone(checkout_id, GRACE_MS).await {
            let error = failure::chain(&error);
            tracing::warn!(checkout.id = %checkout_id, error, "a hold that ran out stays due: {checkout_id}");
        }
    }
}

/// What became of a hold that was due.
enum Swept {
    Freed,
    /// Somebody else deals with it, or it was sold.
    Left,
    /// Its payment may still come.
    InFlight,
}

#[activities]
impl Inventory {
    #[activity(definition = contract::Reserve)]
    pub async fn reserve(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ReserveInput,
    ) -> Result<ReserveOutcome, ActivityError> {
        heartbeat::during(&ctx, self.hold(input)).await.map_err(failure::database)
    }

    #[activity(definition = contract::Release)]
    pub async fn release(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ReleaseInput,
    ) -> Result<(), ActivityError> {
        heartbeat::during(&ctx, self.give_back(input)).await.map_err(failure::database)
    }

    #[activity(definition = contract::ExpireDue)]
    pub async fn expire_due(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ExpireDueInput,
    ) -> Result<ExpireDueOutcome, ActivityError> {
        heartbeat::during(&ctx, self.sweep(input)).await.map_err(failure::database)
    }
}
