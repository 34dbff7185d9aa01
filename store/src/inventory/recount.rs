//! Putting a SKU's counters right that are not the sums of its ledgers, as nothing here ever leaves them.

use domain::Sku;
use sqlx::{Connection as _, PgConnection};

use super::receipt::{Level, level};
use crate::{Error, law};

/// How a recount went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recounted {
    /// The counters are what the ledgers say, and were before.
    Right,
    /// They were others.
    Mended {
        /// What they said.
        before: Level,
        /// What the ledgers say.
        after: Level,
    },
    /// What the ledgers say cannot be: more is held and sold than was received.
    Impossible {
        /// What the counters say.
        before: Level,
        /// What the ledgers say.
        ledgers: Level,
    },
}

/// The SKUs whose counters are not the sums of their ledgers.
pub async fn miscounted(conn: &mut PgConnection) -> Result<Vec<Sku>, Error> {
    let skus = law::STOCK.broken_by(conn).await?;
    skus.into_iter()
        .map(|sku| sku.parse().map_err(|_| Error::corrupt("inventory", "sku")))
        .collect()
}

/// Sets the counters of a SKU to what its receipts and reservations say, in a transaction of its own. The
/// row is locked before the ledgers are read: whoever moves stock adds to the row, or takes from it, in the
/// transaction that writes the ledger, and so comes wholly before this or wholly after.
pub async fn recount(conn: &mut PgConnection, sku: &Sku) -> Result<Recounted, Error> {
    let mut tx = conn.begin().await?;
    sqlx::query!(
        "INSERT INTO inventory (sku) VALUES ($1) ON CONFLICT (sku) DO NOTHING",
        sku.as_str()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("SELECT FROM inventory WHERE sku = $1 FOR NO KEY UPDATE", sku.as_str())
        .execute(&mut *tx)
        .await?;
    let before = level(&mut tx, sku).await?;
    let ledgers = ledgers(&mut tx, sku).await?;
    if before == ledgers {
        return Ok(Recounted::Right);
    }
    if ledgers.available < 0 {
        return Ok(Recounted::Impossible { before, ledgers });
    }
    sqlx::query!(
        "UPDATE inventory SET received = $2, available = $3, reserved = $4, sold = $5 WHERE sku = $1",
        sku.as_str(),
        ledgers.received,
        ledgers.available,
        ledgers.reserved,
        ledgers.sold,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Recounted::Mended { before, after: ledgers })
}

async fn ledgers(conn: &mut PgConnection, sku: &Sku) -> Result<Level, Error> {
    Ok(sqlx::query_as!(
        Level,
        r#"
        SELECT received AS "received!", received - reserved - sold AS "available!", reserved AS "reserved!",
            sold AS "sold!"
        FROM (
            SELECT coalesce(sum(delta), 0)::bigint AS received FROM receipt WHERE sku = $1
        ) b, (
            SELECT coalesce(sum(u.quantity) FILTER (WHERE state = 'held'), 0)::bigint AS reserved,
                coalesce(sum(u.quantity) FILTER (WHERE state = 'committed'), 0)::bigint AS sold
            FROM reservation, unnest(skus, quantities) AS u (sku, quantity) WHERE u.sku = $1
        ) h
        "#,
        sku.as_str()
    )
    .fetch_one(conn)
    .await?)
}
