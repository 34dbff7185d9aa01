//! The money side of a checkout: numbered attempts. What the provider did is in `ledger.rs`.
//!
//! The provider's own id of an attempt is written down before the attempt is confirmed, so whatever
//! comes later can always be asked about, and cancelled, by that id.

mod ledger;

use std::time::Duration;

use domain::{Attempt, CheckoutId, Money, PaymentId, PaymentMethod};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::ledger::book;
pub use self::ledger::{
    EntryKind, Resummed, book_came, book_came_back, book_returned, missummed, refunded, resum,
    set_aside,
};
use crate::{
    Error,
    order::{self, money},
};

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptState {
    /// Begun; the provider's word is not in.
    Started,
    /// The customer must confirm with their bank.
    ActionRequired,
    /// The money is set aside.
    Approved,
    /// The money is ours.
    Captured,
    /// The issuer said no.
    Declined,
    /// It can never take money.
    Closed,
}

impl AttemptState {
    const ALL: [Self; 6] = [
        Self::Started,
        Self::ActionRequired,
        Self::Approved,
        Self::Captured,
        Self::Declined,
        Self::Closed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::ActionRequired => "action_required",
            Self::Approved => "approved",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Closed => "closed",
        }
    }

    /// Whether it may still bring money, or has.
    pub const fn live(self) -> bool {
        !matches!(self, Self::Declined | Self::Closed)
    }

    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or(Error::corrupt("payment_attempt", "state"))
    }
}

/// An attempt as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Which.
    pub attempt: Attempt,
    /// With what it was begun.
    pub method: PaymentMethod,
    /// Where it stands.
    pub state: AttemptState,
    /// The provider's id, once it has one.
    pub provider_ref: Option<String>,
    /// Why it was declined, if it was.
    pub decline_code: Option<String>,
    /// How long ago it was begun, on the database's clock.
    pub age: Duration,
}

/// How beginning an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The attempt is written down, now or by an earlier run.
    Open(AttemptRow),
    /// The payment was closed before.
    Closed,
}

/// Whether an attempt is written down.
pub async fn begun(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
) -> Result<bool, Error> {
    let row = sqlx::query_scalar!(
        "SELECT attempt FROM payment_attempt WHERE payment_id = $1 AND attempt = $2",
        payment_id.uuid(),
        i64::from(attempt),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.is_some())
}

