//! Stock: received, reserved, committed, given back. A reservation resolves at most once.
//!
//! The heart is one conditional decrement: a row changes only where `available >= quantity`, and the
//! database applies that atomically, so two buyers of the last unit cannot both have it.

use chrono::{DateTime, Utc};
use domain::{CheckoutId, Quantity, ShortLine, Sku};
use sqlx::{PgConnection, PgPool};

use crate::{Error, constraint};

/// How often a reserve looks again when it found no line short, though it could not take them all:
/// somebody gave stock back between its two looks.
const LOOKS_MAX: u32 = 4;

/// One SKU's share of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// How a reserve ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// Every line is held, from now or from an earlier run of the same reserve.
    Held {
        /// Until when, on the database's clock.
        expires_at: DateTime<Utc>,
    },
    /// Nothing was taken; these lines are short.
    SoldOut(Vec<ShortLine>),
    /// The reservation was released or expired before; it cannot be taken again.
    Ended,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The held units are sold, now or by an earlier run.
    Sold,
    /// There is nothing held to sell: it went back, or never was.
    Ended,
}

/// Why held stock goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The checkout gave it back.
    Released,
    /// The hold ran out.
    Expired,
}

impl Resolution {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// The stock of the shop. Callers know no more of it than these calls, so that how reservations are
/// carried to the database can change behind them.
#[derive(Debug, Clone)]
pub struct Inventory {
    pool: PgPool,
}

impl Inventory {
    /// The stock kept in this database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Holds every line or none. The lines name each SKU once. Running it twice holds once.
    pub async fn reserve(
        &self,
        checkout_id: CheckoutId,
        lines: &[StockLine],
        hold_ms: u64,
    ) -> Result<Reserved, Error> {
        let mut conn = self.pool.acquire().await?;
        for _ in 0..LOOKS_MAX {
            match take(&mut conn, checkout_id, lines, hold_ms).await {
                Ok(Some(expires_at)) => return Ok(Reserved::Held { expires_at }),
                Ok(None) => {}
                Err(error) if constraint(&error) == Some("reservation_pkey") => {}
                Err(error) => return Err(error.into()),
            }
            let known = known(&mut conn, checkout_id).await?;
            match known {
                // What an earlier run of this reserve took is not short for this one.
                Some(Known::Held { expires_at }) => return Ok(Reserved::Held { expires_at }),
                Some(Known::Ended) => return Ok(Reserved::Ended),
                Some(Known::NeverHeld) | None => {}
            }
            // An earlier run that found lines short may have been undone already, and then its answer
            // be lost: this one finds them short, too.
            let short = short_lines(&mut conn, lines).await?;
            if !short.is_empty() {
                return Ok(Reserved::SoldOut(short));
            }
            if known.is_some() {
                return Ok(Reserved::Ended);
            }
        }
        Err(sqlx::Error::PoolTimedOut.into())
    }

