//! Money on its way back after a sale: written down when it is asked for, and again at every word of the
//! provider's.
//!
//! Each function that writes is one step of a refund, within its caller's transaction. Running one twice
//! equals once. What may be asked for is decided in `domain::refund`, under the locks taken here.

use chrono::{DateTime, Utc};
use domain::{
    Attempt, Currency, Money, OrderId, OrderState, PaymentId, RefundId, RefundProblem,
    RefundPurpose, RefundState, refund::Taken,
};
use sqlx::PgConnection;

use crate::{
    Error,
    order::{self, money},
    outbox,
    payment::{self, EntryKind},
};

/// A refund as it is asked for.
#[derive(Debug, Clone)]
pub struct NewRefund<'a> {
    /// Derived from the order and the reference.
    pub id: RefundId,
    /// Of what.
    pub order_id: OrderId,
    /// What for.
    pub purpose: RefundPurpose,
    /// How much; without, all that is left.
    pub amount: Option<Money>,
    /// Why, in one word.
    pub reason: &'a str,
    /// Who asks.
    pub actor: &'a str,
    /// What they call it.
    pub reference: &'a str,
}

/// A refund as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRow {
    /// Which.
    pub id: RefundId,
    /// Of whose money.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub actor: String,
    /// What they call it.
    pub reference: String,
    /// How it stands.
    pub state: RefundState,
    /// The provider's id of it, once it was made.
    pub provider_ref: Option<String>,
    /// Why it was refused or failed.
    pub code: Option<String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When the last word came, once it has.
    pub decided_at: Option<DateTime<Utc>>,
}

/// The provider's word on a refund.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// How it stands.
    pub state: RefundState,
    /// The provider's id of it, where it was made.
    pub provider_ref: Option<&'a str>,
    /// Why it was refused or failed.
    pub code: Option<&'a str>,
}

/// What the provider knows the captured money by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Which attempt took it.
    pub attempt: Attempt,
    /// The provider's id of that attempt.
    pub provider_ref: String,
    /// How much it was for.
    pub amount: Money,
}

/// Writes a refund down and sets its amount aside, once; or says why it is not taken on.
pub async fn request(
    conn: &mut PgConnection,
    new: NewRefund<'_>,
) -> Result<Result<RefundRow, RefundProblem>, Error> {
    let order = order::find(conn, new.order_id).await?;
    let state =
        order.ok_or_else(|| Error::Broken(format!("{} was never opened", new.order_id)))?.state;
    let taken = taken(conn, new.order_id.payment()).await?;
    if let Some(row) = find(conn, new.id).await? {
        return Ok(match new.amount {
            Some(amount) if amount != row.amount => {
                Err(RefundProblem::ReferenceReused { amount: row.amount })
            }
            Some(_) | None => Ok(row),
        });
    }
    let admitted = match taken {
        Some(taken) => taken.admit(state, new.purpose, new.amount),
        // Never paid for.
        None => Err(RefundProblem::InvalidState { state }),
    };
    if new.purpose == RefundPurpose::CallOff
        && !matches!(admitted, Err(RefundProblem::InvalidState { .. }))
    {
        // Also where all of the money is on its way back already.
        call_off(conn, new.order_id).await?;
    }
    match admitted {
        Ok(amount) => {
            insert(conn, &new, amount).await?;
            let row = find(conn, new.id).await?;
            row.map(Ok).ok_or_else(|| Error::Broken(format!("{} was not written", new.id)))
        }
        Err(problem) => Ok(Err(problem)),
    }
}

/// Writes the provider's word on a refund down, with its ledger entries, once. When nothing that was
/// captured is left, the order is refunded. The refund as it stands after it.
pub async fn decide(
    conn: &mut PgConnection,
    refund_id: RefundId,
    word: Word<'_>,
) -> Result<RefundRow, Error> {
    let payment_id = get(conn, refund_id).await?.payment_id;
    let order_id = payment_id.checkout().order();
    let order = order::find(conn, order_id).await?;
    let order = order.ok_or_else(|| Error::Broken(format!("{order_id} was never opened")))?;
    taken(conn, payment_id).await?;
    // Read again: another may have written while the locks were waited for.
    let row = get(conn, refund_id).await?;
    if !row.state.moves_to(word.state) {
        return Ok(row);
    }
    if row.state == RefundState::Requested {
        no_longer_requested(conn, &row).await?;
    }
    if let Some(provider_ref) = word.provider_ref {
        let attempt = captured(conn, payment_id).await?.attempt;
        // What was booked before is not booked again.
        let mut entries = vec![EntryKind::Refunded];
        if word.state == RefundState::Failed {
            entries.push(EntryKind::RefundFailed);
        }
        for kind in entries {
            payment::book(conn, payment_id, attempt, kind, row.amount, provider_ref).await?;
        }
    }
    write(conn, refund_id, word).await?;
    announce(conn, &row, word).await?;
    if word.state == RefundState::Succeeded && all_gone(conn, payment_id).await? {
        let before = order.state;
        order::refunded(conn, order, refund_id).await?;
        if before == OrderState::Paid {
            // Nobody is to ship what is paid back.
            announce_called_off(conn, order_id).await?;
        }
    }
    get(conn, refund_id).await
}

