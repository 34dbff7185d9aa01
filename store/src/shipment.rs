//! Shipments: the parcels of an order, what is in them and where they stand, and what follows for the
//! order. Everything a change brings about is written in its transaction: the parcel, the order, what
//! happened to it, and what is announced. Doing it twice equals once.

mod read;

use std::collections::BTreeMap;

use domain::{
    Carrier, CarrierEventId, Order, OrderId, OrderState, Progress, ShipmentId, ShipmentState,
    ShortLine, Sku, StockLine, TrackingNumber,
};
use serde_json::json;
use sqlx::PgConnection;

pub use self::read::{Shipment, find, of_order, of_parcel};
use crate::{
    Error,
    carrier::{self, CarrierEvent},
    order, outbox,
};

/// The most shipments of one order, those that were called off included.
pub const SHIPMENTS_MAX: i64 = 100;

/// A parcel to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewShipment<'a> {
    /// Whose order.
    pub order_id: OrderId,
    /// Who carries it.
    pub carrier: &'a Carrier,
    /// The carrier's name for it; with it, the parcel's identity.
    pub tracking_number: &'a TrackingNumber,
    /// What is in it; without, everything that is in no shipment yet.
    pub lines: Option<&'a [StockLine]>,
    /// Who sends it, if that is known.
    pub actor: Option<&'a str>,
}

/// What became of a parcel that was to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    Shipment {
        /// The parcel.
        shipment: Shipment,
        /// Where its order stands.
        order: OrderState,
        /// Whether it was made just now.
        created: bool,
    },
    /// The order is in no state to be shipped.
    State(OrderState),
    /// More was to be sent than is left; every line that is short.
    NotLeft(Vec<ShortLine>),
    /// The carrier's name belongs to another parcel.
    TrackingNumberReused,
    /// The order has [`SHIPMENTS_MAX`] shipments.
    TooMany,
}

/// What became of a fulfilment that was to be called off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalledOff {
    /// Nothing had left the house, and nothing will.
    Yes,
    /// Something has left.
    Left {
        /// Where the order stands.
        order: OrderState,
        /// Its shipments.
        shipments: Vec<Shipment>,
    },
}

/// Makes a shipment, unless it is there, and applies what its carrier has said of it already.
pub async fn make(conn: &mut PgConnection, new: NewShipment<'_>) -> Result<Made, Error> {
    let order = lock(conn, new.order_id).await?;
    carrier::lock_parcel(conn, new.carrier, new.tracking_number).await?;
    if let Some(shipment) = of_parcel(conn, new.carrier, new.tracking_number).await? {
        return Ok(if shipment.holds(new.order_id, new.lines) {
            Made::Shipment { shipment, order: order.state, created: false }
        } else {
            Made::TrackingNumberReused
        });
    }
    if !matches!(order.state, OrderState::Paid | OrderState::PartiallyShipped | OrderState::Shipped)
    {
        return Ok(Made::State(order.state));
    }
    // Its money is on its way back, which is as good as gone.
    if order::called_off(conn, new.order_id).await? {
        return Ok(Made::State(OrderState::Refunded));
    }
    let lines = match lines_to_ship(conn, &new).await? {
        Ok(lines) => lines,
        Err(short) => return Ok(Made::NotLeft(short)),
    };
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM shipment WHERE order_id = $1"#,
        new.order_id.uuid()
    )
    .fetch_one(&mut *conn)
    .await?;
    if count >= SHIPMENTS_MAX {
        return Ok(Made::TooMany);
    }
    let id = ShipmentId::derive(new.order_id, new.carrier, new.tracking_number);
    insert(conn, id, &new, &lines).await?;
    let cause = format!("fulfilment.ship:{id}");
    note(conn, new.order_id, id, "created", &cause, new.actor).await?;
    let mut state = order.state;
    for event in carrier::of_parcel(conn, new.carrier, new.tracking_number).await? {
        state = apply(conn, new.order_id, &event).await?;
    }
    let shipment = reread(conn, id).await?;
    Ok(Made::Shipment { shipment, order: state, created: true })
}

/// Applies an event that was kept to its parcel, if the order has such a parcel. Where the parcel and
/// the order stand after it.
pub async fn track(
    conn: &mut PgConnection,
    order_id: OrderId,
    carrier: &Carrier,
    event_id: &CarrierEventId,
) -> Result<Option<(Shipment, OrderState)>, Error> {
    let Some(event) = carrier::find(conn, carrier, event_id).await? else { return Ok(None) };
    let known = of_parcel(conn, carrier, &event.tracking_number).await?;
    let Some(shipment) = known.filter(|shipment| shipment.order_id == order_id) else {
        return Ok(None);
    };
    let order = apply(conn, order_id, &event).await?;
    Ok(Some((reread(conn, shipment.id).await?, order)))
}

