//! The ledger of a payment: what the provider did, each thing once, and the sums beside it.

use domain::{Attempt, Money, PaymentId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, law, order::money, outbox};

/// What a ledger entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Set aside.
    Authorized,
    /// Taken.
    Captured,
    /// Let go.
    Voided,
    /// Paid back.
    Refunded,
    /// Paid back in vain: it is ours again.
    RefundFailed,
}

impl EntryKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
            Self::RefundFailed => "refund_failed",
        }
    }
}

/// One ledger entry and its sum, once per provider reference. Whether it is new.
pub(crate) async fn book(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    kind: EntryKind,
    amount: Money,
    provider_ref: &str,
) -> Result<bool, Error> {
    let booked = sqlx::query!(
        r#"
        WITH entry AS (
            INSERT INTO payment_entry (payment_id, attempt, kind, amount_minor, provider_ref)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (kind, provider_ref) DO NOTHING
            RETURNING kind, amount_minor
        )
        UPDATE payment SET
            authorized_minor = authorized_minor + CASE e.kind WHEN 'authorized' THEN e.amount_minor ELSE 0 END,
            captured_minor = captured_minor + CASE e.kind WHEN 'captured' THEN e.amount_minor ELSE 0 END,
            voided_minor = voided_minor + CASE e.kind WHEN 'voided' THEN e.amount_minor ELSE 0 END,
            refunded_minor = refunded_minor + CASE e.kind WHEN 'refunded' THEN e.amount_minor ELSE 0 END,
            refund_failed_minor = refund_failed_minor + CASE e.kind WHEN 'refund_failed' THEN e.amount_minor ELSE 0 END
        FROM entry e WHERE id = $1
        "#,
        payment_id.uuid(),
        i64::from(attempt),
        kind.as_str(),
        amount.minor(),
        provider_ref,
    )
    .execute(conn)
    .await?
    .rows_affected();
    Ok(booked == 1)
}

/// Whether it is booked that what the provider calls so was paid back.
pub async fn refunded(conn: &mut PgConnection, provider_ref: &str) -> Result<bool, Error> {
    let entry = sqlx::query_scalar!(
        "SELECT id FROM payment_entry WHERE kind = 'refunded' AND provider_ref = $1",
        provider_ref
    )
    .fetch_optional(conn)
    .await?;
    Ok(entry.is_some())
}

/// Books that money was set aside for a closed payment, before it is let go: should nobody hear the end of
/// that, this is how it is known to have been there.
pub async fn book_came(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    provider_ref: &str,
    amount: Money,
) -> Result<(), Error> {
    sqlx::query!("SELECT FROM payment WHERE id = $1 FOR NO KEY UPDATE", payment_id.uuid())
        .execute(&mut *conn)
        .await?;
    book(conn, payment_id, attempt, EntryKind::Authorized, amount, provider_ref).await?;
    Ok(())
}

/// Whether it is booked that money was set aside under this name, and not what became of it.
pub async fn set_aside(conn: &mut PgConnection, provider_ref: &str) -> Result<bool, Error> {
    let entry = sqlx::query_scalar!(
        r#"
        SELECT id FROM payment_entry WHERE kind = 'authorized' AND provider_ref = $1
            AND NOT EXISTS (
                SELECT FROM payment_entry WHERE kind IN ('voided', 'captured') AND provider_ref = $1
            )
        "#,
        provider_ref
    )
    .fetch_optional(conn)
    .await?;
    Ok(entry.is_some())
}

/// Books money that came for a closed payment and has gone back in full: that it came, that it went, and
/// word of it in the outbox. Once for each of the provider's ids.
pub async fn book_returned(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    provider_ref: &str,
    amount: Money,
    refunded: bool,
) -> Result<(), Error> {
    sqlx::query!("SELECT FROM payment WHERE id = $1 FOR NO KEY UPDATE", payment_id.uuid())
        .execute(&mut *conn)
        .await?;
    let kinds: &[EntryKind] = if refunded {
        &[EntryKind::Authorized, EntryKind::Captured, EntryKind::Refunded]
    } else {
        &[EntryKind::Authorized, EntryKind::Voided]
    };
    let mut news = false;
    for kind in kinds {
        news |= book(conn, payment_id, attempt, *kind, amount, provider_ref).await?;
    }
    if news {
        let cause = format!("{payment_id}/{provider_ref}");
        let payload = serde_json::json!({
            "payment_id": payment_id,
            "order_id": payment_id.checkout().order(),
            "amount": amount,
            "refunded": refunded,
        });
        outbox::announce(conn, outbox::PAYMENT_RETURNED, &cause, &payload).await?;
    }
    Ok(())
}

