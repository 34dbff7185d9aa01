//! Endpoints: where operators want events to be posted to. What is posted is in `delivery.rs`.

use chrono::{DateTime, Utc};
use domain::WebhookEndpointId;
use sqlx::PgConnection;

use crate::Error;

/// An endpoint as it is registered.
#[derive(Debug, Clone, Copy)]
pub struct NewEndpoint<'a> {
    /// Where to post to.
    pub url: &'a str,
    /// What to post.
    pub topics: &'a [String],
    /// What to sign with.
    pub secret: &'a str,
    /// Who registers it.
    pub actor: &'a str,
}

/// An endpoint, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRow {
    /// Which.
    pub id: WebhookEndpointId,
    /// Where it is.
    pub url: String,
    /// What it is told of.
    pub topics: Vec<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// Registers an endpoint. `None` if there are so many already.
pub async fn register(
    conn: &mut PgConnection,
    new: NewEndpoint<'_>,
    endpoints_max: u32,
) -> Result<Option<EndpointRow>, Error> {
    let row = sqlx::query!(
        r#"
        INSERT INTO webhook_endpoint (url, topics, secret, created_by)
        SELECT $1, $2, $3, $4
        WHERE (SELECT count(*) FROM webhook_endpoint WHERE removed_at IS NULL) < $5
        RETURNING id, created_at
        "#,
        new.url,
        new.topics,
        new.secret,
        new.actor,
        i64::from(endpoints_max),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| EndpointRow {
        id: row.id.into(),
        url: new.url.to_owned(),
        topics: new.topics.to_vec(),
        created_at: row.created_at,
    }))
}

/// The endpoints that are told, oldest first.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<EndpointRow>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT id, url, topics, created_at FROM webhook_endpoint WHERE removed_at IS NULL
        ORDER BY created_at, id
        "#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| EndpointRow {
            id: row.id.into(),
            url: row.url,
            topics: row.topics,
            created_at: row.created_at,
        })
        .collect())
}

/// Removes an endpoint and forgets its secret. What is on its way there is given up when it comes due.
/// `false` if there is none.
pub async fn remove(
    conn: &mut PgConnection,
    id: WebhookEndpointId,
    actor: &str,
) -> Result<bool, Error> {
    let removed = sqlx::query!(
        r#"
        UPDATE webhook_endpoint SET removed_at = now(), removed_by = $2, secret = NULL
        WHERE id = $1 AND removed_at IS NULL
        "#,
        id.uuid(),
        actor,
    )
    .execute(conn)
    .await?
    .rows_affected();
    Ok(removed == 1)
}
