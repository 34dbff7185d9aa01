//! Reading events. They are written by the statement that saves a change, nowhere else.

use serde_json::Value;

use super::{Error, Page, Store};
use crate::event::EventKind;

/// An event to be written.
#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) id: String,
    pub(crate) kind: EventKind,
    pub(crate) body: Value,
}

impl Store {
    pub(crate) async fn event_find(&self, id: &str) -> Result<Option<Value>, Error> {
        let found = sqlx::query_scalar(
            "SELECT jsonb_set(body, '{pending_webhooks}', to_jsonb((
                 SELECT count(*) FROM webhook_delivery AS delivery
                 WHERE delivery.event = event.id AND delivery.state = 'pending'
             )))
             FROM event
             WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(found)
    }

    /// Newest first, of one type or of all.
    pub(crate) async fn events_list(
        &self,
        kind: Option<&str>,
        page: &Page<'_>,
    ) -> Result<Vec<Value>, Error> {
        let bodies = sqlx::query_scalar(
            "SELECT jsonb_set(body, '{pending_webhooks}', to_jsonb((
                 SELECT count(*) FROM webhook_delivery AS delivery
                 WHERE delivery.event = event.id AND delivery.state = 'pending'
             )))
             FROM event
             WHERE ($1::text IS NULL OR type = $1)
               AND id < COALESCE($2, 'evt_g')
               AND id >= COALESCE($3, '')
               AND created_at >= COALESCE($4, '-infinity')
               AND created_at < COALESCE($5, 'infinity')
             ORDER BY id DESC
             LIMIT $6",
        )
        .bind(kind)
        .bind(page.before)
        .bind(page.first_id("evt"))
        .bind(page.from)
        .bind(page.until)
        .bind(page.rows_max)
        .fetch_all(&self.pool)
        .await?;
        Ok(bodies)
    }
}
