//! Deciding reservations, a batch at a time.
//!
//! Usually there is enough of everything, and one statement takes it all. When some SKU is short, the
//! rows are locked and [`Stock`] decides in order of arrival who gets what is left.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use domain::{CheckoutId, Stock, StockLine};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{Reserved, queue::Work};
use crate::Error;

/// How often a batch looks again when one of its checkouts was reserved by somebody else between two
/// of its looks.
const LOOKS_MAX: u32 = 4;

/// A hold to be taken.
pub(super) struct Request {
    pub(super) checkout_id: CheckoutId,
    /// Each SKU once.
    pub(super) lines: Vec<StockLine>,
    pub(super) hold_ms: i64,
}

pub(super) struct Reserve;

impl Work for Reserve {
    type Request = Request;
    type Answer = Reserved;

    fn checkout(request: &Request) -> CheckoutId {
        request.checkout_id
    }

    async fn decide(conn: &mut PgConnection, batch: &[&Request]) -> Result<Vec<Reserved>, Error> {
        for _ in 0..LOOKS_MAX {
            let held = take_all(conn, batch).await?;
            if held.len() == batch.len() {
                return answers(batch, &held);
            }
            if let Some(answers) = take_some(conn, batch).await? {
                return Ok(answers);
            }
        }
        Err(Error::Unavailable("one of a batch is being reserved elsewhere".to_owned()))
    }
}

/// The conditional decrement over all lines of all requests at once: rows are locked in SKU order and
/// only while they suffice, and nothing is written unless every one of them does and every checkout is
/// new. Empty if it did nothing.
async fn take_all(
    conn: &mut PgConnection,
    batch: &[&Request],
) -> Result<HashMap<Uuid, DateTime<Utc>>, Error> {
    let mut demand: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut ids, mut firsts, mut lasts, mut holds_ms) = (vec![], vec![], vec![], vec![]);
    let (mut skus, mut quantities) = (vec![], vec![]);
    for request in batch {
        ids.push(request.checkout_id.uuid());
        holds_ms.push(request.hold_ms);
        firsts.push(index(skus.len() + 1));
        for line in &request.lines {
            let units = i64::from(line.quantity);
            skus.push(line.sku.to_string());
            quantities.push(units);
            *demand.entry(line.sku.as_str()).or_default() += units;
        }
        lasts.push(index(skus.len()));
    }
    let (wanted, units): (Vec<String>, Vec<i64>) =
        demand.into_iter().map(|(sku, units)| (sku.to_owned(), units)).unzip();
    let rows = sqlx::query!(
        r#"
        WITH locked AS MATERIALIZED (
            SELECT i.sku FROM inventory i JOIN unnest($7::text[], $8::bigint[]) AS w (sku, units) USING (sku)
            WHERE i.available >= w.units
            ORDER BY i.sku FOR NO KEY UPDATE OF i
        ), admitted AS MATERIALIZED (
            SELECT count(*) = cardinality($7::text[])
                AND NOT EXISTS (SELECT FROM reservation WHERE checkout_id = ANY ($1::uuid[])) AS ok
            FROM locked
        ), held AS (
            INSERT INTO reservation (checkout_id, state, skus, quantities, expires_at)
            SELECT r.id, 'held', ($5::text[])[r.first:r.last], ($6::bigint[])[r.first:r.last],
                now() + r.hold_ms * interval '1 millisecond'
            FROM admitted a, unnest($1::uuid[], $2::int[], $3::int[], $4::bigint[]) AS r (id, first, last, hold_ms)
            WHERE a.ok
            RETURNING checkout_id, expires_at
        ), taken AS (
            UPDATE inventory i SET available = i.available - w.units, reserved = i.reserved + w.units
            FROM admitted a, unnest($7::text[], $8::bigint[]) AS w (sku, units)
            WHERE a.ok AND i.sku = w.sku
        )
        SELECT checkout_id, expires_at FROM held
        "#,
        &ids,
        &firsts,
        &lasts,
        &holds_ms,
        &skus,
        &quantities,
        &wanted,
        &units,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.checkout_id, row.expires_at)).collect())
}

