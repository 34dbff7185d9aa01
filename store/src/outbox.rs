//! The outbox: what has happened, for others to act on. A row is written in the transaction that
//! makes it happen, so nothing is announced that did not happen, and nothing that did goes unsaid.

use chrono::{DateTime, Utc};
use domain::OrderId;
use sqlx::PgConnection;

use crate::Error;

/// The topic of an order that was placed: its stock is held and its money set aside.
pub const ORDER_PLACED: &str = "order.placed";
/// The topic of an order that was paid.
pub const ORDER_PAID: &str = "order.paid";
/// The topic of an order of which something left the house, and not everything.
pub const ORDER_PARTIALLY_SHIPPED: &str = "order.partially_shipped";
/// The topic of an order that left the house.
pub const ORDER_SHIPPED: &str = "order.shipped";
/// The topic of an order that arrived.
pub const ORDER_DELIVERED: &str = "order.delivered";
/// The topic of an order that had been placed, and was cancelled.
pub const ORDER_CANCELLED: &str = "order.cancelled";
/// The topic of a paid order that is not to be shipped any more.
pub const ORDER_CALLED_OFF: &str = "order.called_off";
/// The topic of an order that is not shipped or does not arrive in time.
pub const ORDER_ATTENTION: &str = "order.attention";
/// The topic of a parcel that is to be sent.
pub const SHIPMENT_CREATED: &str = "shipment.created";
/// The topic of a parcel that left the house.
pub const SHIPMENT_DISPATCHED: &str = "shipment.dispatched";
/// The topic of a parcel that arrived.
pub const SHIPMENT_DELIVERED: &str = "shipment.delivered";
/// The topic of a parcel that was called off before it left.
pub const SHIPMENT_CANCELLED: &str = "shipment.cancelled";
/// The topic of a refund that was asked for.
pub const REFUND_REQUESTED: &str = "refund.requested";
/// The topic of a refund that is on its way to the customer.
pub const REFUND_SUCCEEDED: &str = "refund.succeeded";
/// The topic of a refund that the provider will not make, or that did not work, perhaps after it had
/// succeeded.
pub const REFUND_FAILED: &str = "refund.failed";
/// The topic of money that came for a closed payment and went back in full.
pub const PAYMENT_RETURNED: &str = "payment.returned";
/// The topic of a difference between our books and others' that waits for people.
pub const CASE_OPENED: &str = "case.opened";

/// Every topic there is: what can be listened for.
pub const TOPICS: [&str; 17] = [
    ORDER_PLACED,
    ORDER_PAID,
    ORDER_PARTIALLY_SHIPPED,
    ORDER_SHIPPED,
    ORDER_DELIVERED,
    ORDER_CANCELLED,
    ORDER_CALLED_OFF,
    ORDER_ATTENTION,
    SHIPMENT_CREATED,
    SHIPMENT_DISPATCHED,
    SHIPMENT_DELIVERED,
    SHIPMENT_CANCELLED,
    REFUND_REQUESTED,
    REFUND_SUCCEEDED,
    REFUND_FAILED,
    PAYMENT_RETURNED,
    CASE_OPENED,
];

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number. Numbers are given before commit, so they are no order of events.
    pub id: i64,
    /// What kind of thing happened.
    pub topic: String,
    /// What it happened to, by its public id; once per topic.
    pub cause: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Writes down that something happened, once per topic and cause.
pub(crate) async fn announce(
    conn: &mut PgConnection,
    topic: &str,
    cause: &str,
    payload: &serde_json::Value,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO outbox (topic, cause, payload) VALUES ($1, $2, $3)
        ON CONFLICT (topic, cause) DO NOTHING
        "#,
        topic,
        cause,
        payload,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes events that wait to be carried, oldest first. They stay this transaction's until it ends; others
/// who carry pass over them. The lock leaves the rows free to be referred to, by deliveries.
pub async fn claim(conn: &mut PgConnection, limit: i64) -> Result<Vec<Event>, Error> {
    Ok(sqlx::query_as!(
        Event,
        r#"
        SELECT id, topic, cause, created_at FROM outbox WHERE carried_at IS NULL
        ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
        "#,
        limit,
    )
    .fetch_all(conn)
    .await?)
}

/// Marks events as carried to everyone they concern.
pub async fn mark_carried(conn: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
    sqlx::query!("UPDATE outbox SET carried_at = now() WHERE id = ANY ($1)", ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// Announces what became of an order, with its total, in the transaction that makes it so; once per
/// topic.
pub(crate) async fn announce_order(
    conn: &mut PgConnection,
    topic: &str,
    order_id: OrderId,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO outbox (topic, cause, payload)
        SELECT $1, $2, jsonb_build_object(
            'order_id', $2::text, 'total', jsonb_build_object('minor', total_minor, 'currency', currency)
        )
        FROM customer_order WHERE id = $3
        "#,
        topic,
        order_id.to_string(),
        order_id.uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
