//! Reading shipments.

use chrono::{DateTime, Utc};
use domain::{Carrier, OrderId, ShipmentId, ShipmentState, StockLine, TrackingNumber};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::SHIPMENTS_MAX;
use crate::{Error, carrier::name};

/// One parcel of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// Which.
    pub id: ShipmentId,
    /// Whose.
    pub order_id: OrderId,
    /// Who carries it.
    pub carrier: Carrier,
    /// The carrier's name for it.
    pub tracking_number: TrackingNumber,
    /// Where it stands.
    pub state: ShipmentState,
    /// What is in it, in SKU order.
    pub lines: Vec<StockLine>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it left, if its carrier said so in time.
    pub dispatched_at: Option<DateTime<Utc>>,
    /// When it arrived.
    pub delivered_at: Option<DateTime<Utc>>,
}

struct Row {
    id: Uuid,
    order_id: Uuid,
    carrier: String,
    tracking_number: String,
    state: String,
    created_at: DateTime<Utc>,
    dispatched_at: Option<DateTime<Utc>>,
    delivered_at: Option<DateTime<Utc>>,
    lines: Json<Vec<StockLine>>,
}

impl TryFrom<Row> for Shipment {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.into(),
            order_id: row.order_id.into(),
            carrier: name(row.carrier, "shipment", "carrier")?,
            tracking_number: name(row.tracking_number, "shipment", "tracking_number")?,
            state: ShipmentState::parse(&row.state).ok_or(Error::corrupt("shipment", "state"))?,
            lines: row.lines.0,
            created_at: row.created_at,
            dispatched_at: row.dispatched_at,
            delivered_at: row.delivered_at,
        })
    }
}

/// An order's shipments, oldest first.
pub async fn of_order(conn: &mut PgConnection, order_id: OrderId) -> Result<Vec<Shipment>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT s.id, s.order_id, s.carrier, s.tracking_number, s.state, s.created_at, s.dispatched_at,
            s.delivered_at,
            (
                SELECT coalesce(jsonb_agg(jsonb_build_object('sku', l.sku, 'quantity', l.quantity) ORDER BY l.sku), '[]')
                FROM shipment_line l WHERE l.shipment_id = s.id
            ) AS "lines!: Json<Vec<StockLine>>"
        FROM shipment s WHERE s.order_id = $1
        ORDER BY s.created_at, s.id LIMIT $2
        "#,
        order_id.uuid(),
        SHIPMENTS_MAX,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The shipment of that id.
pub async fn find(conn: &mut PgConnection, id: ShipmentId) -> Result<Option<Shipment>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"
        SELECT s.id, s.order_id, s.carrier, s.tracking_number, s.state, s.created_at, s.dispatched_at,
            s.delivered_at,
            (
                SELECT coalesce(jsonb_agg(jsonb_build_object('sku', l.sku, 'quantity', l.quantity) ORDER BY l.sku), '[]')
                FROM shipment_line l WHERE l.shipment_id = s.id
            ) AS "lines!: Json<Vec<StockLine>>"
        FROM shipment s WHERE s.id = $1
        "#,
        id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// The shipment that its carrier knows by that number.
pub async fn of_parcel(
    conn: &mut PgConnection,
    carrier: &Carrier,
    tracking_number: &TrackingNumber,
) -> Result<Option<Shipment>, Error> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM shipment WHERE carrier = $1 AND tracking_number = $2",
        carrier.as_str(),
        tracking_number.as_str(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    match id {
        Some(id) => find(conn, id.into()).await,
        None => Ok(None),
    }
}
