//! Stock: received, reserved, committed, given back. A reservation resolves at most once.
//!
//! The heart is one conditional decrement: a row changes only where `available >= quantity`, and the
//! database applies that atomically, so two buyers of the last unit cannot both have it.
//! Callers do not write to a popular row one by one: `queue.rs` gathers what they ask for, and
//! `reserve.rs` and `resolve.rs` decide it together.

mod queue;
mod reserve;
mod resolve;

use chrono::{DateTime, Utc};
use domain::{CheckoutId, ShortLine, Sku, StockLine};
use sqlx::{PgConnection, PgPool};

pub use self::queue::Served;
use self::{queue::Queue, reserve::Reserve, resolve::Resolve};
use crate::Error;

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

/// What becomes of a held reservation, once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its units are sold.
    Committed,
    /// The checkout gave it back.
    Released,
    /// The hold ran out.
    Expired,
}

impl Resolution {
    const ALL: [Self; 3] = [Self::Committed, Self::Released, Self::Expired];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|resolution| resolution.as_str() == name)
            .ok_or(Error::corrupt("reservation", "state"))
    }
}

/// The stock of the shop. Reservations and what becomes of them go through two queues, so that a
/// crowd at one SKU is served in batches; see `queue.rs`. Clones share the queues.
#[derive(Clone)]
pub struct Inventory {
    pool: PgPool,
    reserve: Queue<Reserve>,
    resolve: Queue<Resolve>,
}

impl Inventory {
    /// The stock kept in this database. To be called within a runtime, which keeps its queues going.
    pub fn new(pool: PgPool) -> Self {
        let options = pool.connect_options();
        Self { reserve: Queue::start(&options), resolve: Queue::start(&options), pool }
    }

    /// Holds every line or none, for so long on the database's clock. The lines name each SKU once.
    /// Running it twice holds once. [`Error::Busy`] if too many wait before it.
    pub async fn reserve(
        &self,
        checkout_id: CheckoutId,
        lines: Vec<StockLine>,
        hold_ms: u64,
    ) -> Result<Reserved, Error> {
        let hold_ms = i64::try_from(hold_ms).unwrap_or(i64::MAX);
        self.reserve.ask(reserve::Request { checkout_id, lines, hold_ms }).await
    }

    /// Turns the held units of a paid order into sold ones, once. That nothing is held is a broken
    /// invariant: a paid order's hold can neither be given back nor run out.
    pub async fn sell(&self, checkout_id: CheckoutId) -> Result<(), Error> {
        match self.resolve(checkout_id, Resolution::Committed).await? {
            Some(Resolution::Committed) => Ok(()),
            Some(Resolution::Released | Resolution::Expired) | None => {
                Err(Error::Broken(format!("{checkout_id} is paid, but its stock is not held")))
            }
        }
    }

    /// Gives held units back, once; what was never held is barred from being held later. What the
    /// reservation has come to, which is another thing if somebody was quicker.
    pub async fn give_back(
        &self,
        checkout_id: CheckoutId,
        resolution: Resolution,
    ) -> Result<Resolution, Error> {
        self.resolve(checkout_id, resolution).await?.ok_or_else(|| {
            Error::Unavailable(format!("the stock of {checkout_id} is being reserved"))
        })
    }

    async fn resolve(
        &self,
        checkout_id: CheckoutId,
        resolution: Resolution,
    ) -> Result<Option<Resolution>, Error> {
        self.resolve.ask(resolve::Request { checkout_id, resolution }).await
    }

    /// What the queue of reservations has done.
    pub fn reserved(&self) -> Served {
        self.reserve.served()
    }

    /// What the queue of sales and returns has done.
    pub fn resolved(&self) -> Served {
        self.resolve.served()
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

/// Whether a hold has run out, with its lock, so that it is not extended before the caller's
/// transaction ends. `false`, too, if it is in somebody else's hands.
pub async fn lock_due(conn: &mut PgConnection, checkout_id: CheckoutId) -> Result<bool, Error> {
    let due = sqlx::query_scalar!(
        r#"
        SELECT checkout_id FROM reservation
        WHERE checkout_id = $1 AND state = 'held' AND expires_at <= now()
        FOR UPDATE SKIP LOCKED
        "#,
        checkout_id.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(due.is_some())
}

/// How many units of each SKU are available; one that was never received is not there.
pub async fn levels(conn: &mut PgConnection, skus: &[Sku]) -> Result<Vec<(Sku, i64)>, Error> {
    let skus: Vec<String> = skus.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!("SELECT sku, available FROM inventory WHERE sku = ANY ($1)", &skus)
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|row| {
            let sku = row.sku.try_into().map_err(|_| Error::corrupt("inventory", "sku"))?;
            Ok((sku, row.available))
        })
        .collect()
}

/// How booking a receipt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is booked.
    Booked,
    /// It was booked before, under the same reference.
    Known,
    /// It would take out more than is available, and nothing was booked.
    TooFew {
        /// Units that could be taken out.
        available: i64,
        /// Units that are held for checkouts.
        reserved: i64,
    },
}

/// Books stock in or, negative, out, for a reason: a delivery, a count, shrinkage. Once per reference. It
/// takes the row's lock, so several SKUs in one transaction go in their order.
pub async fn receive(
    conn: &mut PgConnection,
    sku: &Sku,
    delta: i64,
    reason: &str,
    reference: &str,
) -> Result<Received, Error> {
    if delta < 0
        && let Some(short) = too_few(conn, sku, delta, reference).await?
    {
        return Ok(short);
    }
    let booked = sqlx::query_scalar!(
        r#"
        WITH booked AS (
            INSERT INTO receipt (sku, delta, reason, reference) VALUES ($1, $2, $3, $4)
            ON CONFLICT (reference) DO NOTHING
            RETURNING sku, delta
        ), counted AS (
            INSERT INTO inventory AS i (sku, received, available)
            SELECT sku, delta, delta FROM booked WHERE delta > 0
            ON CONFLICT (sku) DO UPDATE
                SET received = i.received + EXCLUDED.received, available = i.available + EXCLUDED.available
        ), lowered AS (
            UPDATE inventory i SET received = i.received + b.delta, available = i.available + b.delta
            FROM booked b WHERE b.delta < 0 AND i.sku = b.sku
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
    Ok(if booked == 1 { Received::Booked } else { Received::Known })
}

/// Why so many units cannot be taken out, if they cannot; with the row's lock, so that it stays so. A
/// receipt that is known already is not judged again.
async fn too_few(
    conn: &mut PgConnection,
    sku: &Sku,
    delta: i64,
    reference: &str,
) -> Result<Option<Received>, Error> {
    let row = sqlx::query!(
        "SELECT available, reserved FROM inventory WHERE sku = $1 FOR NO KEY UPDATE",
        sku.as_str()
    )
    .fetch_optional(&mut *conn)
    .await?;
    let (available, reserved) = row.map_or((0, 0), |row| (row.available, row.reserved));
    if available.saturating_add(delta) >= 0 {
        return Ok(None);
    }
    let known = sqlx::query_scalar!("SELECT id FROM receipt WHERE reference = $1", reference)
        .fetch_optional(conn)
        .await?;
    Ok(known.is_none().then_some(Received::TooFew { available, reserved }))
}
