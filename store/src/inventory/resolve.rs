//! Resolving reservations, a batch at a time: sold, given back, or run out. Each resolves once,
//! whatever is asked of it later.

use std::collections::HashMap;

use domain::CheckoutId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Resolution, queue::Work};
use crate::Error;

/// How often a batch looks again because a reservation appeared between two of its looks.
const LOOKS_MAX: u32 = 4;

/// What is to become of a reservation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) checkout_id: CheckoutId,
    pub(super) resolution: Resolution,
}

pub(super) struct Resolve;

impl Work for Resolve {
    type Request = Request;
    /// What the reservation has come to, by this request or by an earlier one; `None` if it is to be
    /// sold and was never held.
    type Answer = Option<Resolution>;

    fn checkout(request: &Request) -> CheckoutId {
        request.checkout_id
    }

    async fn decide(
        conn: &mut PgConnection,
        batch: &[&Request],
    ) -> Result<Vec<Option<Resolution>>, Error> {
        let mut known = HashMap::new();
        for _ in 0..LOOKS_MAX {
            resolve(conn, &unknown(batch, &known), &mut known).await?;
            let rest = unknown(batch, &known);
            if rest.is_empty() {
                break;
            }
            // Apart from the statement that moves stock: a bar may have to wait for the very
            // reservation that it is to bar, which may wait for a row of that statement.
            bar(conn, &rest, &mut known).await?;
            look(conn, &rest, &mut known).await?;
            // What is to be sold and is not there never was. What is to be given back is barred, unless
            // it was reserved in this moment.
            if unknown(batch, &known).iter().all(|r| r.resolution == Resolution::Committed) {
                break;
            }
        }
        Ok(batch.iter().map(|request| known.get(&request.checkout_id.uuid()).copied()).collect())
    }
}

/// Moves every held reservation of the batch, and its units, in one statement: reservations are locked
/// by their id, and then the rows of stock by SKU.
async fn resolve(
    conn: &mut PgConnection,
    batch: &[&Request],
    known: &mut HashMap<Uuid, Resolution>,
) -> Result<(), Error> {
    let (ids, states) = columns(batch);
    let rows = sqlx::query_as!(
        Row,
        r#"
        WITH locked AS MATERIALIZED (
            SELECT r.checkout_id, w.state
            FROM reservation r JOIN unnest($1::uuid[], $2::text[]) AS w (id, state) ON w.id = r.checkout_id
            WHERE r.state = 'held'
            ORDER BY r.checkout_id FOR UPDATE OF r
        ), resolved AS (
            UPDATE reservation r SET state = l.state, resolved_at = now()
            FROM locked l WHERE r.checkout_id = l.checkout_id
            RETURNING r.checkout_id, r.state, r.skus, r.quantities
        ), moved AS (
            SELECT u.sku,
                coalesce(sum(u.quantity) FILTER (WHERE r.state = 'committed'), 0)::bigint AS sold,
                coalesce(sum(u.quantity) FILTER (WHERE r.state <> 'committed'), 0)::bigint AS back
            FROM resolved r, unnest(r.skus, r.quantities) AS u (sku, quantity)
            GROUP BY u.sku
        ), stock AS MATERIALIZED (
            SELECT i.sku, m.sold, m.back FROM inventory i JOIN moved m USING (sku)
            ORDER BY i.sku FOR NO KEY UPDATE OF i
        ), counted AS (
            UPDATE inventory i SET reserved = i.reserved - s.sold - s.back,
                sold = i.sold + s.sold, available = i.available + s.back
            FROM stock s WHERE i.sku = s.sku
        )
        SELECT checkout_id, state FROM resolved
        "#,
        &ids,
        &states,
    )
    .fetch_all(conn)
    .await?;
    learn(known, rows)
}

/// Bars those that are to be given back and were never held from being held later.
async fn bar(
    conn: &mut PgConnection,
    batch: &[&Request],
    known: &mut HashMap<Uuid, Resolution>,
) -> Result<(), Error> {
    let backward: Vec<&Request> =
        batch.iter().copied().filter(|r| r.resolution != Resolution::Committed).collect();
    if backward.is_empty() {
        return Ok(());
    }
    let (ids, states) = columns(&backward);
    let rows = sqlx::query_as!(
        Row,
        r#"
        INSERT INTO reservation (checkout_id, state, skus, quantities, expires_at, resolved_at)
        SELECT w.id, w.state, '{}', '{}', now(), now()
        FROM unnest($1::uuid[], $2::text[]) AS w (id, state)
        WHERE NOT EXISTS (SELECT FROM reservation WHERE checkout_id = w.id)
        ORDER BY w.id
        ON CONFLICT (checkout_id) DO NOTHING
        RETURNING checkout_id, state
        "#,
        &ids,
        &states,
    )
    .fetch_all(conn)
    .await?;
    learn(known, rows)
}

/// What the others came to before.
async fn look(
    conn: &mut PgConnection,
    batch: &[&Request],
    known: &mut HashMap<Uuid, Resolution>,
) -> Result<(), Error> {
    let (ids, _) = columns(batch);
    let rows = sqlx::query_as!(
        Row,
        "SELECT checkout_id, state FROM reservation WHERE checkout_id = ANY ($1) AND state <> 'held'",
        &ids
    )
    .fetch_all(conn)
    .await?;
    learn(known, rows)
}

/// What a reservation has come to.
struct Row {
    checkout_id: Uuid,
    state: String,
}

fn learn(known: &mut HashMap<Uuid, Resolution>, rows: Vec<Row>) -> Result<(), Error> {
    for row in rows {
        known.insert(row.checkout_id, Resolution::parse(&row.state)?);
    }
    Ok(())
}

fn unknown<'a>(batch: &[&'a Request], known: &HashMap<Uuid, Resolution>) -> Vec<&'a Request> {
    batch.iter().copied().filter(|r| !known.contains_key(&r.checkout_id.uuid())).collect()
}

fn columns(batch: &[&Request]) -> (Vec<Uuid>, Vec<String>) {
    batch
        .iter()
        .map(|request| (request.checkout_id.uuid(), request.resolution.as_str().to_owned()))
        .unzip()
}
