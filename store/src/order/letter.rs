//! What a mail to the customer is made of. Read when the mail is written, so that an address stands in
//! one place only.

use chrono::{DateTime, Utc};
use domain::{Money, OrderId};
use sqlx::PgConnection;

use super::{money, quantity, read::OrderLine, sku};
use crate::Error;

/// An order and whom to write to about it. Its address is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where to write to.
    pub email: String,
    /// When the order's price was frozen.
    pub ordered_at: DateTime<Utc>,
    /// What it costs.
    pub total: Money,
    /// What is bought, in SKU order.
    pub lines: Vec<OrderLine>,
}

/// What to write about that order, if there is one.
pub async fn find(conn: &mut PgConnection, order_id: OrderId) -> Result<Option<Letter>, Error> {
    let row = sqlx::query!(
        r#"
        SELECT c.email, o.created_at, o.total_minor, o.currency
        FROM customer_order o JOIN checkout c USING (id) WHERE o.id = $1
        "#,
        order_id.uuid()
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let lines = sqlx::query!(
        r#"
        SELECT sku, title, quantity, unit_price_minor FROM order_line WHERE order_id = $1 ORDER BY sku
        "#,
        order_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    let lines = lines.into_iter().map(|line| {
        Ok(OrderLine {
            sku: sku(line.sku)?,
            title: line.title,
            quantity: quantity(line.quantity)?,
            unit_price: money(line.unit_price_minor, &row.currency)?,
        })
    });
    Ok(Some(Letter {
        lines: lines.collect::<Result<_, Error>>()?,
        email: row.email,
        ordered_at: row.created_at,
        total: money(row.total_minor, &row.currency)?,
    }))
}