    /// Gives held stock back. One that was never held is barred from being held later.
    pub async fn release(
        &self,
        checkout_id: CheckoutId,
        resolution: Resolution,
    ) -> Result<(), Error> {
        sqlx::query!(
            r#"
            WITH resolved AS (
                INSERT INTO reservation (checkout_id, state, skus, quantities, expires_at, resolved_at)
                VALUES ($1, $2, '{}', '{}', now(), now())
                ON CONFLICT (checkout_id) DO UPDATE
                    SET state = EXCLUDED.state, resolved_at = EXCLUDED.resolved_at
                    WHERE reservation.state = 'held'
                RETURNING skus, quantities
            ), line AS (
                SELECT u.sku, u.quantity FROM resolved, unnest(skus, quantities) AS u (sku, quantity)
            ), locked AS MATERIALIZED (
                SELECT i.sku, l.quantity FROM inventory i JOIN line l USING (sku)
                ORDER BY i.sku FOR NO KEY UPDATE OF i
            )
            UPDATE inventory i
            SET available = i.available + l.quantity, reserved = i.reserved - l.quantity
            FROM locked l WHERE i.sku = l.sku
            "#,
            checkout_id.uuid(),
            resolution.as_str(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The held reservations that have run out, oldest first.
    pub async fn due(&self, limit: u32) -> Result<Vec<CheckoutId>, Error> {
        let ids = sqlx::query_scalar!(
            r#"
            SELECT checkout_id FROM reservation
            WHERE state = 'held' AND expires_at <= now()
            ORDER BY expires_at LIMIT $1
            "#,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(CheckoutId::from).collect())
    }

    /// Milliseconds until the next held reservation runs out; zero if one already has.
    pub async fn next_due_in_ms(&self) -> Result<Option<u64>, Error> {
        let ms = sqlx::query_scalar!(
            r#"
            SELECT (extract(epoch FROM min(expires_at) - now()) * 1000)::bigint FROM reservation
            WHERE state = 'held'
            "#,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(ms.map(|ms| u64::try_from(ms).unwrap_or(0)))
    }
}

/// The brief's conditional decrement over all lines at once: rows are locked in SKU order and only
/// while they suffice, and nothing is written unless every one of them does.
async fn take(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    lines: &[StockLine],
    hold_ms: u64,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let skus: Vec<String> = lines.iter().map(|line| line.sku.to_string()).collect();
    let quantities: Vec<i64> = lines.iter().map(|line| i64::from(line.quantity)).collect();
    sqlx::query_scalar!(
        r#"
        WITH wanted AS (
            SELECT w.sku, w.quantity FROM unnest($2::text[], $3::bigint[]) AS w (sku, quantity)
        ), locked AS MATERIALIZED (
            SELECT i.sku FROM inventory i JOIN wanted w USING (sku)
            WHERE i.available >= w.quantity
            ORDER BY i.sku FOR NO KEY UPDATE OF i
        ), admitted AS MATERIALIZED (
            SELECT count(*) = cardinality($2::text[]) AS ok FROM locked
        ), held AS (
            INSERT INTO reservation (checkout_id, state, skus, quantities, expires_at)
            SELECT $1, 'held', $2, $3, now() + $4::bigint * interval '1 millisecond'
            FROM admitted WHERE ok
            RETURNING expires_at
        ), taken AS (
            UPDATE inventory i
            SET available = i.available - w.quantity, reserved = i.reserved + w.quantity
            FROM wanted w, admitted a
            WHERE a.ok AND i.sku = w.sku AND i.available >= w.quantity
        )
        SELECT expires_at FROM held
        "#,
        checkout_id.uuid(),
        &skus,
        &quantities,
        i64::try_from(hold_ms).unwrap_or(i64::MAX),
    )
    .fetch_optional(conn)
    .await
}

async fn short_lines(
    conn: &mut PgConnection,
    lines: &[StockLine],
) -> Result<Vec<ShortLine>, Error> {
    let skus: Vec<String> = lines.iter().map(|line| line.sku.to_string()).collect();
    let stock = sqlx::query!("SELECT sku, available FROM inventory WHERE sku = ANY ($1)", &skus)
        .fetch_all(conn)
        .await?;
    let short = lines.iter().filter_map(|line| {
        let wanted = i64::from(line.quantity);
        // A SKU without a row has never been received.
        let available =
            stock.iter().find(|row| row.sku == line.sku.as_str()).map_or(0, |row| row.available);
        (available < wanted).then(|| ShortLine { sku: line.sku.clone(), wanted, available })
    });
    Ok(short.collect())
}

/// What became of a reservation that is there already.
#[derive(Clone, Copy)]
enum Known {
    Held {
        expires_at: DateTime<Utc>,
    },
    Ended,
    /// Released without having held anything.
    NeverHeld,
}

async fn known(conn: &mut PgConnection, checkout_id: CheckoutId) -> Result<Option<Known>, Error> {
    let row = sqlx::query!(
        r#"
        SELECT state, expires_at, cardinality(skus) = 0 AS "never_held!" FROM reservation
        WHERE checkout_id = $1
        "#,
        checkout_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| match row.state.as_str() {
        "held" | "committed" => Ok(Known::Held { expires_at: row.expires_at }),
        "released" | "expired" if row.never_held => Ok(Known::NeverHeld),
        "released" | "expired" => Ok(Known::Ended),
        _ => Err(Error::corrupt("reservation", "state")),
    })
    .transpose()
}

/// Makes a hold last at least so long from now. `None` if nothing is held.
pub async fn extend(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    at_least_ms: u64,
) -> Result<Option<DateTime<Utc>>, Error> {
    Ok(sqlx::query_scalar!(
        r#"
        UPDATE reservation
        SET expires_at = greatest(expires_at, now() + $2::bigint * interval '1 millisecond')
        WHERE checkout_id = $1 AND state = 'held'
        RETURNING expires_at
        "#,
        checkout_id.uuid(),
        i64::try_from(at_least_ms).unwrap_or(i64::MAX),
    )
    .fetch_optional(conn)
    .await?)
}

/// Frees a hold that has run out. `false` if it is not held, not due any more, or in another
/// sweeper's hands.
pub async fn expire(conn: &mut PgConnection, checkout_id: CheckoutId) -> Result<bool, Error> {
    let resolved = sqlx::query_scalar!(
        r#"
        WITH due AS MATERIALIZED (
            SELECT checkout_id FROM reservation
            WHERE checkout_id = $1 AND state = 'held' AND expires_at <= now()
            FOR UPDATE SKIP LOCKED
        ), resolved AS (
            UPDATE reservation r SET state = 'expired', resolved_at = now()
            FROM due d WHERE r.checkout_id = d.checkout_id
            RETURNING r.skus, r.quantities
        ), line AS (
            SELECT u.sku, u.quantity FROM resolved, unnest(skus, quantities) AS u (sku, quantity)
        ), locked AS MATERIALIZED (
            SELECT i.sku, l.quantity FROM inventory i JOIN line l USING (sku)
            ORDER BY i.sku FOR NO KEY UPDATE OF i
        ), back AS (
            UPDATE inventory i
            SET available = i.available + l.quantity, reserved = i.reserved - l.quantity
            FROM locked l WHERE i.sku = l.sku
        )
        SELECT count(*) AS "resolved!" FROM resolved
        "#,
        checkout_id.uuid(),
    )
    .fetch_one(conn)
    .await?;
    Ok(resolved == 1)
}

/// Turns the held units into sold ones, within the transaction that makes the sale final.
pub async fn commit(conn: &mut PgConnection, checkout_id: CheckoutId) -> Result<Committed, Error> {
    let resolved = sqlx::query_scalar!(
        r#"
        WITH resolved AS (
            UPDATE reservation SET state = 'committed', resolved_at = now()
            WHERE checkout_id = $1 AND state = 'held'
            RETURNING skus, quantities
        ), line AS (
            SELECT u.sku, u.quantity FROM resolved, unnest(skus, quantities) AS u (sku, quantity)
        ), locked AS MATERIALIZED (
            SELECT i.sku, l.quantity FROM inventory i JOIN line l USING (sku)
            ORDER BY i.sku FOR NO KEY UPDATE OF i
        ), moved AS (
            UPDATE inventory i SET reserved = i.reserved - l.quantity, sold = i.sold + l.quantity
            FROM locked l WHERE i.sku = l.sku
        )
        SELECT count(*) AS "resolved!" FROM resolved
        "#,
        checkout_id.uuid(),
    )
    .fetch_one(&mut *conn)
    .await?;
    if resolved == 1 {
        return Ok(Committed::Sold);
    }
    let state = sqlx::query_scalar!(
        "SELECT state FROM reservation WHERE checkout_id = $1",
        checkout_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    Ok(if state.as_deref() == Some("committed") { Committed::Sold } else { Committed::Ended })
}

/// Books stock in (or, negative, out), once per reference. Whether it was news.
pub async fn receive(
    conn: &mut PgConnection,
    sku: &Sku,
    delta: i64,
    reason: &str,
    reference: &str,
) -> Result<bool, Error> {
    let booked = sqlx::query_scalar!(
        r#"
        WITH booked AS (
            INSERT INTO receipt (sku, delta, reason, reference) VALUES ($1, $2, $3, $4)
            ON CONFLICT (reference) DO NOTHING
            RETURNING sku, delta
        ), counted AS (
            INSERT INTO inventory AS i (sku, received, available) SELECT sku, delta, delta FROM booked
            ON CONFLICT (sku) DO UPDATE
                SET received = i.received + EXCLUDED.received, available = i.available + EXCLUDED.available
        )
        SELECT count(*) AS "booked!" FROM booked
        "#,
        sku.as_str(),
        delta,
        reason,
        reference,
    )
    .fetch_one(conn)
    .await?;
    Ok(booked == 1)
}
