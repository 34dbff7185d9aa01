//! The inbox: that something has happened to a payment or a refund, as told from outside. A row is written before
//! whoever told it is thanked, and carried afterwards by whoever gets to it. What the teller said of
//! amounts and states is not here: it is a reason to look, and no more.

use domain::{Attempt, PaymentId, RefundId, RefundState};
use sqlx::PgConnection;

use crate::{Error, payment::AttemptState};

/// Something that is said to have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Who tells it.
    pub provider: &'a str,
    /// Their id of it; the same however often they tell it.
    pub event_id: &'a str,
    /// Their word for it.
    pub kind: &'a str,
    /// The payment, if they name it.
    pub payment_id: Option<PaymentId>,
    /// The attempt, if they name it.
    pub attempt: Option<Attempt>,
    /// Their own id of the attempt, if they name it.
    pub provider_ref: Option<&'a str>,
    /// The refund, if they name one by our name for it.
    pub refund_id: Option<RefundId>,
    /// Their own id of the refund, if they name one.
    pub refund_ref: Option<&'a str>,
}

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It waits to be carried.
    New,
    /// It was told before.
    Known,
    /// It is about no payment of ours; nothing was written.
    NotOurs,
}

/// An arrival that waits to be carried, with where our books stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who told it.
    pub provider: String,
    /// Their id of it.
    pub event_id: String,
    /// Their word for it.
    pub kind: String,
    /// Which payment.
    pub payment_id: PaymentId,
    /// Which attempt, if that is known.
    pub attempt: Option<Attempt>,
    /// The provider's id that the event is about, if it names one.
    pub provider_ref: Option<String>,
    /// Where that attempt stands, if it was begun.
    pub attempt_state: Option<AttemptState>,
    /// The provider's id that we noted for that attempt.
    pub attempt_ref: Option<String>,
    /// Whether the payment was closed: its sale can never become final.
    pub closed: bool,
    /// Whether the checkout is over.
    pub finished: bool,
    /// The refund of ours that it is about, if it is about one.
    pub refund: Option<NamedRefund>,
    /// How often somebody set out to carry it, this time included.
    pub tries: u32,
}

/// A refund of ours that an arrival is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRefund {
    /// Which.
    pub id: RefundId,
    /// Where it stands.
    pub state: RefundState,
    /// The provider's id of it that we noted.
    pub noted_ref: Option<String>,
    /// The provider's id of it that the event names, if it names one.
    pub told_ref: Option<String>,
}

/// Takes an arrival in, once per event. Which payment and which refund it is about is looked up by the
/// provider's ids first: those we wrote down ourselves.
pub async fn accept(conn: &mut PgConnection, arrival: &Arrival<'_>) -> Result<Accepted, Error> {
    let row = sqlx::query!(
        r#"
        WITH noted AS (
            SELECT payment_id, attempt FROM payment_attempt WHERE provider_ref = $6
        ), named AS (
            SELECT id, payment_id FROM refund WHERE provider_ref = $7 OR id = $8
            ORDER BY provider_ref = $7 DESC NULLS LAST LIMIT 1
        ), ours AS (
            SELECT p.id, coalesce((SELECT attempt FROM noted), $5) AS attempt,
                (SELECT id FROM named WHERE payment_id = p.id) AS refund_id
            FROM payment p
            WHERE p.id = coalesce((SELECT payment_id FROM noted), (SELECT payment_id FROM named), $4)
        ), accepted AS (
            INSERT INTO inbox
                (provider, event_id, kind, payment_id, attempt, provider_ref, refund_id, refund_ref)
            SELECT $1, $2, $3, id, attempt, $6, refund_id, $7 FROM ours
            ON CONFLICT (provider, event_id) DO NOTHING
            RETURNING event_id
        )
        SELECT EXISTS (SELECT FROM ours) AS "ours!", EXISTS (SELECT FROM accepted) AS "new!"
        "#,
        arrival.provider,
        arrival.event_id,
        arrival.kind,
        arrival.payment_id.map(PaymentId::uuid),
        arrival.attempt.map(i64::from),
        arrival.provider_ref,
        arrival.refund_ref,
        arrival.refund_id.map(RefundId::uuid),
    )
    .fetch_one(conn)
    .await?;
    Ok(match (row.ours, row.new) {
        (_, true) => Accepted::New,
        (true, false) => Accepted::Known,
        (false, false) => Accepted::NotOurs,
    })
}

