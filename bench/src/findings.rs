//! Everything that a run found out, as it is written to a file.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use serde::Serialize;
use sqlx::PgPool;
use store::{
    inventory::Shards,
    law::{self, Breach, When},
};
use tokio::time::{Instant, sleep};

use crate::{
    cells::Cell,
    engine::Weight,
    machine::Machine,
    processes::{Memory, Times},
    stack::{SKU, Stack},
};

const QUIET_LIMIT: Duration = Duration::from_secs(60);
const QUIET_LOOK: Duration = Duration::from_millis(100);

/// The whole of it.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) cells: Vec<Cell>,
    /// CPU milliseconds a second of the system at rest, by number of workers.
    pub(crate) rest: Vec<(u16, Times)>,
    pub(crate) weights: Weights,
    pub(crate) api_memory: Memory,
    pub(crate) worker_memory: Vec<Memory>,
    pub(crate) verdict: Verdict,
}

/// What the histories of the last few weigh.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Weights {
    pub(crate) checkout: Vec<Weight>,
    pub(crate) fulfilment: Vec<Weight>,
    pub(crate) bare: Vec<Weight>,
}

/// What must hold after any run.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    pub(crate) sold: i64,
    pub(crate) captured: i64,
    pub(crate) breaches: Vec<Breach>,
}

impl Verdict {
    /// Waits for quiet, and then looks whether the books are right: ours, and the card network's.
    pub(crate) async fn reach(
        stack: &Stack,
        completed: usize,
        failed: usize,
    ) -> anyhow::Result<Self> {
        let breaches = breaches_at_rest(&stack.shop_db).await?;
        let mut conn = stack.shop_db.acquire().await?;
        let sold = sqlx::query_scalar("SELECT sold FROM inventory WHERE sku = $1")
            .bind(SKU)
            .fetch_one(&mut *conn)
            .await?;
        let captured =
            sqlx::query_scalar("SELECT count(*) FROM ledger_entry WHERE kind = 'captured'")
                .fetch_one(&stack.paysim_db)
                .await?;
        Ok(Self { completed, failed, sold, captured, breaches })
    }

    pub(crate) fn sound(&self) -> bool {
        let completed = i64::try_from(self.completed).unwrap_or(i64::MAX);
        self.breaches.is_empty()
            && self.failed == 0
            && self.sold == completed
            && self.captured == completed
    }
}

/// Waits for quiet, for a while at most: the laws that are broken then.
pub(crate) async fn breaches_at_rest(db: &PgPool) -> anyhow::Result<Vec<Breach>> {
    let shards = Shards::one(db.clone());
    let began = Instant::now();
    loop {
        let breaches = law::audit(db, &shards, When::Quiet).await?.breaches;
        if breaches.is_empty() || began.elapsed() > QUIET_LIMIT {
            return Ok(breaches);
        }
        sleep(QUIET_LOOK).await;
    }
}

impl Findings {
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, text + "\n").with_context(|| format!("could not write {}", file.display()))
    }
}
