//! Our books held against each other, and against the time.

use domain::{CheckoutId, Difference, PaymentId};
use serde_json::json;
use store::{
    case::{self, Finding},
    inventory::{self, Level, Part, Places, Recounted, Resolution},
    payment::{self, Resummed},
    reconciliation::{self, Fate, Overdue},
};
use workflows::{contract::reconciling::Tally, refund::PENDING_MAX};

use super::{ROWS, Reconciler, about, tell};
use crate::failure;

/// How long a checkout has to be over before stock that is held for it is an orphan: its stock is sold, or
/// given back, just after it ends.
const ORPHAN_AFTER_MS: u64 = 60_000;

impl Reconciler {
    /// Compares something in each database of the stock. One of several that is down is left for the next time.
    async fn in_each_part<F>(
        &self,
        what: &str,
        compare: impl Fn(Part) -> F,
    ) -> Result<Tally, store::Error>
    where
        F: Future<Output = Result<Tally, store::Error>>,
    {
        let mut tally = Tally::default();
        for part in self.stock.shards().parts() {
            match compare(part).await {
                Ok(found) => tally = tally.and(found),
                Err(error) if error.transient() && part.of_several() => {
                    let error = failure::chain(&error);
                    tracing::warn!(error, "the {what} of {} cannot be looked at now", part.name());
                    tally.left += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(tally)
    }

    /// Every hold.
    pub(super) async fn compare_holds(&self) -> Result<Tally, store::Error> {
        self.in_each_part("holds", |part| self.compare_holds_of(part)).await
    }

    async fn compare_holds_of(&self, part: Part) -> Result<Tally, store::Error> {
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let held = {
                let mut stock = self.stock.shards().acquire(part).await?;
                inventory::held(&mut stock, after, ROWS).await?
            };
            tally.looked_at += held.len() as u64;
            let over = {
                let mut conn = self.pool.acquire().await?;
                reconciliation::over(&mut conn, &held, ORPHAN_AFTER_MS).await?
            };
            for (checkout_id, fate) in over {
                tally = tally.and(self.end_hold(part, checkout_id, fate).await?);
            }
            match held.last() {
                Some(last) if held.len() >= ROWS as usize => after = Some(*last),
                _ => return Ok(tally),
            }
        }
    }

    async fn end_hold(
        &self,
        part: Part,
        checkout_id: CheckoutId,
        fate: Fate,
    ) -> Result<Tally, store::Error> {
        let places = Places::from(part);
        let came_to = match fate {
            Fate::Sold => {
                self.stock.sell(checkout_id, &places).await?;
                "sold"
            }
            Fate::Unsold | Fate::Unknown => {
                match self.stock.give_back(checkout_id, &places, Resolution::Released).await? {
                    Resolution::Released => "released",
                    // Somebody was quicker.
                    Resolution::Committed | Resolution::Expired => return Ok(Tally::default()),
                }
            }
        };
        self.mended(Finding {
            difference: Difference::OrphanHold,
            subject: checkout_id.to_string(),
            order_id: Some(checkout_id.order()),
            facts: json!({ "came_to": came_to, "known": fate != Fate::Unknown }),
        })
        .await
    }

    /// Every counter, beside its ledgers.
    pub(super) async fn compare_counters(&self) -> Result<Tally, store::Error> {
        let mut tally = self.in_each_part("counters", |part| self.recount_part(part)).await?;
        let suspects = payment::missummed(&mut *self.pool.acquire().await?).await?;
        for payment_id in suspects {
            tally.looked_at += 1;
            tally = tally.and(self.resum(payment_id).await?);
        }
        Ok(tally)
    }

    async fn recount_part(&self, part: Part) -> Result<Tally, store::Error> {
        let mut tally = Tally::default();
        let mut stock = self.stock.shards().acquire(part).await?;
        for sku in inventory::miscounted(&mut stock).await? {
            tally.looked_at += 1;
            let finding = |facts| Finding {
                difference: Difference::CounterMismatch,
                subject: sku.to_string(),
                order_id: None,
                facts,
            };
            tally = tally.and(match inventory::recount(&mut stock, &sku).await? {
                Recounted::Right => Tally::default(),
                Recounted::Mended { before, after } => {
                    let facts = json!({ "before": counters(before), "after": counters(after) });
                    self.mended(finding(facts)).await?
                }
                Recounted::Impossible { before, ledgers } => {
                    let facts =
                        json!({ "counters": counters(before), "ledgers": counters(ledgers) });
                    self.open(finding(facts)).await?
                }
            });
        }
        Ok(tally)
    }

    async fn resum(&self, payment_id: PaymentId) -> Result<Tally, store::Error> {
        let finding = |facts| about(Difference::CounterMismatch, payment_id, facts);
        let mut tx = self.pool.begin().await?;
        match payment::resum(&mut tx, payment_id).await {
            Ok(Resummed::Right) => Ok(Tally::default()),
            Ok(Resummed::Mended { before, after }) => {
                let finding = finding(json!({ "before": before, "after": after }));
                case::note_mended(&mut tx, &finding).await?;
                tx.commit().await?;
                tell(&finding, "mended");
                Ok(Tally { mended: 1, ..Tally::default() })
            }
            // The ledger says what may not be, such as more paid back than was taken.
            Err(error) if !error.transient() => {
                tx.rollback().await?;
                self.open(finding(json!({ "why": "the ledger says what may not be" }))).await
            }
            Err(error) => Err(error),
        }
    }

    /// What was promised so long ago that people must look; when it is very much, such as after a long outage,
    /// not all of it at once.
    pub(super) async fn compare_promises(&self, after_ms: u64) -> Result<Tally, store::Error> {
        let pending_ms = u64::try_from(PENDING_MAX.as_millis()).expect("a week");
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let overdue = {
                let mut conn = self.pool.acquire().await?;
                reconciliation::overdue(&mut conn, after_ms, pending_ms, after, ROWS).await?
            };
            let last = overdue.last().map(|last| last.id);
            let full = overdue.len() >= ROWS as usize;
            for promise in overdue {
                tally.looked_at += 1;
                tally = tally.and(self.open(late(promise)).await?);
            }
            if !full {
                return Ok(tally);
            }
            if tally.opened >= u64::from(ROWS) {
                tally.left += 1;
                return Ok(tally);
            }
            after = last;
        }
    }
}

fn late(promise: Overdue) -> Finding {
    let Overdue { difference, id: _, subject, order_id, since } = promise;
    Finding { difference, subject, order_id: Some(order_id), facts: json!({ "since": since }) }
}

fn counters(level: Level) -> serde_json::Value {
    let Level { received, available, reserved, sold } = level;
    json!({ "received": received, "available": available, "reserved": reserved, "sold": sold })
}