/// Books that money which came for a closed payment was paid back in vain: it is ours again. Once for each of
/// the provider's ids.
pub async fn book_came_back(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    provider_ref: &str,
) -> Result<(), Error> {
    sqlx::query!("SELECT FROM payment WHERE id = $1 FOR NO KEY UPDATE", payment_id.uuid())
        .execute(&mut *conn)
        .await?;
    let paid_back = sqlx::query!(
        r#"
        SELECT e.attempt, e.amount_minor, p.currency
        FROM payment_entry e JOIN payment p ON p.id = e.payment_id
        WHERE e.payment_id = $1 AND e.kind = 'refunded' AND e.provider_ref = $2
        "#,
        payment_id.uuid(),
        provider_ref,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(entry) = paid_back else { return Ok(()) };
    let attempt =
        Attempt::try_from(entry.attempt).map_err(|_| Error::corrupt("payment_entry", "attempt"))?;
    let amount = money(entry.amount_minor, &entry.currency)?;
    book(conn, payment_id, attempt, EntryKind::RefundFailed, amount, provider_ref).await?;
    Ok(())
}

/// How putting a payment's sums right went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resummed {
    /// They are what the ledger says, and were before.
    Right,
    /// They were others; by their names.
    Mended {
        /// What they said.
        before: serde_json::Value,
        /// What the ledger says.
        after: serde_json::Value,
    },
}

/// The payments whose sums are not those of their ledgers.
pub async fn missummed(conn: &mut PgConnection) -> Result<Vec<PaymentId>, Error> {
    let ids = law::SUMS.broken_by(conn).await?;
    let ids = ids.into_iter().map(|id| Uuid::parse_str(&id).map(PaymentId::from));
    ids.collect::<Result<_, _>>().map_err(|_| Error::corrupt("payment", "id"))
}

/// Sets a payment's sums to what its ledger says, under its lock. An error if its constraints do not
/// allow what the ledger says.
pub async fn resum(conn: &mut PgConnection, payment_id: PaymentId) -> Result<Resummed, Error> {
    let sums = async |conn: &mut PgConnection| {
        sqlx::query_scalar!(
            r#"
            SELECT jsonb_build_object(
                'authorized_minor', authorized_minor, 'captured_minor', captured_minor,
                'voided_minor', voided_minor, 'refunded_minor', refunded_minor,
                'refund_failed_minor', refund_failed_minor
            ) AS "sums!"
            FROM payment WHERE id = $1 FOR NO KEY UPDATE
            "#,
            payment_id.uuid()
        )
        .fetch_one(conn)
        .await
    };
    let before = sums(conn).await?;
    sqlx::query!(
        r#"
        UPDATE payment SET
            authorized_minor = e.authorized, captured_minor = e.captured, voided_minor = e.voided,
            refunded_minor = e.refunded, refund_failed_minor = e.refund_failed
        FROM (
            SELECT coalesce(sum(amount_minor) FILTER (WHERE kind = 'authorized'), 0)::bigint AS authorized,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'captured'), 0)::bigint AS captured,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'voided'), 0)::bigint AS voided,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'refunded'), 0)::bigint AS refunded,
                coalesce(sum(amount_minor) FILTER (WHERE kind = 'refund_failed'), 0)::bigint AS refund_failed
            FROM payment_entry WHERE payment_id = $1
        ) e
        WHERE id = $1
        "#,
        payment_id.uuid()
    )
    .execute(&mut *conn)
    .await?;
    let after = sums(conn).await?;
    Ok(if before == after { Resummed::Right } else { Resummed::Mended { before, after } })
}