/// A refund, if it was written down.
pub async fn find(conn: &mut PgConnection, id: RefundId) -> Result<Option<RefundRow>, Error> {
    let row = sqlx::query_as!(
        RawRefund,
        r#"
        SELECT id, payment_id, amount_minor, currency, reason, actor, reference, state, provider_ref, code,
            created_at, decided_at
        FROM refund WHERE id = $1
        "#,
        id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    row.map(RefundRow::try_from).transpose()
}

/// An order's refunds, oldest first.
pub async fn of_order(conn: &mut PgConnection, order_id: OrderId) -> Result<Vec<RefundRow>, Error> {
    let rows = sqlx::query_as!(
        RawRefund,
        r#"
        SELECT id, payment_id, amount_minor, currency, reason, actor, reference, state, provider_ref, code,
            created_at, decided_at
        FROM refund WHERE payment_id = $1 ORDER BY created_at, id
        "#,
        order_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(RefundRow::try_from).collect()
}

/// How much of an order's money could be given back now; nothing for one that was never paid.
pub async fn left(conn: &mut PgConnection, order_id: OrderId) -> Result<Option<Money>, Error> {
    let row = sqlx::query!(
        r#"
        SELECT o.currency, coalesce(
            p.captured_minor - p.refunded_minor + p.refund_failed_minor - p.refunding_minor, 0
        ) AS "left!"
        FROM customer_order o LEFT JOIN payment p USING (id) WHERE o.id = $1
        "#,
        order_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| money(row.left, &row.currency)).transpose()
}

/// What the provider knows a payment's captured money by.
pub async fn captured(conn: &mut PgConnection, payment_id: PaymentId) -> Result<Captured, Error> {
    let row = sqlx::query!(
        r#"
        SELECT a.attempt, a.provider_ref, p.amount_minor, p.currency
        FROM payment_attempt a JOIN payment p ON p.id = a.payment_id
        WHERE p.id = $1 AND a.state = 'captured'
        "#,
        payment_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    let captured =
        row.and_then(|row| Some((row.attempt, row.provider_ref?, row.amount_minor, row.currency)));
    let (attempt, provider_ref, minor, currency) =
        captured.ok_or_else(|| Error::Broken(format!("{payment_id} was never captured")))?;
    Ok(Captured {
        attempt: u32::try_from(attempt)
            .map_err(|_| Error::corrupt("payment_attempt", "attempt"))?,
        provider_ref,
        amount: money(minor, &currency)?,
    })
}

async fn get(conn: &mut PgConnection, id: RefundId) -> Result<RefundRow, Error> {
    let row = find(conn, id).await?;
    row.ok_or_else(|| Error::Broken(format!("{id} was never asked for")))
}

/// A payment's sums, with its lock.
async fn taken(conn: &mut PgConnection, payment_id: PaymentId) -> Result<Option<Taken>, Error> {
    let row = sqlx::query!(
        r#"
        SELECT currency, captured_minor, refunded_minor, refund_failed_minor, refunding_minor
        FROM payment WHERE id = $1 FOR NO KEY UPDATE
        "#,
        payment_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let currency: Currency =
            row.currency.parse().map_err(|_| Error::corrupt("payment", "currency"))?;
        Ok(Taken {
            currency,
            captured_minor: row.captured_minor,
            refunded_minor: row.refunded_minor,
            refund_failed_minor: row.refund_failed_minor,
            refunding_minor: row.refunding_minor,
        })
    })
    .transpose()
}

async fn insert(conn: &mut PgConnection, new: &NewRefund<'_>, amount: Money) -> Result<(), Error> {
    sqlx::query!(
        r#"
        WITH asked AS (
            INSERT INTO refund (id, payment_id, amount_minor, currency, reason, actor, reference)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            RETURNING payment_id, amount_minor
        )
        UPDATE payment p SET refunding_minor = refunding_minor + a.amount_minor FROM asked a
        WHERE p.id = a.payment_id
        "#,
        new.id.uuid(),
        new.order_id.uuid(),
        amount.minor(),
        amount.currency().code(),
        new.reason,
        new.actor,
        new.reference,
    )
    .execute(&mut *conn)
    .await?;
    event(conn, outbox::REFUND_REQUESTED, new.id, new.order_id).await
}

async fn no_longer_requested(conn: &mut PgConnection, row: &RefundRow) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE payment SET refunding_minor = refunding_minor - $2 WHERE id = $1",
        row.payment_id.uuid(),
        row.amount.minor(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write(conn: &mut PgConnection, id: RefundId, word: Word<'_>) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE refund SET state = $2, provider_ref = coalesce(provider_ref, $3), code = $4,
            decided_at = CASE WHEN $2 = 'pending' THEN NULL ELSE now() END
        WHERE id = $1
        "#,
        id.uuid(),
        word.state.as_str(),
        word.provider_ref,
        word.code,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn announce(conn: &mut PgConnection, row: &RefundRow, word: Word<'_>) -> Result<(), Error> {
    let topic = match word.state {
        RefundState::Succeeded => outbox::REFUND_SUCCEEDED,
        RefundState::Failed | RefundState::Refused => outbox::REFUND_FAILED,
        RefundState::Requested | RefundState::Pending => return Ok(()),
    };
    event(conn, topic, row.id, row.payment_id.checkout().order()).await
}

async fn event(
    conn: &mut PgConnection,
    topic: &str,
    id: RefundId,
    order_id: OrderId,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO outbox (topic, cause, payload)
        SELECT $1, $2, jsonb_strip_nulls(jsonb_build_object(
            'refund_id', $2::text, 'order_id', $3::text, 'reference', reference, 'code', code,
            'amount', jsonb_build_object('minor', amount_minor, 'currency', currency)
        ))
        FROM refund WHERE id = $4
        "#,
        topic,
        id.to_string(),
        order_id.to_string(),
        id.uuid(),
    )
    .execute(&mut *conn)
    .await?;
    Ok(())
}

/// Whether nothing that was captured is left, and no refund is undecided that might leave some.
async fn all_gone(conn: &mut PgConnection, payment_id: PaymentId) -> Result<bool, Error> {
    let gone = sqlx::query_scalar!(
        r#"
        SELECT true FROM payment p
        WHERE p.id = $1 AND captured_minor - refunded_minor + refund_failed_minor = 0
            AND NOT EXISTS (
                SELECT FROM refund r WHERE r.payment_id = p.id AND r.state IN ('requested', 'pending')
            )
        "#,
        payment_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    Ok(gone.is_some())
}

/// Bars the order from being shipped, and tells its fulfilment.
async fn call_off(conn: &mut PgConnection, order_id: OrderId) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE customer_order SET called_off_at = coalesce(called_off_at, now()), updated_at = now() WHERE id = $1",
        order_id.uuid()
    )
    .execute(&mut *conn)
    .await?;
    announce_called_off(conn, order_id).await
}

async fn announce_called_off(conn: &mut PgConnection, order_id: OrderId) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO outbox (topic, cause, payload) VALUES ($1, $2, jsonb_build_object('order_id', $2::text))
        ON CONFLICT (topic, cause) DO NOTHING
        "#,
        outbox::ORDER_CALLED_OFF,
        order_id.to_string(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

struct RawRefund {
    id: uuid::Uuid,
    payment_id: uuid::Uuid,
    amount_minor: i64,
    currency: String,
    reason: String,
    actor: String,
    reference: String,
    state: String,
    provider_ref: Option<String>,
    code: Option<String>,
    created_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
}

impl TryFrom<RawRefund> for RefundRow {
    type Error = Error;

    fn try_from(raw: RawRefund) -> Result<Self, Error> {
        Ok(Self {
            id: raw.id.into(),
            payment_id: raw.payment_id.into(),
            amount: money(raw.amount_minor, &raw.currency)?,
            reason: raw.reason,
            actor: raw.actor,
            reference: raw.reference,
            state: RefundState::parse(&raw.state).ok_or(Error::corrupt("refund", "state"))?,
            provider_ref: raw.provider_ref,
            code: raw.code,
            created_at: raw.created_at,
            decided_at: raw.decided_at,
        })
    }
}
