//! Reading orders, for those who placed them and those who ship them. Who may see an order is decided in
//! the statement: to a customer, one of somebody else's is no order.

use chrono::{DateTime, Utc};
use domain::{CustomerId, Money, OrderId, OrderState, Quantity, Sku};
use serde::Deserialize;
use sqlx::{PgConnection, types::Json};

use super::{money, parse_state};
use crate::{Error, Position};

/// An order, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSummary {
    /// Which.
    pub id: OrderId,
    /// Where it stands.
    pub state: OrderState,
    /// What it costs.
    pub total: Money,
    /// When its price was frozen.
    pub created_at: DateTime<Utc>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
}

/// An order with everything in it.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderDetail {
    /// What a list shows.
    pub summary: OrderSummary,
    /// What is bought, in SKU order.
    pub lines: Vec<OrderLine>,
    /// What happened to it, in order.
    pub events: Vec<OrderEventRow>,
    /// When the customer called it off after it was paid, if they did.
    pub called_off_at: Option<DateTime<Utc>>,
}

/// One line of an order, as it was frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderLine {
    /// What.
    pub sku: Sku,
    /// What people call it.
    pub title: String,
    /// How many.
    pub quantity: Quantity,
    /// The price for one.
    pub unit_price: Money,
}

/// Who gets an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    /// Who placed it.
    pub customer_id: CustomerId,
    /// Where to write to.
    pub email: String,
    /// Where to ship to, as it was given.
    pub shipping_address: serde_json::Value,
}

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct OrderEventRow {
    /// Its place among the order's events, from 1.
    pub seq: i64,
    /// What.
    pub kind: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// The customer's orders, newest first, from a position on.
pub async fn list(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    after: Option<Position>,
    limit: u32,
) -> Result<Vec<OrderSummary>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT id, state, total_minor, currency, created_at, updated_at
        FROM customer_order
        WHERE customer_id = $1
            AND ($2::timestamptz IS NULL OR created_at < $2 OR (created_at = $2 AND id > $3))
        ORDER BY created_at DESC, id
        LIMIT $4
        "#,
        customer_id.uuid(),
        after.map(|position| position.at),
        after.map(|position| position.id),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OrderSummary {
                id: row.id.into(),
                state: parse_state(&row.state)?,
                total: money(row.total_minor, &row.currency)?,
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        })
        .collect()
}

#[derive(Debug, Deserialize)]
struct JsonLine {
    sku: Sku,
    title: String,
    quantity: Quantity,
    unit_price_minor: i64,
}

/// The order of that id, if it is the customer's or no customer is given, in one statement.
pub async fn find(
    conn: &mut PgConnection,
    customer_id: Option<CustomerId>,
    order_id: OrderId,
) -> Result<Option<OrderDetail>, Error> {
    let row = sqlx::query!(
        r#"
        SELECT o.state, o.total_minor, o.currency, o.created_at, o.updated_at, o.called_off_at,
            (
                SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'sku', l.sku, 'title', l.title, 'quantity', l.quantity, 'unit_price_minor', l.unit_price_minor
                ) ORDER BY l.sku), '[]')
                FROM order_line l WHERE l.order_id = o.id
            ) AS "lines!: Json<Vec<JsonLine>>",
            (
                SELECT coalesce(jsonb_agg(jsonb_build_object('seq', e.seq, 'kind', e.kind, 'at', e.at) ORDER BY e.seq), '[]')
                FROM order_event e WHERE e.order_id = o.id
            ) AS "events!: Json<Vec<OrderEventRow>>"
        FROM customer_order o
        WHERE o.id = $1 AND ($2::uuid IS NULL OR o.customer_id = $2)
        "#,
        order_id.uuid(),
        customer_id.map(CustomerId::uuid),
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let total = money(row.total_minor, &row.currency)?;
    let lines = row
        .lines
        .0
        .into_iter()
        .map(|line| {
            Ok(OrderLine {
                unit_price: money(line.unit_price_minor, &row.currency)?,
                sku: line.sku,
                title: line.title,
                quantity: line.quantity,
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Some(OrderDetail {
        summary: OrderSummary {
            id: order_id,
            state: parse_state(&row.state)?,
            total,
            created_at: row.created_at,
            updated_at: row.updated_at,
        },
        lines,
        events: row.events.0,
        called_off_at: row.called_off_at,
    }))
}

/// Who gets an order, as its checkout was told.
pub async fn recipient(
    conn: &mut PgConnection,
    order_id: OrderId,
) -> Result<Option<Recipient>, Error> {
    let row = sqlx::query!(
        "SELECT customer_id, email, shipping_address FROM checkout WHERE id = $1",
        order_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Recipient {
        customer_id: row.customer_id.into(),
        email: row.email,
        shipping_address: row.shipping_address,
    }))
}
