//! Deliveries: each event of the outbox, on its way to everybody who listens. Who is tried, when and
//! for how long is decided elsewhere.
//!
//! Whoever takes a delivery has it until its lease is over; one that was taken and never reported on
//! comes due again, so a receiver may be told twice and must look at the event's id.

mod review;

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{DeliveryId, EventId, WebhookEndpointId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::review::{DeliveryRow, list, retry};
use crate::Error;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is being tried, or will be.
    Waiting,
    /// Its consumer has it.
    Delivered,
    /// It was given up.
    Dead,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Dead];

    /// The state's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name; the same in every delivery and at every try.
    pub id: EventId,
    /// What kind of thing happened.
    pub topic: String,
    /// What happened, in ids and amounts.
    pub data: Value,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A delivery that was taken, to be tried now.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// Which.
    pub id: DeliveryId,
    /// How often it is tried, this time included.
    pub tries: u32,
    /// For how long it has been tried.
    pub tried_for: Duration,
    /// What is told.
    pub event: Event,
}

/// A delivery to an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// What is due.
    pub due: Due,
    /// To whom.
    pub endpoint_id: WebhookEndpointId,
    /// Where they are.
    pub url: String,
    /// What to sign with; gone if the endpoint was removed.
    pub secret: Option<String>,
}

/// Gives events out, oldest first: a delivery for each endpoint that listens, and a mail for these topics,
/// in one statement. How many events it were.
pub async fn fan_out(
    conn: &mut PgConnection,
    mail_topics: &[String],
    limit: i64,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        WITH given_out AS (
            DELETE FROM announcement WHERE event_id IN (
                SELECT event_id FROM announcement ORDER BY event_id LIMIT $1 FOR UPDATE SKIP LOCKED
            )
            RETURNING event_id
        ), posted AS (
            INSERT INTO delivery (event_id, endpoint_id)
            SELECT o.id, e.id
            FROM given_out g JOIN outbox o ON o.id = g.event_id
                JOIN webhook_endpoint e ON e.removed_at IS NULL AND o.topic = ANY (e.topics)
        ), mailed AS (
            INSERT INTO delivery (event_id)
            SELECT o.id FROM given_out g JOIN outbox o ON o.id = g.event_id WHERE o.topic = ANY ($2)
        )
        SELECT count(*) AS "given_out!" FROM given_out
        "#,
        limit,
        mail_topics,
    )
    .fetch_one(conn)
    .await?)
}

/// Takes posts that are due, for so long, and at most so many for each endpoint that is not among the
/// busy ones: however many wait for one of them, the others' turn comes.
pub async fn take_posts(
    conn: &mut PgConnection,
    busy: &[WebhookEndpointId],
    each_max: i64,
    lease: Duration,
) -> Result<Vec<Post>, Error> {
    let busy: Vec<Uuid> = busy.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT d.id, e.id AS endpoint_id, e.url, e.secret
            FROM webhook_endpoint e CROSS JOIN LATERAL (
                SELECT id FROM delivery
                WHERE endpoint_id = e.id AND state = 'waiting' AND due_at <= now()
                ORDER BY due_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
            ) d
            WHERE e.id <> ALL ($1)
        )
        UPDATE delivery d
        SET tries = d.tries + 1, due_at = now() + $3::bigint * interval '1 millisecond'
        FROM due, outbox o WHERE d.id = due.id AND o.id = d.event_id
        RETURNING d.id, d.tries, (extract(epoch FROM now() - d.tried_since) * 1000)::bigint AS "tried_for_ms!",
            due.endpoint_id AS "endpoint_id!", due.url AS "url!", due.secret AS "secret?", o.topic, o.cause, o.payload, o.created_at
        "#,
        &busy,
        each_max,
        millis(lease),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Post {
            due: Due {
                id: row.id.into(),
                tries: count(row.tries),
                tried_for: duration(row.tried_for_ms),
                event: event(row.topic, &row.cause, row.payload, row.created_at),
            },
            endpoint_id: row.endpoint_id.into(),
            url: row.url,
            secret: row.secret,
        })
        .collect())
}

/// Takes mails that are due, for so long.
pub async fn take_mails(
    conn: &mut PgConnection,
    limit: i64,
    lease: Duration,
) -> Result<Vec<Due>, Error> {
    let rows = sqlx::query!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT id FROM delivery WHERE endpoint_id IS NULL AND state = 'waiting' AND due_at <= now()
            ORDER BY due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE delivery d
        SET tries = d.tries + 1, due_at = now() + $2::bigint * interval '1 millisecond'
        FROM due, outbox o WHERE d.id = due.id AND o.id = d.event_id
        RETURNING d.id, d.tries, (extract(epoch FROM now() - d.tried_since) * 1000)::bigint AS "tried_for_ms!",
            o.topic, o.cause, o.payload, o.created_at
        "#,
        limit,
        millis(lease),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Due {
            id: row.id.into(),
            tries: count(row.tries),
            tried_for: duration(row.tried_for_ms),
            event: event(row.topic, &row.cause, row.payload, row.created_at),
        })
        .collect())
}

/// Writes down that the consumer has it, whoever else is trying.
pub async fn delivered(conn: &mut PgConnection, id: DeliveryId) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE delivery SET state = 'delivered', ended_at = now(), last_error = NULL
        WHERE id = $1 AND state <> 'delivered'
        "#,
        id.uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes down what went wrong at this try, and when the next one is; without a next one the delivery is
/// given up. Nothing, if somebody else is trying by now.
pub async fn failed(
    conn: &mut PgConnection,
    due: &Due,
    error: &str,
    pause: Option<Duration>,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE delivery SET last_error = left($3, 300),
            state = CASE WHEN $4::bigint IS NULL THEN 'dead' ELSE state END,
            ended_at = CASE WHEN $4::bigint IS NULL THEN now() END,
            due_at = coalesce(now() + $4::bigint * interval '1 millisecond', due_at)
        WHERE id = $1 AND tries = $2 AND state = 'waiting'
        "#,
        due.id.uuid(),
        i64::from(due.tries),
        error,
        pause.map(millis),
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn event(topic: String, cause: &str, data: Value, created_at: DateTime<Utc>) -> Event {
    Event { id: EventId::derive(&topic, cause), topic, data, created_at }
}

fn count(tries: i64) -> u32 {
    u32::try_from(tries).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