/// Writes an attempt down before anything is asked of the provider; once per attempt.
pub async fn begin_attempt(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    method: &PaymentMethod,
) -> Result<Begun, Error> {
    let closed = mint(conn, payment_id).await?;
    match attempts(conn, payment_id).await?.into_iter().find(|row| row.attempt == attempt) {
        // What the issuer said stands, whatever happened since.
        Some(row) if !closed || row.state == AttemptState::Declined => return Ok(Begun::Open(row)),
        _ if closed => return Ok(Begun::Closed),
        _ => {}
    }
    sqlx::query!(
        "INSERT INTO payment_attempt (payment_id, attempt, method) VALUES ($1, $2, $3)",
        payment_id.uuid(),
        i64::from(attempt),
        method.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(Begun::Open(AttemptRow {
        attempt,
        method: method.clone(),
        state: AttemptState::Started,
        provider_ref: None,
        decline_code: None,
        age: Duration::ZERO,
    }))
}

/// Notes the provider's id of an attempt. `false` if the payment was closed meanwhile: the attempt
/// must not be confirmed then.
pub async fn note_provider_ref(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    provider_ref: &str,
) -> Result<bool, Error> {
    sqlx::query!(
        r#"
        WITH open AS MATERIALIZED (
            SELECT id FROM payment WHERE id = $1 AND closed_at IS NULL FOR NO KEY UPDATE
        )
        UPDATE payment_attempt a SET provider_ref = $3 FROM open
        WHERE a.payment_id = open.id AND a.attempt = $2
            AND (a.provider_ref IS NULL OR a.provider_ref = $3)
        "#,
        payment_id.uuid(),
        i64::from(attempt),
        provider_ref,
    )
    .execute(conn)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(Error::from)
}

/// Writes down the provider's word on an attempt, with its ledger entries, once. An attempt that
/// was closed stays closed: an approval that arrives after its undo is booked as voided too.
pub async fn decide(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    state: AttemptState,
    decline_code: Option<&str>,
) -> Result<AttemptRow, Error> {
    let (amount, row) = lock(conn, payment_id, attempt).await?;
    if let Some(provider_ref) = &row.provider_ref {
        let entries: &[EntryKind] = match (state, row.state) {
            (AttemptState::Approved, AttemptState::Closed) => {
                &[EntryKind::Authorized, EntryKind::Voided]
            }
            (AttemptState::Approved, _) => &[EntryKind::Authorized],
            (AttemptState::Captured, AttemptState::Approved) => &[EntryKind::Captured],
            (AttemptState::Captured, _) => &[EntryKind::Authorized, EntryKind::Captured],
            (
                AttemptState::Started
                | AttemptState::ActionRequired
                | AttemptState::Declined
                | AttemptState::Closed,
                _,
            ) => &[],
        };
        for kind in entries {
            book(conn, payment_id, attempt, *kind, amount, provider_ref).await?;
        }
    }
    let moves = match row.state {
        AttemptState::Started | AttemptState::ActionRequired => state != row.state,
        AttemptState::Approved => matches!(state, AttemptState::Captured | AttemptState::Closed),
        AttemptState::Captured | AttemptState::Declined | AttemptState::Closed => false,
    };
    if !moves {
        return Ok(row);
    }
    set_state(conn, payment_id, attempt, state, decline_code).await?;
    Ok(AttemptRow { state, decline_code: decline_code.map(str::to_owned), ..row })
}

/// Writes down where the customer of an attempt confirms it with their bank.
pub async fn note_redirect(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    url: &str,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE payment_attempt SET redirect_url = $3
        WHERE payment_id = $1 AND attempt = $2 AND redirect_url IS DISTINCT FROM $3
        "#,
        payment_id.uuid(),
        i64::from(attempt),
        url,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Closes a payment, unless its sale is final: no attempt may begin or be confirmed after this, and the
/// sale cannot become final. Whoever wants the stock or the money back closes first, and whoever makes the
/// sale final must find it open, so this row decides between the two. `false` if the sale is final.
pub async fn close(conn: &mut PgConnection, payment_id: PaymentId) -> Result<bool, Error> {
    match order::find(conn, payment_id.checkout().order()).await? {
        // Never opened, so never paid for.
        None => return Ok(true),
        Some(order) if order.state.sold() => return Ok(false),
        Some(_) => {}
    }
    mint(conn, payment_id).await?;
    sqlx::query!(
        "UPDATE payment SET closed_at = coalesce(closed_at, now()) WHERE id = $1",
        payment_id.uuid()
    )
    .execute(conn)
    .await?;
    Ok(true)
}

/// Books that an attempt of a closed payment was undone at the provider: voided, or paid back if it
/// had been captured.
pub async fn book_undone(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    refunded: bool,
) -> Result<(), Error> {
    let (amount, row) = lock(conn, payment_id, attempt).await?;
    if let Some(provider_ref) = &row.provider_ref {
        if refunded {
            for kind in [EntryKind::Authorized, EntryKind::Captured, EntryKind::Refunded] {
                book(conn, payment_id, attempt, kind, amount, provider_ref).await?;
            }
        } else if ledger::set_aside(conn, provider_ref).await? {
            // By the books and not by the attempt's state: a try of paying that is late may have heard of
            // this undo first, and closed the attempt.
            book(conn, payment_id, attempt, EntryKind::Voided, amount, provider_ref).await?;
        }
    }
    if matches!(
        row.state,
        AttemptState::Started | AttemptState::ActionRequired | AttemptState::Approved
    ) {
        set_state(conn, payment_id, attempt, AttemptState::Closed, None).await?;
    }
    Ok(())
}

/// Whether the payment was closed, if there is one.
pub async fn closed(conn: &mut PgConnection, payment_id: PaymentId) -> Result<bool, Error> {
    let closed = sqlx::query_scalar!(
        "SELECT true FROM payment WHERE id = $1 AND closed_at IS NOT NULL",
        payment_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    Ok(closed.is_some())
}

/// What is to be paid, and the attempt as it is written down.
pub async fn find(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
) -> Result<(Money, AttemptRow), Error> {
    let row = sqlx::query!(
        r#"
        SELECT p.amount_minor, p.currency, a.method, a.state, a.provider_ref, a.decline_code,
            (extract(epoch FROM now() - a.started_at) * 1000)::bigint AS "age_ms!"
        FROM payment p JOIN payment_attempt a ON a.payment_id = p.id
        WHERE p.id = $1 AND a.attempt = $2
        "#,
        payment_id.uuid(),
        i64::from(attempt),
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::Broken(format!("attempt {attempt} of {payment_id} was never begun")))?;
    let amount = money(row.amount_minor, &row.currency)?;
    let found = AttemptRow {
        attempt,
        method: method(row.method)?,
        state: AttemptState::parse(&row.state)?,
        provider_ref: row.provider_ref,
        decline_code: row.decline_code,
        age: age(row.age_ms),
    };
    Ok((amount, found))
}

/// Those of the checkouts whose payment may still take, or has taken, money.
pub async fn in_flight(
    conn: &mut PgConnection,
    checkouts: &[CheckoutId],
) -> Result<Vec<CheckoutId>, Error> {
    let ids: Vec<Uuid> = checkouts.iter().map(|id| id.uuid()).collect();
    let live = sqlx::query_scalar!(
        r#"
        SELECT DISTINCT payment_id FROM payment_attempt
        WHERE payment_id = ANY ($1) AND state IN ('started', 'action_required', 'approved', 'captured')
        "#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(live.into_iter().map(CheckoutId::from).collect())
}

/// A payment's attempts, in order.
pub async fn attempts(
    conn: &mut PgConnection,
    payment_id: PaymentId,
) -> Result<Vec<AttemptRow>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT attempt, method, state, provider_ref, decline_code,
            (extract(epoch FROM now() - started_at) * 1000)::bigint AS "age_ms!"
        FROM payment_attempt WHERE payment_id = $1 ORDER BY attempt
        "#,
        payment_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(AttemptRow {
                attempt: u32::try_from(row.attempt)
                    .map_err(|_| Error::corrupt("payment_attempt", "attempt"))?,
                method: method(row.method)?,
                state: AttemptState::parse(&row.state)?,
                provider_ref: row.provider_ref,
                decline_code: row.decline_code,
                age: age(row.age_ms),
            })
        })
        .collect()
}

fn method(text: String) -> Result<PaymentMethod, Error> {
    text.try_into().map_err(|_| Error::corrupt("payment_attempt", "method"))
}

/// A clock that was set back makes nothing younger than new.
fn age(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Takes the payment's lock, minting its row from the order on first use. Whether it is closed.
async fn mint(conn: &mut PgConnection, payment_id: PaymentId) -> Result<bool, Error> {
    let minted = sqlx::query!(
        r#"
        INSERT INTO payment (id, amount_minor, currency)
        SELECT id, total_minor, currency FROM customer_order WHERE id = $1
        ON CONFLICT (id) DO NOTHING
        "#,
        payment_id.uuid()
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if minted == 1 {
        return Ok(false);
    }
    sqlx::query_scalar!(
        r#"SELECT closed_at IS NOT NULL AS "closed!" FROM payment WHERE id = $1 FOR NO KEY UPDATE"#,
        payment_id.uuid()
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::Broken(format!("{payment_id} has no order")))
}

/// Takes the payment's lock, and then reads: what was waited for is seen as it is after the wait.
async fn lock(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
) -> Result<(Money, AttemptRow), Error> {
    sqlx::query!("SELECT FROM payment WHERE id = $1 FOR NO KEY UPDATE", payment_id.uuid())
        .execute(&mut *conn)
        .await?;
    find(conn, payment_id, attempt).await
}

async fn set_state(
    conn: &mut PgConnection,
    payment_id: PaymentId,
    attempt: Attempt,
    state: AttemptState,
    decline_code: Option<&str>,
) -> Result<(), Error> {
    let open = matches!(state, AttemptState::Started | AttemptState::ActionRequired);
    sqlx::query!(
        r#"
        UPDATE payment_attempt
        SET state = $3, decline_code = $4, decided_at = CASE WHEN $5 THEN NULL ELSE now() END
        WHERE payment_id = $1 AND attempt = $2
        "#,
        payment_id.uuid(),
        i64::from(attempt),
        state.as_str(),
        decline_code,
        open,
    )
    .execute(conn)
    .await?;
    Ok(())
}
