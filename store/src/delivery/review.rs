//! Deliveries as people look at them: what became of each, and once more for those that were given up.

use chrono::{DateTime, Utc};
use domain::{DeliveryId, EventId, WebhookEndpointId};
use sqlx::PgConnection;

use super::DeliveryState;
use crate::{Error, Position};

/// A delivery, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Which.
    pub id: DeliveryId,
    /// What is told.
    pub event_id: EventId,
    /// What kind of thing happened.
    pub topic: String,
    /// To which endpoint; without one it is a mail to the customer.
    pub endpoint_id: Option<WebhookEndpointId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it has been tried since somebody last asked for it.
    pub tries: i64,
    /// When the event was given out.
    pub created_at: DateTime<Utc>,
    /// When it is tried next, if it is.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was delivered or given up.
    pub ended_at: Option<DateTime<Utc>>,
    /// What went wrong the last time.
    pub last_error: Option<String>,
}

impl DeliveryRow {
    /// Its place in the list.
    pub fn position(&self) -> Position {
        Position { at: self.ended_at.unwrap_or(self.created_at), id: self.id.uuid() }
    }
}

/// Deliveries in one state, or in any, those first that have been in it for the longest, from a position on.
pub async fn list(
    conn: &mut PgConnection,
    state: Option<DeliveryState>,
    after: Option<Position>,
    limit: u32,
) -> Result<Vec<DeliveryRow>, Error> {
    find(conn, None, state, after, limit).await
}

/// Has a delivery that was given up tried again, as if for the first time; any other stays as it is. The
/// delivery after that, if there is one.
pub async fn retry(
    conn: &mut PgConnection,
    id: DeliveryId,
    actor: &str,
) -> Result<Option<DeliveryRow>, Error> {
    sqlx::query!(
        r#"
        UPDATE delivery
        SET state = 'waiting', ended_at = NULL, tries = 0, due_at = now(), tried_since = now(),
            retried_by = $2
        WHERE id = $1 AND state = 'dead'
        "#,
        id.uuid(),
        actor,
    )
    .execute(&mut *conn)
    .await?;
    Ok(find(conn, Some(id), None, None, 1).await?.pop())
}

async fn find(
    conn: &mut PgConnection,
    id: Option<DeliveryId>,
    state: Option<DeliveryState>,
    after: Option<Position>,
    limit: u32,
) -> Result<Vec<DeliveryRow>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT d.id, o.topic, o.cause, d.endpoint_id, d.state, d.tries, d.created_at, d.due_at, d.ended_at,
            d.last_error
        FROM delivery d JOIN outbox o ON o.id = d.event_id
        WHERE ($1::uuid IS NULL OR d.id = $1) AND ($2::text IS NULL OR d.state = $2)
            AND ($3::timestamptz IS NULL OR (coalesce(d.ended_at, d.created_at), d.id) > ($3, $4::uuid))
        ORDER BY coalesce(d.ended_at, d.created_at), d.id LIMIT $5
        "#,
        id.map(DeliveryId::uuid),
        state.map(DeliveryState::as_str),
        after.map(|position| position.at),
        after.map(|position| position.id),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = DeliveryState::parse(&row.state);
            let state = state.ok_or(Error::corrupt("delivery", "state"))?;
            Ok(DeliveryRow {
                id: row.id.into(),
                event_id: EventId::derive(&row.topic, &row.cause),
                topic: row.topic,
                endpoint_id: row.endpoint_id.map(Into::into),
                state,
                tries: row.tries,
                created_at: row.created_at,
                due_at: (state == DeliveryState::Waiting).then_some(row.due_at),
                ended_at: row.ended_at,
                last_error: row.last_error,
            })
        })
        .collect()
}
