//! The checkout as it was asked for, and what the database alone knows of how far it got.
//!
//! Who may see a checkout is decided in the statement: a row of somebody else's is no row. The rows
//! are written here once, and finished by the steps of the order.

use chrono::{DateTime, Utc};
use domain::{
    Attempt, CheckoutId, CheckoutState, CustomerId, Money, OrderId, OrderState, Problem, Quantity,
    Sku,
};
use serde::Deserialize;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{Error, payment::AttemptState};

/// A checkout as it is asked for.
#[derive(Debug, Clone)]
pub struct NewCheckout<'a> {
    /// Derived from who asks and their idempotency key.
    pub id: CheckoutId,
    /// Who asks.
    pub customer_id: CustomerId,
    /// The SHA-256 of the request, to tell a repeated one from another with the same key.
    pub fingerprint: [u8; 32],
    /// Where to write to.
    pub email: &'a str,
    /// Where to ship to.
    pub shipping_address: &'a serde_json::Value,
}

/// How registering a checkout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// It is the first with this key.
    New,
    /// The same request was registered before.
    Same {
        /// Whether that checkout is over.
        finished: bool,
    },
    /// Another request was registered with this key.
    Other,
    /// It would be the first, but the cart is empty, so it was not registered.
    CartEmpty,
}

/// A checkout, as far as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRow {
    /// Which.
    pub id: CheckoutId,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// How it ended, once it has.
    pub finished: Option<Finished>,
    /// What it sells, once it is priced.
    pub order: Option<OrderRow>,
    /// The last payment attempt that was begun.
    pub attempt: Option<LastAttempt>,
    /// Whether it is barred from being sold, to be undone.
    pub closed: bool,
}

/// A checkout's last payment attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAttempt {
    /// Which.
    pub number: Attempt,
    /// How far it got.
    pub state: AttemptState,
    /// Why the issuer declined it, if so.
    pub decline_code: Option<String>,
    /// Where its customer confirms it with their bank, if they were to.
    pub redirect_url: Option<String>,
}

/// How a checkout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The final state.
    pub state: CheckoutState,
    /// Why it did not sell, unless it did.
    pub problem: Option<Problem>,
}

/// What a checkout sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Which order.
    pub id: OrderId,
    /// Where it stands.
    pub state: OrderState,
    /// What it costs.
    pub total: Money,
    /// What is bought, in SKU order.
    pub lines: Vec<OrderLineRow>,
}

/// One line of an order, as it was frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderLineRow {
    /// What.
    pub sku: Sku,
    /// What people call it.
    pub title: String,
    /// How many.
    pub quantity: Quantity,
    /// The price for one.
    pub unit_price: Money,
}

/// Registers a checkout, or says what is registered under its id, in one statement. Of any number of
/// concurrent calls with one id, one registers.
pub async fn register(conn: &mut PgConnection, new: NewCheckout<'_>) -> Result<Registered, Error> {
    // The update on conflict writes nothing new; it makes the statement wait for, and return, the
    // row that a concurrent call is writing. Only an inserted row has never been locked: xmax is 0.
    let row = sqlx::query!(
        r#"
        INSERT INTO checkout AS c (id, customer_id, fingerprint, email, shipping_address)
        SELECT $1, $2, $3, $4, $5
        WHERE EXISTS (SELECT FROM cart_line WHERE customer_id = $2)
            OR EXISTS (SELECT FROM checkout WHERE id = $1)
        ON CONFLICT (id) DO UPDATE SET customer_id = c.customer_id
        RETURNING (c.xmax = 0) AS "inserted!", (c.finished_at IS NOT NULL) AS "finished!",
            (c.fingerprint = $3 AND c.customer_id = $2) AS "same!"
        "#,
        new.id.uuid(),
        new.customer_id.uuid(),
        new.fingerprint.as_slice(),
        new.email,
        new.shipping_address,
    )
    .fetch_optional(conn)
    .await?;
    Ok(match row {
        None => Registered::CartEmpty,
        Some(row) if row.inserted => Registered::New,
        Some(row) if row.same => Registered::Same { finished: row.finished },
        Some(_) => Registered::Other,
    })
}

