//! Reconciling: our books held against the provider's, counters against their ledgers, and promises against
//! the time.
//!
//! Each step may be run again at will: what was mended is found right, and what was made a case is the same
//! case. Our books are read before the provider is asked about a payment, for what is judged of ours can
//! never change again; see `domain::reconciliation`.

mod ours;
mod provider;

use std::sync::Arc;

use ::payments::Stripe;
use domain::{Difference, PaymentId};
use store::{
    PgPool,
    case::{self, Finding},
    inventory::Inventory,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::reconciling::{
    self, OverdueInput, PageInput, PageOutcome, Tally, WholeInput,
};

use crate::{failure, heartbeat, payments::Payments};

/// How many rows of ours are read at once.
const ROWS: u32 = 500;

/// Our books, and those who can mend them.
pub struct Reconciler {
    pool: PgPool,
    stock: Inventory,
    payments: Payments,
    provider: Stripe,
}

impl Reconciler {
    /// The books of this shop, whose money is at this provider.
    pub fn new(pool: PgPool, stock: Inventory, payments: Payments, provider: Stripe) -> Self {
        Self { pool, stock, payments, provider }
    }

    async fn open(&self, finding: Finding) -> Result<Tally, store::Error> {
        let opened = async {
            let mut tx = self.pool.begin().await?;
            let opened = case::open(&mut tx, &finding).await?;
            tx.commit().await?;
            Ok::<_, store::Error>(opened)
        };
        if opened.await? {
            tell(&finding, "a case for people");
            return Ok(Tally { opened: 1, ..Tally::default() });
        }
        Ok(Tally::default())
    }

    async fn mended(&self, finding: Finding) -> Result<Tally, store::Error> {
        let noted = async {
            let mut conn = self.pool.acquire().await?;
            case::note_mended(&mut conn, &finding).await
        };
        noted.await?;
        tell(&finding, "mended");
        Ok(Tally { mended: 1, ..Tally::default() })
    }
}

fn about(difference: Difference, payment_id: PaymentId, facts: serde_json::Value) -> Finding {
    Finding {
        difference,
        subject: payment_id.to_string(),
        order_id: Some(payment_id.checkout().order()),
        facts,
    }
}

fn tell(finding: &Finding, what: &str) {
    let Finding { difference, subject, facts, .. } = finding;
    tracing::warn!(difference = difference.as_str(), subject, %facts, "books differ: {} of {subject}: {what}", difference.as_str());
}

#[activities]
impl Reconciler {
    #[activity(definition = reconciling::Page)]
    pub async fn page(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PageInput,
    ) -> Result<PageOutcome, ActivityError> {
        Ok(heartbeat::during(&ctx, Box::pin(self.compare_page(input))).await?)
    }

    #[activity(definition = reconciling::Holds)]
    pub async fn holds(
        self: Arc<Self>,
        ctx: ActivityContext,
        _input: WholeInput,
    ) -> Result<Tally, ActivityError> {
        heartbeat::during(&ctx, self.compare_holds()).await.map_err(failure::database)
    }

    #[activity(definition = reconciling::Counters)]
    pub async fn counters(
        self: Arc<Self>,
        ctx: ActivityContext,
        _input: WholeInput,
    ) -> Result<Tally, ActivityError> {
        heartbeat::during(&ctx, self.compare_counters()).await.map_err(failure::database)
    }

    #[activity(definition = reconciling::Overdue)]
    pub async fn overdue(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: OverdueInput,
    ) -> Result<Tally, ActivityError> {
        let found = heartbeat::during(&ctx, self.compare_promises(input.after_ms)).await;
        found.map_err(failure::database)
    }
}
