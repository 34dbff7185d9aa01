//! The queue of deliveries. Rows come from the statement that saves a change; what becomes of them is
//! written here and decided by the courier.

use chrono::{DateTime, Utc};

use super::{Error, Store};
use crate::webhook::DeliveryFault;

/// A delivery whose time has come.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Due {
    pub(crate) id: i64,
    pub(crate) url: String,
    fault: Option<String>,
    pub(crate) resent: bool,
    /// Counts the try that now begins.
    pub(crate) attempts: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) event: String,
    pub(crate) event_type: String,
    pub(crate) payment_id: Option<String>,
    pub(crate) body: String,
}

impl Due {
    pub(crate) fn fault(&self) -> Result<Option<DeliveryFault>, Error> {
        let parsed = self.fault.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| Error::Corrupt { table: "webhook_delivery", column: "fault" })
    }
}

impl Store {
    /// Takes what is due, in the order of the queue. Until `again_at` nobody else takes it; a try that
    /// has not been accounted for by then died with its process.
    pub(crate) async fn deliveries_claim(
        &self,
        urls: &[String],
        at: DateTime<Utc>,
        again_at: DateTime<Utc>,
        rows_max: i64,
    ) -> Result<Vec<Due>, Error> {
        let mut due: Vec<Due> = sqlx::query_as(
            "UPDATE webhook_delivery AS delivery
             SET due_at = $3, attempts = attempts + 1
             FROM (
                 SELECT id
                 FROM webhook_delivery
                 WHERE state = 'pending' AND due_at <= $2 AND url = ANY($1)
                 ORDER BY due_at, id
                 LIMIT $4
                 FOR UPDATE SKIP LOCKED
             ) AS chosen
             , event
             WHERE delivery.id = chosen.id AND event.id = delivery.event
             RETURNING delivery.id, delivery.url, delivery.fault, delivery.resent
                     , delivery.attempts, delivery.created_at, delivery.event
                     , event.type AS event_type, event.payment_id, event.body::text AS body",
        )
        .bind(urls)
        .bind(at)
        .bind(again_at)
        .bind(rows_max)
        .fetch_all(&self.pool)
        .await?;
        due.sort_unstable_by_key(|due| due.id);
        Ok(due)
    }

    /// When the queue has something to do next.
    pub(crate) async fn deliveries_due_at(
        &self,
        urls: &[String],
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let due_at = sqlx::query_scalar(
            "SELECT min(due_at) FROM webhook_delivery WHERE state = 'pending' AND url = ANY($1)",
        )
        .bind(urls)
        .fetch_one(&self.pool)
        .await?;
        Ok(due_at)
    }

    /// Ends a delivery well, and lets go what was held back to be overtaken by it.
    pub(crate) async fn delivery_done(
        &self,
        id: i64,
        status: u16,
        at: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query(
            "WITH done AS (
                 UPDATE webhook_delivery
                 SET state = 'delivered', last_status = $2, last_error = NULL, delivered_at = $3
                 WHERE id = $1 AND state = 'pending'
                 RETURNING id, url, event
             )
             UPDATE webhook_delivery AS held
             SET due_at = $3
             FROM done, event AS told, event AS kept
             WHERE told.id = done.event
               AND held.state = 'pending' AND held.fault = 'reorder' AND held.attempts = 0
               AND held.url = done.url AND held.id < done.id
               AND kept.id = held.event AND kept.payment_intent = told.payment_intent",
        )
        .bind(id)
        .bind(i32::from(status))
        .bind(at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Accounts for a failed try. Without a next time the delivery is given up.
    pub(crate) async fn delivery_failed(
        &self,
        id: i64,
        status: Option<u16>,
        error: &str,
        next_at: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        sqlx::query(
            "UPDATE webhook_delivery
             SET state = CASE WHEN $4 IS NULL THEN 'abandoned' ELSE 'pending' END
               , last_status = $2, last_error = $3, due_at = COALESCE($4, due_at)
             WHERE id = $1 AND state = 'pending'",
        )
        .bind(id)
        .bind(status.map(i32::from))
        .bind(error)
        .bind(next_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes down what goes wrong with a delivery.
    pub(crate) async fn delivery_strike(&self, id: i64, fault: DeliveryFault) -> Result<(), Error> {
        sqlx::query(
            "UPDATE webhook_delivery
             SET fault = $2, state = CASE $2 WHEN 'lose' THEN 'lost' ELSE state END
             WHERE id = $1 AND state = 'pending'",
        )
        .bind(id)
        .bind(fault.as_str())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Puts a delivery back as if it had not been tried.
    pub(crate) async fn delivery_hold(
        &self,
        id: i64,
        fault: DeliveryFault,
        until: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query(
            "UPDATE webhook_delivery
             SET fault = $2, due_at = $3, attempts = 0
             WHERE id = $1 AND state = 'pending'",
        )
        .bind(id)
        .bind(fault.as_str())
        .bind(until)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Makes a delivery one of several.
    pub(crate) async fn delivery_duplicate(
        &self,
        id: i64,
        copies: i32,
        at: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query(
            "WITH original AS (
                 UPDATE webhook_delivery
                 SET fault = 'duplicate'
                 WHERE id = $1 AND state = 'pending'
                 RETURNING event, url
             )
             INSERT INTO webhook_delivery (event, url, fault, due_at, created_at)
             SELECT original.event, original.url, 'duplicate', $3, $3
             FROM original, generate_series(1, $2)",
        )
        .bind(id)
        .bind(copies)
        .bind(at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
