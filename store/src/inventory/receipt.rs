//! Receipts: the only way that stock enters or leaves outside orders. A ledger, and its counters.

use domain::Sku;
use sqlx::{Connection as _, PgConnection};

use crate::Error;

/// Stock that comes in or, negative, goes out.
#[derive(Debug, Clone, Copy)]
pub struct Receipt<'a> {
    /// Of what.
    pub sku: &'a Sku,
    /// How many units; not zero.
    pub delta: i64,
    /// Why: a delivery, a count, shrinkage.
    pub reason: &'a str,
    /// What tells it from every other receipt of this SKU, such as a delivery note's number.
    pub reference: &'a str,
    /// Who books it.
    pub actor: &'a str,
}

/// How booking a receipt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is booked.
    Booked,
    /// It was booked before, under the same reference.
    Known,
    /// Another receipt was booked under this reference.
    Other {
        /// What that one booked.
        delta: i64,
    },
    /// It would take out more than is available, and nothing was booked.
    TooFew {
        /// Units that could be taken out.
        available: i64,
        /// Units that are held for checkouts.
        reserved: i64,
    },
}

/// The counters of a SKU's stock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// Units booked in by receipts, less those booked out.
    pub received: i64,
    /// Units that can be had.
    pub available: i64,
    /// Units held for checkouts.
    pub reserved: i64,
    /// Units sold.
    pub sold: i64,
}

/// Books a receipt, once per SKU and reference. It takes the row's lock, so several SKUs in one
/// transaction go in their order.
pub async fn receive(conn: &mut PgConnection, receipt: Receipt<'_>) -> Result<Received, Error> {
    if receipt.delta < 0
        && let Some(short) = too_few(conn, receipt).await?
    {
        return Ok(short);
    }
    let booked = sqlx::query_scalar!(
        r#"
        WITH booked AS (
            INSERT INTO receipt (sku, delta, reason, reference, actor) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (sku, reference) DO NOTHING
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
        receipt.sku.as_str(),
        receipt.delta,
        receipt.reason,
        receipt.reference,
        receipt.actor,
    )
    .fetch_one(&mut *conn)
    .await?;
    if booked == 1 {
        return Ok(Received::Booked);
    }
    let known = find(conn, receipt).await?;
    known.ok_or_else(|| {
        Error::Broken(format!("a receipt of {} was neither booked nor known", receipt.sku))
    })
}

/// The same, in a transaction of its own, with the counters after it.
pub async fn book(
    conn: &mut PgConnection,
    receipt: Receipt<'_>,
) -> Result<(Received, Level), Error> {
    let mut tx = conn.begin().await?;
    let received = receive(&mut tx, receipt).await?;
    let level = level(&mut tx, receipt.sku).await?;
    tx.commit().await?;
    Ok((received, level))
}

/// The counters of a SKU's stock; one that was never received has none of anything.
pub async fn level(conn: &mut PgConnection, sku: &Sku) -> Result<Level, Error> {
    let level = sqlx::query_as!(
        Level,
        "SELECT received, available, reserved, sold FROM inventory WHERE sku = $1",
        sku.as_str()
    )
    .fetch_optional(conn)
    .await?;
    Ok(level.unwrap_or_default())
}

/// Why so many units cannot be taken out, if they cannot; with the row's lock, so that it stays so. A
/// receipt that is known already is not judged again.
async fn too_few(conn: &mut PgConnection, receipt: Receipt<'_>) -> Result<Option<Received>, Error> {
    let row = sqlx::query!(
        "SELECT available, reserved FROM inventory WHERE sku = $1 FOR NO KEY UPDATE",
        receipt.sku.as_str()
    )
    .fetch_optional(&mut *conn)
    .await?;
    let (available, reserved) = row.map_or((0, 0), |row| (row.available, row.reserved));
    if available.saturating_add(receipt.delta) >= 0 {
        return Ok(None);
    }
    let known = find(conn, receipt).await?;
    Ok(Some(known.unwrap_or(Received::TooFew { available, reserved })))
}

/// What is booked under the receipt's reference, beside what it would book.
async fn find(conn: &mut PgConnection, receipt: Receipt<'_>) -> Result<Option<Received>, Error> {
    let booked = sqlx::query_scalar!(
        "SELECT delta FROM receipt WHERE sku = $1 AND reference = $2",
        receipt.sku.as_str(),
        receipt.reference
    )
    .fetch_optional(conn)
    .await?;
    Ok(booked.map(
        |delta| {
            if delta == receipt.delta { Received::Known } else { Received::Other { delta } }
        },
    ))
}