/// Takes arrivals to carry, longest due first, passing over those that others are taking. They are the
/// caller's for so long, and due again after it, should the caller be gone.
pub async fn claim(
    conn: &mut PgConnection,
    limit: i64,
    lease_ms: u64,
) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query!(
        r#"
        WITH due AS (
            SELECT provider, event_id FROM inbox WHERE carried_at IS NULL AND due_at <= now()
            ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE inbox i
            SET due_at = now() + $2::bigint * interval '1 millisecond', tries = tries + 1
            FROM due WHERE i.provider = due.provider AND i.event_id = due.event_id
            RETURNING i.provider, i.event_id, i.kind, i.payment_id, i.attempt, i.provider_ref, i.tries,
                i.refund_id, i.refund_ref
        )
        SELECT c.provider AS "provider!", c.event_id AS "event_id!", c.kind AS "kind!",
            c.payment_id AS "payment_id!", c.attempt, c.provider_ref, c.tries AS "tries!",
            a.state AS "attempt_state?", a.provider_ref AS "attempt_ref?",
            p.closed_at IS NOT NULL AS "closed!", k.finished_at IS NOT NULL AS "finished!",
            c.refund_id, c.refund_ref, r.state AS "refund_state?", r.provider_ref AS "noted_refund_ref?"
        FROM claimed c JOIN payment p ON p.id = c.payment_id JOIN checkout k ON k.id = c.payment_id
        LEFT JOIN payment_attempt a ON a.payment_id = c.payment_id AND a.attempt = c.attempt
        LEFT JOIN refund r ON r.id = c.refund_id
        "#,
        limit,
        milliseconds(lease_ms),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let attempt = row.attempt.map(Attempt::try_from).transpose();
            let state = row.refund_state.as_deref().map(refund_state).transpose()?;
            let refund = row.refund_id.zip(state).map(|(id, state)| NamedRefund {
                id: id.into(),
                state,
                noted_ref: row.noted_refund_ref,
                told_ref: row.refund_ref,
            });
            Ok(Waiting {
                provider: row.provider,
                event_id: row.event_id,
                kind: row.kind,
                payment_id: row.payment_id.into(),
                attempt: attempt.map_err(|_| Error::corrupt("inbox", "attempt"))?,
                provider_ref: row.provider_ref,
                attempt_state: row.attempt_state.as_deref().map(AttemptState::parse).transpose()?,
                attempt_ref: row.attempt_ref,
                closed: row.closed,
                finished: row.finished,
                refund,
                tries: u32::try_from(row.tries).map_err(|_| Error::corrupt("inbox", "tries"))?,
            })
        })
        .collect()
}

/// Marks an arrival as carried: nothing more is to be done about it.
pub async fn mark_carried(conn: &mut PgConnection, waiting: &Waiting) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE inbox SET carried_at = now() WHERE provider = $1 AND event_id = $2",
        waiting.provider,
        waiting.event_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Leaves an arrival for later, so that others come first.
pub async fn postpone(conn: &mut PgConnection, waiting: &Waiting, ms: u64) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE inbox SET due_at = now() + $3::bigint * interval '1 millisecond'
        WHERE provider = $1 AND event_id = $2
        "#,
        waiting.provider,
        waiting.event_id,
        milliseconds(ms),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets arrivals that were carried longer ago than this, the oldest first and at most so many. How many
/// it were.
pub async fn forget(
    conn: &mut PgConnection,
    carried_ago_ms: u64,
    limit: i64,
) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        r#"
        DELETE FROM inbox i USING (
            SELECT provider, event_id FROM inbox
            WHERE carried_at < now() - $1::bigint * interval '1 millisecond'
            ORDER BY carried_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) old
        WHERE i.provider = old.provider AND i.event_id = old.event_id
        "#,
        milliseconds(carried_ago_ms),
        limit,
    )
    .execute(conn)
    .await?;
    Ok(forgotten.rows_affected())
}

fn refund_state(name: &str) -> Result<RefundState, Error> {
    RefundState::parse(name).ok_or(Error::corrupt("refund", "state"))
}

fn milliseconds(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
