//! What our books say to somebody who holds them against others' or against the time, many rows at a time.

use std::{collections::HashMap, ops::Range};

use chrono::{DateTime, Utc};
use domain::{
    CheckoutId, Difference, OrderId, PaymentId, RefundId,
    reconciliation::{Booked, Noted},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error,
    order::{money, parse_state},
};

/// What became of a checkout that stock is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its order is paid.
    Sold,
    /// It is over, and sold nothing.
    Unsold,
    /// There is no such checkout.
    Unknown,
}

/// A payment that our books say was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub payment_id: PaymentId,
    /// By which of the provider's intents.
    pub provider_ref: String,
}

/// Money that the provider paid back, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidBack {
    /// The intent that it came from.
    pub intent: String,
    /// The refund.
    pub refund: String,
    /// Which of our refunds it says it is.
    pub named: Option<RefundId>,
}

/// Something that was promised long ago, and is neither kept nor called off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// In which way.
    pub difference: Difference,
    /// What, among all that is overdue.
    pub id: Uuid,
    /// What, by its public id.
    pub subject: String,
    /// About which order.
    pub order_id: OrderId,
    /// When it was promised.
    pub since: DateTime<Utc>,
}

/// What is written down of payments, each beside one of the provider's ids; `None` for one that is not
/// written down at all.
pub async fn booked(
    conn: &mut PgConnection,
    asked: &[(PaymentId, String)],
) -> Result<Vec<Option<Booked>>, Error> {
    let (ids, references): (Vec<Uuid>, Vec<String>) =
        asked.iter().map(|(id, reference)| (id.uuid(), reference.clone())).unzip();
    let rows = sqlx::query!(
        r#"
        SELECT a.n AS "n!", c.finished_at IS NOT NULL AS "over!", o.state, p.amount_minor, p.currency,
            EXISTS (
                SELECT FROM payment_attempt t
                WHERE t.payment_id = p.id AND t.state = 'captured' AND t.provider_ref = a.reference
            ) AS "paid_by_this!",
            EXISTS (
                SELECT FROM payment_entry e
                WHERE e.payment_id = p.id AND e.kind = 'refunded' AND e.provider_ref = a.reference
            ) AS "returned!",
            EXISTS (
                SELECT FROM payment_entry e
                WHERE e.payment_id = p.id AND e.kind = 'authorized' AND e.provider_ref = a.reference
            ) AND NOT EXISTS (
                SELECT FROM payment_entry e
                WHERE e.payment_id = p.id AND e.kind IN ('voided', 'captured') AND e.provider_ref = a.reference
            ) AS "set_aside!"
        FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS a (id, reference, n)
            JOIN payment p ON p.id = a.id
            JOIN customer_order o ON o.id = a.id
            JOIN checkout c ON c.id = a.id
        "#,
        &ids,
        &references,
    )
    .fetch_all(conn)
    .await?;
    let mut booked = vec![None; asked.len()];
    for row in rows {
        let place = usize::try_from(row.n - 1).ok().and_then(|n| booked.get_mut(n));
        let place = place.ok_or_else(|| Error::Broken("a row of no question".to_owned()))?;
        *place = Some(Booked {
            over: row.over,
            order: parse_state(&row.state)?,
            amount: money(row.amount_minor, &row.currency)?,
            paid_by_this: row.paid_by_this,
            noted: match (row.returned, row.set_aside) {
                (true, _) => Noted::Returned,
                (false, true) => Noted::SetAside,
                (false, false) => Noted::Nothing,
            },
        });
    }
    Ok(booked)
}

/// The payments of sold orders whose attempts were begun in a time, in seconds since 1970: by their id, the
/// first after one, or of all.
pub async fn taken(
    conn: &mut PgConnection,
    started_unix_s: &Range<i64>,
    after: Option<PaymentId>,
    limit: u32,
) -> Result<Vec<Taken>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT a.payment_id, a.provider_ref AS "provider_ref!"
        FROM payment_attempt a JOIN customer_order o ON o.id = a.payment_id
        WHERE a.state = 'captured' AND a.provider_ref IS NOT NULL
            AND a.started_at >= to_timestamp($1::bigint) AND a.started_at < to_timestamp($2::bigint)
            AND o.state IN ('paid', 'partially_shipped', 'shipped', 'delivered', 'refunded')
            AND a.payment_id > $3
        ORDER BY a.payment_id LIMIT $4
        "#,
        started_unix_s.start,
        started_unix_s.end,
        after.map_or(Uuid::nil(), PaymentId::uuid),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Taken { payment_id: row.payment_id.into(), provider_ref: row.provider_ref })
        .collect())
}

