//! The story of an order: what every table knows of it, merged by time. No personal data; nothing that
//! a person wrote in their own words either.
//!
//! An entry stands at the time when it came to be known, and tells nothing that came later, so the
//! story up to any moment is what was known then. A column that is overwritten tells only of the last
//! time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{OrderEvent, OrderId};
use futures::future::join_all;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::time::timeout;

use crate::{
    Error,
    inventory::{Part, Shards},
    said,
};

/// The most entries that are told from one database; of a longer story the beginning.
const ENTRIES_MAX: i64 = 1000;
/// How long to wait for one database of the stock.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// The source of the order's own events.
pub const ORDER: &str = "order";

/// Something that was known.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// From when on.
    pub at: DateTime<Utc>,
    /// By which part of the shop.
    pub source: String,
    /// What.
    pub kind: String,
    /// More about it, in ids and amounts.
    pub detail: Value,
}

/// What the shop's database knows of an order, up to a moment or until now, and the order's own events
/// among it.
pub async fn shop(
    conn: &mut PgConnection,
    order_id: OrderId,
    until: Option<DateTime<Utc>>,
) -> Result<(Vec<Entry>, Vec<OrderEvent>), Error> {
    let rows = sqlx::query!(
        r#"
        SELECT at AS "at!", source AS "source!", kind AS "kind!", detail AS "detail!", place AS "place!"
        FROM (
            SELECT at, 'order' AS source, kind,
                detail || jsonb_build_object('seq', seq, 'cause', cause) AS detail, seq AS place
            FROM order_event WHERE order_id = $1
            UNION ALL
            SELECT started_at, 'payment_attempt', 'started', jsonb_build_object('attempt', attempt), attempt
            FROM payment_attempt WHERE payment_id = $1
            UNION ALL
            SELECT decided_at, 'payment_attempt', state, jsonb_strip_nulls(jsonb_build_object(
                'attempt', attempt, 'provider_ref', provider_ref, 'decline_code', decline_code
            )), attempt
            FROM payment_attempt WHERE payment_id = $1 AND decided_at IS NOT NULL
            UNION ALL
            SELECT e.at, 'payment', e.kind, jsonb_build_object(
                'attempt', e.attempt, 'provider_ref', e.provider_ref,
                'amount', jsonb_build_object('minor', e.amount_minor, 'currency', p.currency)
            ), e.id
            FROM payment_entry e JOIN payment p ON p.id = e.payment_id WHERE e.payment_id = $1
            UNION ALL
            SELECT created_at, 'outbox', topic, payload || jsonb_build_object('cause', cause), id
            FROM outbox WHERE payload ->> 'order_id' = $2
            UNION ALL
            SELECT d.created_at, 'delivery', 'waiting', jsonb_build_object(
                'topic', o.topic, 'cause', o.cause, 'endpoint', d.endpoint_id
            ), d.event_id
            FROM delivery d JOIN outbox o ON o.id = d.event_id WHERE o.payload ->> 'order_id' = $2
            UNION ALL
            SELECT d.ended_at, 'delivery', d.state, jsonb_build_object(
                'topic', o.topic, 'cause', o.cause, 'endpoint', d.endpoint_id, 'tries', d.tries
            ), d.event_id
            FROM delivery d JOIN outbox o ON o.id = d.event_id
            WHERE o.payload ->> 'order_id' = $2 AND d.ended_at IS NOT NULL
        ) known
        WHERE $3::timestamptz IS NULL OR at <= $3
        ORDER BY at, source, place, kind LIMIT $4
        "#,
        order_id.uuid(),
        order_id.to_string(),
        until,
        ENTRIES_MAX,
    )
    .fetch_all(conn)
    .await?;
    let mut events: Vec<(i64, OrderEvent)> = rows
        .iter()
        .filter(|row| row.source == ORDER)
        // Of other kinds are those that do not move the order, such as its opening.
        .filter_map(|row| Some((row.place, OrderEvent::parse(&row.kind)?)))
        .collect();
    events.sort_by_key(|(seq, _)| *seq);
    let entries = rows.into_iter().map(|row| Entry {
        at: row.at,
        source: row.source,
        kind: row.kind,
        detail: row.detail,
    });
    Ok((entries.collect(), events.into_iter().map(|(_, event)| event).collect()))
}

/// What the databases of the stock know of an order, and the names of those that do not answer.
pub async fn stock(
    shards: &Shards,
    order_id: OrderId,
    until: Option<DateTime<Utc>>,
) -> Result<(Vec<Entry>, Vec<String>), Error> {
    let looks = shards.parts().map(|part| async move {
        let look =
            async { part_of_story(&mut *shards.acquire(part).await?, part, order_id, until).await };
        (part, timeout(LOOK_LIMIT, look).await)
    });
    let (mut entries, mut unreachable) = (Vec::new(), Vec::new());
    for (part, look) in join_all(looks).await {
        match look {
            Ok(Ok(known)) => entries.extend(known),
            Ok(Err(error)) if !error.transient() => return Err(error),
            Ok(Err(error)) => {
                tracing::warn!(error = said(&error), "{} cannot be looked at", part.name());
                unreachable.push(part.name());
            }
            Err(_) => unreachable.push(part.name()),
        }
    }
    Ok((entries, unreachable))
}

/// Receipts of an order, such as of what was sent back, carry its id in their reference, whatever prefix
/// it has there.
async fn part_of_story(
    conn: &mut PgConnection,
    part: Part,
    order_id: OrderId,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<Entry>, Error> {
    let id = order_id.to_string();
    let bare_id = id.rsplit('_').next().unwrap_or(&id);
    let rows = sqlx::query!(
        r#"
        SELECT at AS "at!", source AS "source!", kind AS "kind!", detail AS "detail!"
        FROM (
            SELECT created_at AS at, 'reservation' AS source, 'held' AS kind,
                jsonb_build_object('skus', skus, 'quantities', quantities, 'kept_in', $4::text) AS detail
            FROM reservation WHERE checkout_id = $1 AND cardinality(skus) > 0
            UNION ALL
            SELECT resolved_at, 'reservation', state,
                jsonb_build_object('skus', skus, 'quantities', quantities, 'kept_in', $4::text)
            FROM reservation WHERE checkout_id = $1 AND resolved_at IS NOT NULL
            UNION ALL
            SELECT r.at, 'receipt', 'booked',
                jsonb_build_object('sku', r.sku, 'delta', r.delta, 'reference', r.reference, 'kept_in', $4::text)
            FROM reservation v JOIN receipt r ON r.sku = ANY (v.skus)
            WHERE v.checkout_id = $1 AND strpos(r.reference, $2) > 0
        ) known
        WHERE $3::timestamptz IS NULL OR at <= $3
        ORDER BY at, source, kind LIMIT $5
        "#,
        order_id.uuid(),
        bare_id,
        until,
        part.name(),
        ENTRIES_MAX,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Entry { at: row.at, source: row.source, kind: row.kind, detail: row.detail })
        .collect())
}