/// Locks every row of the batch, lets [`Stock`] decide, and takes what it admitted. `None` if one of
/// the checkouts appeared meanwhile.
async fn take_some(
    conn: &mut PgConnection,
    batch: &[&Request],
) -> Result<Option<Vec<Reserved>>, Error> {
    let mut tx = conn.begin().await?;
    let mut stock = lock_stock(&mut tx, batch).await?;
    // After the locks, so that whatever was waited for is seen.
    let known = known(&mut tx, batch).await?;
    let mut admitted = Vec::new();
    let mut answers = Vec::with_capacity(batch.len());
    for &request in batch {
        let known = known.get(&request.checkout_id.uuid()).copied();
        answers.push(match known {
            Some(Known::Held { expires_at }) => Some(Reserved::Held { expires_at }),
            Some(Known::Ended) => Some(Reserved::Ended),
            // One that was found short may have been undone already, and then its answer be lost: asked
            // again, it is short still, or ended.
            Some(Known::NeverHeld) => Some(match stock.clone().admit(&request.lines) {
                Ok(()) => Reserved::Ended,
                Err(short) => Reserved::SoldOut(short),
            }),
            None => match stock.admit(&request.lines) {
                Ok(()) => {
                    admitted.push(request);
                    None
                }
                Err(short) => Some(Reserved::SoldOut(short)),
            },
        });
    }
    let mut held = HashMap::new();
    if !admitted.is_empty() {
        held = take_all(&mut tx, &admitted).await?;
        if held.len() != admitted.len() {
            tx.rollback().await?;
            return Ok(None);
        }
    }
    tx.commit().await?;
    let answers = batch.iter().zip(answers).map(|(request, answer)| match answer {
        Some(answer) => Ok(answer),
        None => hold(&held, request.checkout_id),
    });
    answers.collect::<Result<_, _>>().map(Some)
}

async fn lock_stock(conn: &mut PgConnection, batch: &[&Request]) -> Result<Stock, Error> {
    let mut skus: Vec<String> = batch
        .iter()
        .flat_map(|request| request.lines.iter().map(|line| line.sku.to_string()))
        .collect();
    skus.sort_unstable();
    skus.dedup();
    let rows = sqlx::query!(
        "SELECT sku, available FROM inventory WHERE sku = ANY ($1) ORDER BY sku FOR NO KEY UPDATE",
        &skus
    )
    .fetch_all(conn)
    .await?;
    let available = rows.into_iter().map(|row| {
        let sku = row.sku.try_into().map_err(|_| Error::corrupt("inventory", "sku"))?;
        Ok((sku, row.available))
    });
    Ok(Stock::new(available.collect::<Result<Vec<_>, Error>>()?))
}

/// What became of a reservation that is there already.
#[derive(Clone, Copy)]
enum Known {
    Held {
        expires_at: DateTime<Utc>,
    },
    Ended,
    /// Released without having held anything.
    NeverHeld,
}

async fn known(conn: &mut PgConnection, batch: &[&Request]) -> Result<HashMap<Uuid, Known>, Error> {
    let ids: Vec<Uuid> = batch.iter().map(|request| request.checkout_id.uuid()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT checkout_id, state, expires_at, cardinality(skus) = 0 AS "never_held!" FROM reservation
        WHERE checkout_id = ANY ($1)
        "#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let known = match row.state.as_str() {
                "held" | "committed" => Known::Held { expires_at: row.expires_at },
                "released" | "expired" if row.never_held => Known::NeverHeld,
                "released" | "expired" => Known::Ended,
                _ => return Err(Error::corrupt("reservation", "state")),
            };
            Ok((row.checkout_id, known))
        })
        .collect()
}

fn answers(
    batch: &[&Request],
    held: &HashMap<Uuid, DateTime<Utc>>,
) -> Result<Vec<Reserved>, Error> {
    batch.iter().map(|request| hold(held, request.checkout_id)).collect()
}

fn hold(held: &HashMap<Uuid, DateTime<Utc>>, id: CheckoutId) -> Result<Reserved, Error> {
    held.get(&id.uuid())
        .map(|expires_at| Reserved::Held { expires_at: *expires_at })
        .ok_or_else(|| Error::Broken(format!("the stock of {id} was taken and not held")))
}

fn index(length: usize) -> i32 {
    i32::try_from(length).expect("a batch has at most some ten thousands of lines")
}