/// Calls off every shipment that has not left the house, if none has or the order's money went back.
pub async fn call_off(conn: &mut PgConnection, order_id: OrderId) -> Result<CalledOff, Error> {
    let order = lock(conn, order_id).await?;
    let shipments = of_order(conn, order_id).await?;
    let left = shipments.iter().any(|shipment| shipment.state.left());
    if !left || order.state == OrderState::Refunded {
        for shipment in shipments.iter().filter(|s| s.state == ShipmentState::Created) {
            cancel(conn, shipment).await?;
        }
    }
    if !left {
        return Ok(CalledOff::Yes);
    }
    Ok(CalledOff::Left { order: order.state, shipments: of_order(conn, order_id).await? })
}

/// Announces, once, that an order is not shipped, or that a shipment of it does not arrive.
pub async fn call_attention(
    conn: &mut PgConnection,
    order_id: OrderId,
    shipment_id: Option<ShipmentId>,
) -> Result<(), Error> {
    let reason = if shipment_id.is_some() { "not_delivered" } else { "not_shipped" };
    let cause = shipment_id.map_or_else(|| order_id.to_string(), |id| id.to_string());
    outbox::announce(
        conn,
        outbox::ORDER_ATTENTION,
        &format!("{cause}:{reason}"),
        &json!({ "order_id": order_id, "shipment_id": shipment_id, "reason": reason }),
    )
    .await
}

/// What is in the parcel: the lines asked for, if so much is left, or else all that is left.
async fn lines_to_ship(
    conn: &mut PgConnection,
    new: &NewShipment<'_>,
) -> Result<Result<BTreeMap<Sku, i64>, Vec<ShortLine>>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT sku, quantity - shipped_quantity AS "left!" FROM order_line WHERE order_id = $1
        "#,
        new.order_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    let mut left = BTreeMap::new();
    for row in rows {
        left.insert(order::sku(row.sku)?, row.left);
    }
    let Some(lines) = new.lines else {
        left.retain(|_, units| *units > 0);
        return Ok(if left.is_empty() { Err(Vec::new()) } else { Ok(left) });
    };
    let wanted = summed(lines);
    let short: Vec<ShortLine> = wanted
        .iter()
        .map(|(sku, wanted)| ShortLine {
            sku: sku.clone(),
            wanted: *wanted,
            available: left.get(sku).copied().unwrap_or(0),
        })
        .filter(|line| line.available < line.wanted)
        .collect();
    Ok(if short.is_empty() && !wanted.is_empty() { Ok(wanted) } else { Err(short) })
}

fn summed(lines: &[StockLine]) -> BTreeMap<Sku, i64> {
    let mut wanted = BTreeMap::new();
    for line in lines {
        *wanted.entry(line.sku.clone()).or_default() += i64::from(line.quantity);
    }
    wanted
}

async fn insert(
    conn: &mut PgConnection,
    id: ShipmentId,
    new: &NewShipment<'_>,
    lines: &BTreeMap<Sku, i64>,
) -> Result<(), Error> {
    let skus: Vec<String> = lines.keys().map(ToString::to_string).collect();
    let quantities: Vec<i64> = lines.values().copied().collect();
    let rows = sqlx::query!(
        r#"
        WITH made AS (
            INSERT INTO shipment (id, order_id, carrier, tracking_number, actor) VALUES ($1, $2, $3, $4, $7)
            RETURNING id, order_id
        ), line AS (
            INSERT INTO shipment_line (shipment_id, order_id, sku, quantity)
            SELECT m.id, m.order_id, u.sku, u.quantity
            FROM made m, unnest($5::text[], $6::bigint[]) AS u (sku, quantity)
        )
        UPDATE order_line l SET shipped_quantity = l.shipped_quantity + u.quantity
        FROM unnest($5::text[], $6::bigint[]) AS u (sku, quantity)
        WHERE l.order_id = $2 AND l.sku = u.sku
        "#,
        id.uuid(),
        new.order_id.uuid(),
        new.carrier.as_str(),
        new.tracking_number.as_str(),
        &skus,
        &quantities,
        new.actor,
    )
    .execute(conn)
    .await?
    .rows_affected();
    if rows == lines.len() as u64 {
        Ok(())
    } else {
        Err(Error::Broken(format!("{id} has lines that its order has not")))
    }
}

