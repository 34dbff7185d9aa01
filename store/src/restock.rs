//! What came back and was put on the shelf again, line by line of an order, and never more of a line than
//! was sold. The stock itself is booked in after this, where it is kept; repeating mends what happened in
//! between.

use std::collections::BTreeMap;

use domain::{OrderId, OrderState, Sku};
use sqlx::PgConnection;

use crate::{Error, order};

/// Units that came back.
#[derive(Debug, Clone)]
pub struct Restock<'a> {
    /// Of which order.
    pub order_id: OrderId,
    /// How many units of which SKU; not none.
    pub lines: &'a BTreeMap<Sku, i64>,
    /// Why.
    pub reason: &'a str,
    /// What tells it from every other restock of this order.
    pub reference: &'a str,
    /// Who decided it.
    pub actor: &'a str,
}

/// A line of which less is left to restock than is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcessLine {
    /// What.
    pub sku: Sku,
    /// How many were to be restocked.
    pub wanted: i64,
    /// How many of those that were sold are not restocked yet.
    pub left: i64,
}

/// How writing a restock down ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restocked {
    /// It is written down.
    Noted,
    /// It was written down before, under the same reference.
    Known,
    /// Other lines were restocked under this reference.
    Other,
    /// More would be restocked than was sold, and nothing was written.
    Exceeds(Vec<ExcessLine>),
    /// Nothing of this order was sold.
    InvalidState(OrderState),
}

/// Writes a restock down, once per reference. `None` if there is no such order.
pub async fn note(
    conn: &mut PgConnection,
    restock: Restock<'_>,
) -> Result<Option<Restocked>, Error> {
    let Some(order) = order::find(conn, restock.order_id).await? else {
        return Ok(None);
    };
    if !order.state.sold() {
        return Ok(Some(Restocked::InvalidState(order.state)));
    }
    let known = under(conn, &restock).await?;
    if !known.is_empty() {
        let same = known == *restock.lines;
        return Ok(Some(if same { Restocked::Known } else { Restocked::Other }));
    }
    let excess = excess(conn, &restock).await?;
    if !excess.is_empty() {
        return Ok(Some(Restocked::Exceeds(excess)));
    }
    insert(conn, &restock).await?;
    Ok(Some(Restocked::Noted))
}

/// What is written down under the reference.
async fn under(
    conn: &mut PgConnection,
    restock: &Restock<'_>,
) -> Result<BTreeMap<Sku, i64>, Error> {
    let rows = sqlx::query!(
        "SELECT sku, quantity FROM restock WHERE order_id = $1 AND reference = $2",
        restock.order_id.uuid(),
        restock.reference,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Ok((sku(row.sku)?, row.quantity))).collect()
}

/// The lines of which less is left than is wanted; one that was never sold has nothing left.
async fn excess(conn: &mut PgConnection, restock: &Restock<'_>) -> Result<Vec<ExcessLine>, Error> {
    let rows = sqlx::query!(
        r#"SELECT sku, quantity - restocked AS "left!" FROM order_line WHERE order_id = $1"#,
        restock.order_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    let left: BTreeMap<Sku, i64> =
        rows.into_iter().map(|row| Ok((sku(row.sku)?, row.left))).collect::<Result<_, Error>>()?;
    let excess = restock.lines.iter().map(|(sku, wanted)| ExcessLine {
        sku: sku.clone(),
        wanted: *wanted,
        left: left.get(sku).copied().unwrap_or(0),
    });
    Ok(excess.filter(|line| line.wanted > line.left).collect())
}

async fn insert(conn: &mut PgConnection, restock: &Restock<'_>) -> Result<(), Error> {
    let skus: Vec<String> = restock.lines.keys().map(ToString::to_string).collect();
    let quantities: Vec<i64> = restock.lines.values().copied().collect();
    sqlx::query!(
        r#"
        WITH noted AS (
            INSERT INTO restock (order_id, reference, sku, quantity, reason, actor)
            SELECT $1, $2, u.sku, u.quantity, $3, $4 FROM unnest($5::text[], $6::bigint[]) AS u (sku, quantity)
            RETURNING sku, quantity
        )
        UPDATE order_line l SET restocked = restocked + n.quantity FROM noted n
        WHERE l.order_id = $1 AND l.sku = n.sku
        "#,
        restock.order_id.uuid(),
        restock.reference,
        restock.reason,
        restock.actor,
        &skus,
        &quantities,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn sku(text: String) -> Result<Sku, Error> {
    text.try_into().map_err(|_| Error::corrupt("order_line", "sku"))
}
