//! The queue of deliveries as an operator sees it, and what an operator adds to it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Error, Store};

/// Which events are meant; all by default.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct DeliveryFilter<'a> {
    pub(crate) event: Option<&'a str>,
    pub(crate) payment_id: Option<&'a str>,
    pub(crate) payment_intent: Option<&'a str>,
}

/// One delivery and how far it came.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Delivery {
    pub(crate) id: i64,
    event: String,
    event_type: String,
    payment_intent: String,
    payment_id: Option<String>,
    url: String,
    state: String,
    fault: Option<String>,
    resent: bool,
    attempts: i32,
    last_status: Option<i32>,
    last_error: Option<String>,
    due_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    delivered_at: Option<DateTime<Utc>>,
}

impl Store {
    pub(crate) async fn deliveries_list(
        &self,
        filter: DeliveryFilter<'_>,
        state: Option<&str>,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Delivery>, Error> {
        let rows = sqlx::query_as(
            "SELECT delivery.id, delivery.event, event.type AS event_type, event.payment_intent
                  , event.payment_id, delivery.url, delivery.state, delivery.fault, delivery.resent
                  , delivery.attempts, delivery.last_status, delivery.last_error, delivery.due_at
                  , delivery.created_at, delivery.delivered_at
             FROM webhook_delivery AS delivery
             JOIN event ON event.id = delivery.event
             WHERE ($1::text IS NULL OR event.id = $1)
               AND ($2::text IS NULL OR event.payment_id = $2)
               AND ($3::text IS NULL OR event.payment_intent = $3)
               AND ($4::text IS NULL OR delivery.state = $4)
               AND delivery.id > $5
             ORDER BY delivery.id
             LIMIT $6",
        )
        .bind(filter.event)
        .bind(filter.payment_id)
        .bind(filter.payment_intent)
        .bind(state)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// Queues events once more, in their order, and says how many deliveries that makes.
    pub(crate) async fn deliveries_resend(
        &self,
        filter: DeliveryFilter<'_>,
        urls: &[String],
    ) -> Result<u64, Error> {
        let done = sqlx::query(
            "INSERT INTO webhook_delivery (event, url, resent, due_at, created_at)
             SELECT event.id, endpoint.url, true, $5, $5
             FROM event, unnest($4::text[]) AS endpoint (url)
             WHERE ($1::text IS NULL OR event.id = $1)
               AND ($2::text IS NULL OR event.payment_id = $2)
               AND ($3::text IS NULL OR event.payment_intent = $3)
             ORDER BY event.id",
        )
        .bind(filter.event)
        .bind(filter.payment_id)
        .bind(filter.payment_intent)
        .bind(urls)
        .bind(Utc::now())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}