/// Moves a parcel that is known, and its order with it. Where the order stands then.
async fn apply(
    conn: &mut PgConnection,
    order_id: OrderId,
    event: &CarrierEvent,
) -> Result<OrderState, Error> {
    let order = lock(conn, order_id).await?;
    let shipment = of_parcel(conn, &event.carrier, &event.tracking_number).await?;
    let Some(shipment) = shipment.filter(|shipment| shipment.order_id == order_id) else {
        return Ok(order.state);
    };
    let Some(state) = shipment.state.after(event.kind) else { return Ok(order.state) };
    sqlx::query!(
        r#"
        UPDATE shipment SET state = $2,
            dispatched_at = CASE WHEN $2 = 'dispatched' THEN $3 ELSE dispatched_at END,
            delivered_at = CASE WHEN $2 = 'delivered' THEN $3 ELSE delivered_at END
        WHERE id = $1
        "#,
        shipment.id.uuid(),
        state.as_str(),
        event.at,
    )
    .execute(&mut *conn)
    .await?;
    let cause = format!("carrier:{}:{}", event.carrier, event.event_id);
    note(conn, order_id, shipment.id, event.kind.as_str(), &cause, event.actor.as_deref()).await?;
    follow(conn, order).await
}

/// Has the order follow its shipments.
async fn follow(conn: &mut PgConnection, order: Order) -> Result<OrderState, Error> {
    let progress = sqlx::query_as!(
        Progress,
        r#"
        SELECT
            (SELECT coalesce(sum(quantity), 0)::bigint FROM order_line WHERE order_id = $1) AS "ordered!",
            coalesce(sum(l.quantity) FILTER (WHERE s.state IN ('dispatched', 'delivered')), 0)::bigint AS "dispatched!",
            coalesce(sum(l.quantity) FILTER (WHERE s.state = 'delivered'), 0)::bigint AS "delivered!"
        FROM shipment s JOIN shipment_line l ON l.shipment_id = s.id
        WHERE s.order_id = $1
        "#,
        order.id.uuid()
    )
    .fetch_one(&mut *conn)
    .await?;
    let Some(event) = progress.event() else { return Ok(order.state) };
    // Its money is on its way back, which is as good as gone.
    if order::called_off(conn, order.id).await? {
        return Ok(OrderState::Refunded);
    }
    let Some(moved) = order::transition(order, event)? else { return Ok(order.state) };
    let cause = format!("shipments:{}", event.as_str());
    order::advance(conn, moved, event, &cause, &json!({})).await?;
    let topic = format!("order.{}", event.as_str());
    let payload = json!({ "order_id": order.id });
    outbox::announce(conn, &topic, &order.id.to_string(), &payload).await?;
    Ok(moved.state)
}

/// Its units may go into another parcel from here on.
async fn cancel(conn: &mut PgConnection, shipment: &Shipment) -> Result<(), Error> {
    sqlx::query!(
        r#"
        WITH cancelled AS (
            UPDATE shipment SET state = 'cancelled' WHERE id = $1 AND state = 'created' RETURNING id
        )
        UPDATE order_line l SET shipped_quantity = l.shipped_quantity - s.quantity
        FROM cancelled c JOIN shipment_line s ON s.shipment_id = c.id
        WHERE l.order_id = s.order_id AND l.sku = s.sku
        "#,
        shipment.id.uuid()
    )
    .execute(&mut *conn)
    .await?;
    let cause = format!("fulfilment.call_off:{}", shipment.id);
    note(conn, shipment.order_id, shipment.id, "cancelled", &cause, None).await
}

/// Writes into the order's story what happened to a shipment of it, by whose word if it was an operator's,
/// and announces it without that.
async fn note(
    conn: &mut PgConnection,
    order_id: OrderId,
    shipment_id: ShipmentId,
    what: &str,
    cause: &str,
    actor: Option<&str>,
) -> Result<(), Error> {
    let announced = json!({ "order_id": order_id, "shipment_id": shipment_id });
    let mut detail = announced.clone();
    if let Some(actor) = actor {
        detail["actor"] = actor.into();
    }
    sqlx::query!(
        r#"
        INSERT INTO order_event (order_id, seq, kind, cause, detail)
        SELECT $1, 1 + coalesce(max(seq), 0), $2, $3, $4 FROM order_event WHERE order_id = $1
        "#,
        order_id.uuid(),
        format!("shipment_{what}"),
        cause,
        detail,
    )
    .execute(&mut *conn)
    .await?;
    outbox::announce(conn, &format!("shipment.{what}"), &shipment_id.to_string(), &announced).await
}

async fn lock(conn: &mut PgConnection, order_id: OrderId) -> Result<Order, Error> {
    let order = order::find(conn, order_id).await?;
    order.ok_or_else(|| Error::Broken(format!("{order_id} was never opened")))
}

async fn reread(conn: &mut PgConnection, id: ShipmentId) -> Result<Shipment, Error> {
    find(conn, id).await?.ok_or_else(|| Error::Broken(format!("{id} is gone")))
}

impl Shipment {
    /// Whether it is of that order, and has those lines in it where that is asked.
    pub fn holds(&self, order_id: OrderId, lines: Option<&[StockLine]>) -> bool {
        self.order_id == order_id && lines.is_none_or(|lines| summed(lines) == summed(&self.lines))
    }
}