/// Those refunds of what paid for a sold order that are not written down, and that no refund asked for here
/// is about to be: whose payment each is of, by the provider's id.
pub async fn unrecorded(
    conn: &mut PgConnection,
    paid_back: &[PaidBack],
) -> Result<HashMap<String, PaymentId>, Error> {
    let intents: Vec<String> = paid_back.iter().map(|refund| refund.intent.clone()).collect();
    let refunds: Vec<String> = paid_back.iter().map(|refund| refund.refund.clone()).collect();
    let named: Vec<Uuid> =
        paid_back.iter().map(|refund| refund.named.map_or(Uuid::nil(), RefundId::uuid)).collect();
    let rows = sqlx::query!(
        r#"
        SELECT a.payment_id, b.refund AS "refund!"
        FROM unnest($1::text[], $2::text[], $3::uuid[]) AS b (intent, refund, named)
            JOIN payment_attempt a ON a.provider_ref = b.intent AND a.state = 'captured'
            JOIN customer_order o ON o.id = a.payment_id
        WHERE o.state IN ('paid', 'partially_shipped', 'shipped', 'delivered', 'refunded')
            AND NOT EXISTS (
                SELECT FROM refund r
                WHERE r.provider_ref = b.refund OR (r.id = b.named AND r.state = 'requested')
            )
        "#,
        &intents,
        &refunds,
        &named,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.refund, row.payment_id.into())).collect())
}

/// Those of the provider's intents of which our books say that all their money was paid back, and whose.
pub async fn returned(
    conn: &mut PgConnection,
    intents: &[String],
) -> Result<Vec<(PaymentId, String)>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT DISTINCT e.payment_id, e.provider_ref
        FROM payment_entry e JOIN payment p ON p.id = e.payment_id
        WHERE e.kind = 'refunded' AND e.provider_ref = ANY ($1) AND p.closed_at IS NOT NULL
        "#,
        intents
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.payment_id.into(), row.provider_ref)).collect())
}

/// Those of the checkouts that have been over for so long, or that there are not, and what became of them.
pub async fn over(
    conn: &mut PgConnection,
    checkouts: &[CheckoutId],
    since_ms: u64,
) -> Result<Vec<(CheckoutId, Fate)>, Error> {
    let ids: Vec<Uuid> = checkouts.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT h.id AS "id!", c.id IS NOT NULL AS "known!", o.state AS "state?"
        FROM unnest($1::uuid[]) AS h (id)
            LEFT JOIN checkout c ON c.id = h.id
            LEFT JOIN customer_order o ON o.id = h.id
        WHERE c.id IS NULL OR c.finished_at < now() - $2::bigint * interval '1 millisecond'
        "#,
        &ids,
        milliseconds(since_ms),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let sold = row.state.as_deref().map(parse_state).transpose()?;
            let fate = match sold {
                Some(state) if state.sold() => Fate::Sold,
                _ if row.known => Fate::Unsold,
                _ => Fate::Unknown,
            };
            Ok((row.id.into(), fate))
        })
        .collect()
}

/// Checkouts that have something to sell and are not over, refunds that nobody can say the end of, and orders
/// that are called off with money left that is not on its way back: those of longer ago, by their id, the
/// first after one, or of all. A refund that was made may be pending for another time.
pub async fn overdue(
    conn: &mut PgConnection,
    after_ms: u64,
    pending_after_ms: u64,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Overdue>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT id AS "id!", difference AS "difference!", order_id AS "order_id!", since AS "since!"
        FROM (
            SELECT c.id, 'overdue_checkout' AS difference, o.id AS order_id, c.created_at AS since
            FROM checkout c JOIN customer_order o USING (id)
            WHERE c.finished_at IS NULL AND c.created_at < now() - $1::bigint * interval '1 millisecond'
            UNION ALL
            SELECT id, 'overdue_refund', payment_id, created_at FROM refund
            WHERE state = 'requested' AND created_at < now() - $1::bigint * interval '1 millisecond'
                OR state = 'pending' AND created_at < now() - $2::bigint * interval '1 millisecond'
            UNION ALL
            SELECT o.id, 'unreturned_money', o.id, o.called_off_at
            FROM customer_order o JOIN payment p USING (id)
            WHERE o.state = 'paid' AND o.called_off_at < now() - $1::bigint * interval '1 millisecond'
                AND p.captured_minor - p.refunded_minor + p.refund_failed_minor - p.refunding_minor > 0
        ) promise
        WHERE id > $3
        ORDER BY id LIMIT $4
        "#,
        milliseconds(after_ms),
        milliseconds(pending_after_ms),
        after.unwrap_or_default(),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let difference = Difference::parse(&row.difference);
            let difference = difference.ok_or(Error::corrupt("promise", "difference"))?;
            let subject = match difference {
                Difference::OverdueCheckout => CheckoutId::from(row.id).to_string(),
                Difference::OverdueRefund => RefundId::from(row.id).to_string(),
                _ => PaymentId::from(row.id).to_string(),
            };
            let order_id = row.order_id.into();
            Ok(Overdue { difference, id: row.id, subject, order_id, since: row.since })
        })
        .collect()
}

fn milliseconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
