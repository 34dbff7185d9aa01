//! One database's rows of reservations, looked at and made to last. What holds and resolves them goes
//! through the queues.

use chrono::{DateTime, Utc};
use domain::CheckoutId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// A checkout's hold on the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Whether the stock is held still.
    pub held: bool,
    /// Until when, if it is.
    pub expires_at: DateTime<Utc>,
}

pub(super) async fn find(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
) -> Result<Option<Hold>, Error> {
    Ok(sqlx::query_as!(
        Hold,
        r#"SELECT state = 'held' AS "held!", expires_at FROM reservation WHERE checkout_id = $1"#,
        checkout_id.uuid()
    )
    .fetch_optional(conn)
    .await?)
}

/// The checkouts that stock is held for in this database, by their id: the first after one, or of all.
pub async fn held(
    conn: &mut PgConnection,
    after: Option<CheckoutId>,
    limit: u32,
) -> Result<Vec<CheckoutId>, Error> {
    let held = sqlx::query_scalar!(
        r#"
        SELECT checkout_id FROM reservation WHERE state = 'held' AND checkout_id > $1
        ORDER BY checkout_id LIMIT $2
        "#,
        after.map_or(Uuid::nil(), CheckoutId::uuid),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(held.into_iter().map(CheckoutId::from).collect())
}

/// Those that have a reservation, whatever its state.
pub(super) async fn known(
    conn: &mut PgConnection,
    checkouts: &[CheckoutId],
) -> Result<Vec<CheckoutId>, Error> {
    let ids: Vec<Uuid> = checkouts.iter().map(|id| id.uuid()).collect();
    let known = sqlx::query_scalar!(
        "SELECT checkout_id FROM reservation WHERE checkout_id = ANY ($1)",
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(known.into_iter().map(CheckoutId::from).collect())
}

/// Makes a hold last at least so long from now. Usually it does already, and nothing is written.
pub(super) async fn extend(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    at_least_ms: u64,
) -> Result<Option<DateTime<Utc>>, Error> {
    let expires_at = sqlx::query_scalar!(
        r#"
        WITH extended AS (
            UPDATE reservation SET expires_at = now() + $2::bigint * interval '1 millisecond'
            WHERE checkout_id = $1 AND state = 'held'
                AND expires_at < now() + $2::bigint * interval '1 millisecond'
            RETURNING expires_at
        )
        SELECT greatest(r.expires_at, (SELECT expires_at FROM extended)) AS "expires_at!"
        FROM reservation r WHERE checkout_id = $1 AND state = 'held'
        "#,
        checkout_id.uuid(),
        i64::try_from(at_least_ms).unwrap_or(i64::MAX),
    )
    .fetch_optional(conn)
    .await?;
    Ok(expires_at)
}

/// Whether a held reservation has run out. `None` if nothing is held.
pub(super) async fn ran_out(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
) -> Result<Option<bool>, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        SELECT expires_at <= now() AS "ran_out!" FROM reservation
        WHERE checkout_id = $1 AND state = 'held'
        "#,
        checkout_id.uuid(),
    )
    .fetch_optional(conn)
    .await?)
}

/// The held reservations that have run out, oldest first.
pub(super) async fn due(conn: &mut PgConnection, limit: u32) -> Result<Vec<CheckoutId>, Error> {
    let ids = sqlx::query_scalar!(
        r#"
        SELECT checkout_id FROM reservation
        WHERE state = 'held' AND expires_at <= now()
        ORDER BY expires_at LIMIT $1
        "#,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(CheckoutId::from).collect())
}

/// Milliseconds until the next held reservation runs out; zero if one already has.
pub(super) async fn next_due_in_ms(conn: &mut PgConnection) -> Result<Option<u64>, Error> {
    let ms = sqlx::query_scalar!(
        r#"
        SELECT (extract(epoch FROM min(expires_at) - now()) * 1000)::bigint FROM reservation
        WHERE state = 'held'
        "#,
    )
    .fetch_one(conn)
    .await?;
    Ok(ms.map(|ms| u64::try_from(ms).unwrap_or(0)))
}
