//! What carriers say: each event kept once, as it came, and told to the order's fulfilment by a worker.
//! What an event does to a parcel is in `shipment`.

use chrono::{DateTime, Utc};
use domain::{Carrier, CarrierEventId, OrderId, ParcelEvent, TrackingNumber};
use sqlx::PgConnection;

use crate::Error;

/// Something that a carrier said of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrierEvent {
    /// Who said it.
    pub carrier: Carrier,
    /// The carrier's name for it.
    pub event_id: CarrierEventId,
    /// Of which parcel, by the carrier's name for it.
    pub tracking_number: TrackingNumber,
    /// What.
    pub kind: ParcelEvent,
    /// When it happened, by the carrier's clock.
    pub at: DateTime<Utc>,
    /// Which operator said so in the carrier's stead, if one did.
    pub actor: Option<String>,
}

/// What became of an event that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is new.
    New,
    /// It was kept before.
    Known,
    /// Another event has its id.
    Other,
}

/// An event that somebody still has to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who said it.
    pub carrier: Carrier,
    /// Which.
    pub event_id: CarrierEventId,
    /// The order whose parcel it is about, if there is such a parcel.
    pub order_id: Option<OrderId>,
}

/// Keeps an event, once, and has it told. To be committed before the carrier is answered.
///
/// A parcel that is not known yet may be made in this moment. The parcel's lock has one wait for the
/// other: either the making sees the event, or whoever tells of the event sees the parcel.
pub async fn keep(conn: &mut PgConnection, event: &CarrierEvent) -> Result<Kept, Error> {
    lock_parcel(conn, &event.carrier, &event.tracking_number).await?;
    let kept = sqlx::query_scalar!(
        r#"
        WITH kept AS (
            INSERT INTO carrier_event (carrier, event_id, tracking_number, kind, at, actor)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (carrier, event_id) DO NOTHING
            RETURNING carrier, event_id
        )
        INSERT INTO carrier_event_waiting (carrier, event_id) SELECT carrier, event_id FROM kept
        RETURNING true AS "kept!"
        "#,
        event.carrier.as_str(),
        event.event_id.as_str(),
        event.tracking_number.as_str(),
        event.kind.as_str(),
        event.at,
        event.actor,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if kept.is_some() {
        return Ok(Kept::New);
    }
    let before = find(conn, &event.carrier, &event.event_id).await?;
    let same = before.is_some_and(|before| {
        before.kind == event.kind && before.tracking_number == event.tracking_number
    });
    Ok(if same { Kept::Known } else { Kept::Other })
}

/// Held until the transaction ends, by whoever makes a parcel or keeps an event of it.
pub(crate) async fn lock_parcel(
    conn: &mut PgConnection,
    carrier: &Carrier,
    tracking_number: &TrackingNumber,
) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        format!("parcel {carrier}/{tracking_number}"),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The event of that name.
pub(crate) async fn find(
    conn: &mut PgConnection,
    carrier: &Carrier,
    event_id: &CarrierEventId,
) -> Result<Option<CarrierEvent>, Error> {
    let row = sqlx::query!(
        "SELECT tracking_number, kind, at, actor FROM carrier_event WHERE carrier = $1 AND event_id = $2",
        carrier.as_str(),
        event_id.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(CarrierEvent {
            carrier: carrier.clone(),
            event_id: event_id.clone(),
            tracking_number: name(row.tracking_number, "carrier_event", "tracking_number")?,
            kind: kind(&row.kind)?,
            at: row.at,
            actor: row.actor,
        })
    })
    .transpose()
}

/// The most events of one parcel that are looked at: a carrier has two things to say of it.
const EVENTS_OF_PARCEL_MAX: i64 = 100;

/// What the carrier has said of a parcel so far, in the order in which it happened.
pub(crate) async fn of_parcel(
    conn: &mut PgConnection,
    carrier: &Carrier,
    tracking_number: &TrackingNumber,
) -> Result<Vec<CarrierEvent>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT event_id, kind, at, actor FROM carrier_event WHERE carrier = $1 AND tracking_number = $2
        ORDER BY at, event_id LIMIT $3
        "#,
        carrier.as_str(),
        tracking_number.as_str(),
        EVENTS_OF_PARCEL_MAX,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(CarrierEvent {
                carrier: carrier.clone(),
                event_id: name(row.event_id, "carrier_event", "event_id")?,
                tracking_number: tracking_number.clone(),
                kind: kind(&row.kind)?,
                at: row.at,
                actor: row.actor,
            })
        })
        .collect()
}

/// Takes events that wait to be told, those that are due for longest first. They stay this
/// transaction's until it ends; others pass over them.
pub async fn claim(conn: &mut PgConnection, limit: i64) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT w.carrier, w.event_id, s.order_id AS "order_id?"
        FROM carrier_event_waiting w
            JOIN carrier_event e USING (carrier, event_id)
            LEFT JOIN shipment s ON s.carrier = e.carrier AND s.tracking_number = e.tracking_number
        WHERE w.due_at <= now()
        ORDER BY w.due_at LIMIT $1
        FOR UPDATE OF w SKIP LOCKED
        "#,
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Waiting {
                carrier: name(row.carrier, "carrier_event_waiting", "carrier")?,
                event_id: name(row.event_id, "carrier_event_waiting", "event_id")?,
                order_id: row.order_id.map(OrderId::from),
            })
        })
        .collect()
}

/// Whether somebody still has to be told of an event.
pub async fn waits(
    conn: &mut PgConnection,
    carrier: &Carrier,
    event_id: &CarrierEventId,
) -> Result<bool, Error> {
    let waits = sqlx::query_scalar!(
        "SELECT true FROM carrier_event_waiting WHERE carrier = $1 AND event_id = $2",
        carrier.as_str(),
        event_id.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(waits.is_some())
}

/// Marks events as told to everyone they concern. One whose parcel nobody knows concerns nobody yet:
/// making the parcel will find it.
pub async fn mark_told(conn: &mut PgConnection, told: &[&Waiting]) -> Result<(), Error> {
    let (carriers, event_ids) = names(told);
    sqlx::query!(
        r#"
        DELETE FROM carrier_event_waiting w USING unnest($1::text[], $2::text[]) AS t (carrier, event_id)
        WHERE w.carrier = t.carrier AND w.event_id = t.event_id
        "#,
        &carriers,
        &event_ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets events be for a while, so that others come first.
pub async fn postpone(
    conn: &mut PgConnection,
    events: &[&Waiting],
    pause_ms: i64,
) -> Result<(), Error> {
    let (carriers, event_ids) = names(events);
    sqlx::query!(
        r#"
        UPDATE carrier_event_waiting w SET due_at = now() + $3::bigint * interval '1 millisecond'
        FROM unnest($1::text[], $2::text[]) AS t (carrier, event_id)
        WHERE w.carrier = t.carrier AND w.event_id = t.event_id
        "#,
        &carriers,
        &event_ids,
        pause_ms,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn names(events: &[&Waiting]) -> (Vec<String>, Vec<String>) {
    events.iter().map(|event| (event.carrier.to_string(), event.event_id.to_string())).unzip()
}

fn kind(text: &str) -> Result<ParcelEvent, Error> {
    ParcelEvent::parse(text).ok_or(Error::corrupt("carrier_event", "kind"))
}

/// A name as a column keeps it.
pub(crate) fn name<T: TryFrom<String>>(
    text: String,
    table: &'static str,
    column: &'static str,
) -> Result<T, Error> {
    text.try_into().map_err(|_| Error::corrupt(table, column))
}
