//! The stock steps: reserve, its undo, and the sweep of holds that ran out.

use std::sync::Arc;

use domain::{CheckoutId, OrderState, Problem};
use store::{
    PgPool,
    inventory::{self as stock, Reserved, Resolution},
    order, payment,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::{
    self, ExpireDueInput, ExpireDueOutcome, ReleaseInput, ReleaseReason, ReserveInput,
    ReserveOutcome,
};

use crate::{failure, heartbeat, payments::Payments};

/// How much longer a hold is kept whose payment turns out to be in flight when it runs out.
const IN_FLIGHT_GRACE_MS: u64 = 30_000;

/// Stock held for checkouts.
pub struct Inventory {
    pool: PgPool,
    stock: stock::Inventory,
    payments: Payments,
}

impl Inventory {
    /// This stock, of orders kept in this database and paid for with this provider.
    pub fn new(pool: PgPool, stock: stock::Inventory, payments: Payments) -> Self {
        Self { pool, stock, payments }
    }

    async fn hold(&self, input: ReserveInput) -> Result<ReserveOutcome, store::Error> {
        let lines = {
            let mut conn = self.pool.acquire().await?;
            order::stock_lines(&mut conn, input.checkout_id.order()).await?
        };
        Ok(match self.stock.reserve(input.checkout_id, lines, input.hold_ms).await? {
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
        self.stock.give_back(input.checkout_id, resolution).await.map(drop)
    }

    async fn sweep(&self, input: ExpireDueInput) -> Result<ExpireDueOutcome, store::Error> {
        let due = self.stock.due(input.limit).await?;
        let paying = {
            let mut conn = self.pool.acquire().await?;
            payment::in_flight(&mut conn, &due).await?
        };
        let (mut expired, mut in_flight) = (0, 0);
        for checkout_id in due {
            if paying.contains(&checkout_id) && !self.payments.abandon(checkout_id).await {
                if !self.sell_if_final(checkout_id).await? {
                    self.keep_a_while(checkout_id).await?;
                    in_flight += 1;
                }
                continue;
            }
            match self.free(checkout_id).await {
                Ok(freed) => expired += u32::from(freed),
                Err(error) if error.transient() => return Err(error),
                // One hold that cannot be freed must not keep the others from being freed.
                Err(error) => {
                    tracing::error!(checkout.id = %checkout_id, error = %failure::chain(&error), "a hold cannot be freed: {checkout_id}");
                    self.keep_a_while(checkout_id).await?;
                }
            }
        }
        Ok(ExpireDueOutcome {
            expired,
            in_flight,
            next_due_in_ms: self.stock.next_due_in_ms().await?,
        })
    }

    /// Ends the checkout, whose workflow may be gone, and frees its hold. A workflow that is still
    /// there comes to the same end by itself, and finds it done.
    async fn free(&self, checkout_id: CheckoutId) -> Result<bool, store::Error> {
        let mut tx = self.pool.begin().await?;
        if !payment::close(&mut tx, checkout_id.payment()).await?
            || !stock::lock_due(&mut tx, checkout_id).await?
        {
            return Ok(false);
        }
        order::cancel(&mut tx, checkout_id, &Problem::HoldExpired).await?;
        tx.commit().await?;
        let freed = self.stock.give_back(checkout_id, Resolution::Expired).await?;
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
            self.stock.sell(checkout_id).await?;
            tracing::warn!(checkout.id = %checkout_id, "stock of a paid order was still held, and is sold now: {checkout_id}");
        }
        Ok(sold)
    }

    async fn keep_a_while(&self, checkout_id: CheckoutId) -> Result<(), store::Error> {
        let mut conn = self.pool.acquire().await?;
        stock::extend(&mut conn, checkout_id, IN_FLIGHT_GRACE_MS).await?;
        tracing::warn!(checkout.id = %checkout_id, "hold ran out with its payment in flight: {checkout_id}");
        Ok(())
    }
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
