//! A checkout's hold on the stock, wherever its order's lines are kept. Steps name the checkout; which
//! SKUs that means is read here, and only if it matters.

use chrono::{DateTime, Utc};
use domain::CheckoutId;
use store::{
    PgPool,
    inventory::{Inventory, Places, Reserved, Resolution},
    order,
};

/// The holds of checkouts whose orders stand in this database. Clones share the stock's queues.
#[derive(Clone)]
pub struct Holds {
    pool: PgPool,
    stock: Inventory,
}

impl Holds {
    /// Holds on this stock, for the orders of this database.
    pub fn new(pool: PgPool, stock: Inventory) -> Self {
        Self { pool, stock }
    }

    pub(crate) async fn take(
        &self,
        id: CheckoutId,
        hold_ms: u64,
    ) -> Result<Reserved, store::Error> {
        let lines = {
            let mut conn = self.pool.acquire().await?;
            order::stock_lines(&mut conn, id.order()).await?
        };
        self.stock.reserve(id, lines, hold_ms).await
    }

    /// Makes the hold last at least so long from now. `None` if there is none any more. It is done apart
    /// from what it is for: should that turn out to be over, the hold is given back all the same.
    pub(crate) async fn extend(
        &self,
        id: CheckoutId,
        at_least_ms: u64,
    ) -> Result<Option<DateTime<Utc>>, store::Error> {
        self.stock.shards().extend(id, &self.places(id).await?, at_least_ms).await
    }

    /// The same in every place that can be reached, for a hold that cannot be dealt with now.
    pub(crate) async fn postpone(
        &self,
        id: CheckoutId,
        at_least_ms: u64,
    ) -> Result<(), store::Error> {
        self.stock.shards().postpone(id, &self.places(id).await?, at_least_ms).await
    }

    pub(crate) async fn sell(&self, id: CheckoutId) -> Result<(), store::Error> {
        self.stock.sell(id, &self.places(id).await?).await
    }

    pub(crate) async fn give_back(
        &self,
        id: CheckoutId,
        resolution: Resolution,
    ) -> Result<Resolution, store::Error> {
        self.stock.give_back(id, &self.places(id).await?, resolution).await
    }

    pub(crate) async fn ran_out(&self, id: CheckoutId) -> Result<bool, store::Error> {
        self.stock.shards().ran_out(id, &self.places(id).await?).await
    }

    /// The holds that have run out, oldest first.
    pub(crate) async fn due(&self, limit: u32) -> Result<Vec<CheckoutId>, store::Error> {
        self.stock.shards().due(limit).await
    }

    pub(crate) async fn next_due_in_ms(&self) -> Result<Option<u64>, store::Error> {
        self.stock.shards().next_due_in_ms().await
    }

    /// Where stock is not split, nobody needs to know any line.
    async fn places(&self, id: CheckoutId) -> Result<Places, store::Error> {
        if let Some(only) = self.stock.shards().only_place() {
            return Ok(only);
        }
        let mut conn = self.pool.acquire().await?;
        let lines = order::stock_lines(&mut conn, id.order()).await?;
        Ok(self.stock.shards().places(lines.iter().map(|line| &line.sku)))
    }
}