/// Whether a checkout of that id was registered, whoever's.
pub async fn registered(conn: &mut PgConnection, id: CheckoutId) -> Result<bool, Error> {
    let found = sqlx::query_scalar!("SELECT id FROM checkout WHERE id = $1", id.uuid())
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}

/// Those of the checkouts that are over.
pub async fn finished(
    conn: &mut PgConnection,
    ids: &[CheckoutId],
) -> Result<Vec<CheckoutId>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let finished = sqlx::query_scalar!(
        "SELECT id FROM checkout WHERE id = ANY ($1) AND finished_at IS NOT NULL",
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(finished.into_iter().map(CheckoutId::from).collect())
}

#[derive(Debug, Deserialize)]
struct JsonLine {
    sku: Sku,
    title: String,
    quantity: Quantity,
    unit_price_minor: i64,
}

/// The customer's checkout of that id, in one statement.
pub async fn find(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    checkout_id: CheckoutId,
) -> Result<Option<CheckoutRow>, Error> {
    let row = sqlx::query!(
        r#"
        SELECT c.created_at, c.state, c.problem AS "problem: Json<Problem>",
            o.state AS "order_state?", o.total_minor AS "total_minor?", o.currency AS "currency?",
            (
                SELECT jsonb_agg(jsonb_build_object(
                    'sku', l.sku, 'title', l.title, 'quantity', l.quantity, 'unit_price_minor', l.unit_price_minor
                ) ORDER BY l.sku)
                FROM order_line l WHERE l.order_id = o.id
            ) AS "lines: Json<Vec<JsonLine>>",
            p.closed_at IS NOT NULL AS "closed!",
            a.attempt AS "attempt?", a.state AS "attempt_state?", a.decline_code, a.redirect_url
        FROM checkout c
            LEFT JOIN customer_order o ON o.id = c.id
            LEFT JOIN payment p ON p.id = c.id
            LEFT JOIN LATERAL (
                SELECT attempt, state, decline_code, redirect_url FROM payment_attempt
                WHERE payment_id = c.id ORDER BY attempt DESC LIMIT 1
            ) a ON true
        WHERE c.id = $1 AND c.customer_id = $2
        "#,
        checkout_id.uuid(),
        customer_id.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let finished = match row.state {
        None => None,
        Some(state) => Some(Finished {
            state: CheckoutState::parse(&state).ok_or(Error::corrupt("checkout", "state"))?,
            problem: row.problem.map(|problem| problem.0),
        }),
    };
    let order = match (row.order_state, row.total_minor, row.currency) {
        (Some(state), Some(minor), Some(currency)) => {
            let lines = row.lines.map(|lines| lines.0).unwrap_or_default();
            Some(order(checkout_id, &state, minor, &currency, lines)?)
        }
        _ => None,
    };
    let attempt = match (row.attempt, row.attempt_state) {
        (Some(number), Some(state)) => Some(LastAttempt {
            number: Attempt::try_from(number)
                .map_err(|_| Error::corrupt("payment_attempt", "attempt"))?,
            state: AttemptState::parse(&state)?,
            decline_code: row.decline_code,
            redirect_url: row.redirect_url,
        }),
        _ => None,
    };
    Ok(Some(CheckoutRow {
        id: checkout_id,
        created_at: row.created_at,
        finished,
        order,
        attempt,
        closed: row.closed,
    }))
}

fn order(
    checkout_id: CheckoutId,
    state: &str,
    minor: i64,
    currency: &str,
    lines: Vec<JsonLine>,
) -> Result<OrderRow, Error> {
    let currency = currency.parse().map_err(|_| Error::corrupt("customer_order", "currency"))?;
    Ok(OrderRow {
        id: checkout_id.order(),
        state: OrderState::parse(state).ok_or(Error::corrupt("customer_order", "state"))?,
        total: Money::new(minor, currency)
            .map_err(|_| Error::corrupt("customer_order", "total_minor"))?,
        lines: lines
            .into_iter()
            .map(|line| {
                Ok(OrderLineRow {
                    unit_price: Money::new(line.unit_price_minor, currency)
                        .map_err(|_| Error::corrupt("order_line", "unit_price_minor"))?,
                    sku: line.sku,
                    title: line.title,
                    quantity: line.quantity,
                })
            })
            .collect::<Result<_, Error>>()?,
    })
}
