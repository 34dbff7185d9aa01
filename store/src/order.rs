//! Orders: minted with their frozen quote, placed, made final, or cancelled.
//!
//! Each function here is what one step of a checkout does to the database, within its caller's
//! transaction. Running one twice equals once.

pub mod letter;
pub mod read;

use domain::{
    CheckoutId, CustomerId, Money, Order, OrderEvent, OrderId, OrderState, Problem, Quantity,
    Quote, QuoteLine, RefundId, Sku, StockLine, checkout::QuoteError,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, outbox};

/// How opening an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The order is pending and the cart is locked.
    Pending {
        /// What it costs.
        total: Money,
        /// How many SKUs.
        lines: u32,
        /// Whether it was so before.
        again: bool,
    },
    /// Nothing was written.
    Refused(Problem),
}

/// How placing an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// The order is placed, and its stock held for long enough to take the money.
    Placed,
    /// The stock went back before.
    HoldEnded,
}

/// How settling a sale ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The sale is final.
    Final,
    /// Its payment was closed before, so it never will be.
    Undone,
}

struct CartItem {
    line: QuoteLine,
    title: String,
    on_sale: bool,
}

/// Freezes the quote of the customer's cart, locks the cart, and mints the order as pending.
pub async fn open(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    customer_id: CustomerId,
    expected_total: Option<Money>,
) -> Result<Opened, Error> {
    if let Some(problem) = lock_checkout(conn, checkout_id).await?.problem {
        return Ok(Opened::Refused(problem));
    }
    if let Some(opened) = already_open(conn, checkout_id).await? {
        return Ok(opened);
    }
    let cart = sqlx::query!(
        "SELECT version, checkout_id FROM cart WHERE customer_id = $1 FOR UPDATE",
        customer_id.uuid()
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(cart) = cart else {
        return Ok(Opened::Refused(Problem::CartEmpty));
    };
    if let Some(other) = cart.checkout_id {
        return Ok(Opened::Refused(Problem::CartLocked { checkout_id: other.into() }));
    }
    let items = cart_items(conn, customer_id).await?;
    let quote = match quote(&items, expected_total) {
        Ok(quote) => quote,
        Err(problem) => return Ok(Opened::Refused(problem)),
    };
    insert(conn, checkout_id, customer_id, cart.version, &quote, &items).await?;
    let lines = line_count(quote.lines.len());
    Ok(Opened::Pending { total: quote.total, lines, again: false })
}

/// Turns a pending order into a placed one, if its stock was still held a moment ago. One that was
/// cancelled meanwhile has given it back.
pub async fn place(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    provider_ref: &str,
    held: bool,
) -> Result<Placed, Error> {
    let order = lock(conn, checkout_id.order()).await?;
    if order.state == OrderState::Cancelled {
        return Ok(Placed::HoldEnded);
    }
    match transition(order, OrderEvent::Placed)? {
        None => Ok(Placed::Placed),
        Some(_) if !held => Ok(Placed::HoldEnded),
        Some(placed) => {
            let detail = serde_json::json!({ "provider_ref": provider_ref });
            advance(conn, placed, OrderEvent::Placed, "orders.place", &detail).await?;
            outbox::announce_order(conn, outbox::ORDER_PLACED, placed.id).await?;
            Ok(Placed::Placed)
        }
    }
}

/// Makes a captured checkout final: order paid, cart closed, event out. Its stock is to be committed
/// after this, and can then go nowhere else. Nothing is written if its payment is closed.
pub async fn settle(conn: &mut PgConnection, checkout_id: CheckoutId) -> Result<Settled, Error> {
    let checkout = lock_checkout(conn, checkout_id).await?;
    let order = lock(conn, checkout_id.order()).await?;
    // A payment is closed before its order is cancelled, so this one was being undone, too.
    if order.state == OrderState::Cancelled {
        return Ok(Settled::Undone);
    }
    let Some(paid) = transition(order, OrderEvent::Paid)? else {
        return Ok(Settled::Final);
    };
    let undone = sqlx::query_scalar!(
        "SELECT true FROM payment WHERE id = $1 AND closed_at IS NOT NULL",
        checkout_id.uuid()
    )
    .fetch_optional(&mut *conn)
    .await?;
    if undone.is_some() {
        return Ok(Settled::Undone);
    }
    advance(conn, paid, OrderEvent::Paid, "orders.settle", &serde_json::json!({})).await?;
    sqlx::query!(
        r#"
        WITH finished AS (
            UPDATE checkout SET state = 'completed', finished_at = now() WHERE id = $1
        ), emptied AS (
            DELETE FROM cart_line WHERE customer_id = $2
                AND EXISTS (SELECT FROM cart WHERE customer_id = $2 AND checkout_id = $1)
        ), event AS (
            INSERT INTO outbox (topic, cause, payload)
            SELECT $4, $3, jsonb_build_object(
                'order_id', $3::text, 'total', jsonb_build_object('minor', total_minor, 'currency', currency)
            )
            FROM customer_order WHERE id = $1
        )
        UPDATE cart SET version = version + 1, checkout_id = NULL, updated_at = now()
        WHERE customer_id = $2 AND checkout_id = $1
        "#,
        checkout_id.uuid(),
        checkout.customer_id,
        checkout_id.order().to_string(),
        outbox::ORDER_PAID,
    )
    .execute(conn)
    .await?;
    Ok(Settled::Final)
}

/// Cancels the order, if there is one, unlocks the cart, and bars the checkout from opening later.
pub async fn cancel(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    problem: &Problem,
) -> Result<(), Error> {
    let checkout = lock_checkout(conn, checkout_id).await?;
    if checkout.finished {
        return Ok(());
    }
    let order_id = checkout_id.order();
    if let Some(order) = find(conn, order_id).await?
        && let Some(cancelled) = transition(order, OrderEvent::Cancelled)?
    {
        let detail = serde_json::json!({ "reason": problem.code() });
        advance(conn, cancelled, OrderEvent::Cancelled, "orders.cancel", &detail).await?;
        // Of an order that was never placed nobody has heard.
        if order.state == OrderState::Placed {
            outbox::announce_order(conn, outbox::ORDER_CANCELLED, order_id).await?;
        }
    }
    let problem_json =
        serde_json::to_value(problem).map_err(|_| Error::corrupt("checkout", "problem"))?;
    sqlx::query!(
        r#"
        WITH unlocked AS (
            UPDATE cart SET checkout_id = NULL, updated_at = now()
            WHERE customer_id = $4 AND checkout_id = $1
        )
        UPDATE checkout SET state = $2, problem = $3, finished_at = now() WHERE id = $1
        "#,
        checkout_id.uuid(),
        problem.final_state().as_str(),
        problem_json,
        checkout.customer_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Turns an order into a refunded one; the caller has its lock. One that was refunded before stays so.
pub(crate) async fn refunded(
    conn: &mut PgConnection,
    order: Order,
    refund_id: RefundId,
) -> Result<(), Error> {
    let Some(refunded) = transition(order, OrderEvent::Refunded)? else {
        return Ok(());
    };
    let cause = refund_id.to_string();
    advance(conn, refunded, OrderEvent::Refunded, &cause, &serde_json::json!({})).await
}

/// The frozen lines of an order, in SKU order.
pub async fn stock_lines(
    conn: &mut PgConnection,
    order_id: OrderId,
) -> Result<Vec<StockLine>, Error> {
    let rows = sqlx::query!(
        "SELECT sku, quantity FROM order_line WHERE order_id = $1 ORDER BY sku",
        order_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| Ok(StockLine { sku: sku(row.sku)?, quantity: quantity(row.quantity)? }))
        .collect()
}

struct LockedCheckout {
    customer_id: Uuid,
    finished: bool,
    problem: Option<Problem>,
}

/// Takes the lock that every step of one checkout takes first, for who takes others before such a step.
pub async fn lock_first(conn: &mut PgConnection, checkout_id: CheckoutId) -> Result<(), Error> {
    lock_checkout(conn, checkout_id).await.map(drop)
}

/// Takes the lock that every step of one checkout takes first. The row is there before the workflow
/// is, so it can carry word between steps that overtake each other.
async fn lock_checkout(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
) -> Result<LockedCheckout, Error> {
    let row = sqlx::query!(
        "SELECT customer_id, finished_at, problem FROM checkout WHERE id = $1 FOR UPDATE",
        checkout_id.uuid()
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::Broken(format!("{checkout_id} was never registered")))?;
    let problem = row
        .problem
        .map(serde_json::from_value)
        .transpose()
        .map_err(|_| Error::corrupt("checkout", "problem"))?;
    Ok(LockedCheckout {
        customer_id: row.customer_id,
        finished: row.finished_at.is_some(),
        problem,
    })
}

async fn already_open(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
) -> Result<Option<Opened>, Error> {
    let row = sqlx::query!(
        r#"
        SELECT total_minor, currency,
            (SELECT count(*) FROM order_line WHERE order_id = o.id) AS "lines!"
        FROM customer_order o WHERE id = $1
        "#,
        checkout_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let total = money(row.total_minor, &row.currency)?;
        let lines = u32::try_from(row.lines).unwrap_or(u32::MAX);
        Ok(Opened::Pending { total, lines, again: true })
    })
    .transpose()
}

async fn cart_items(
    conn: &mut PgConnection,
    customer_id: CustomerId,
) -> Result<Vec<CartItem>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT l.sku, l.quantity, s.price_minor, s.currency, s.on_sale, p.title
        FROM cart_line l JOIN sku s USING (sku) JOIN product p ON p.id = s.product_id
        WHERE l.customer_id = $1 ORDER BY l.sku
        "#,
        customer_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let line = QuoteLine {
                sku: sku(row.sku)?,
                quantity: quantity(row.quantity)?,
                unit_price: money(row.price_minor, &row.currency)?,
            };
            Ok(CartItem { line, title: row.title, on_sale: row.on_sale })
        })
        .collect()
}

fn quote(items: &[CartItem], expected_total: Option<Money>) -> Result<Quote, Problem> {
    let withdrawn: Vec<Sku> =
        items.iter().filter(|item| !item.on_sale).map(|item| item.line.sku.clone()).collect();
    if !withdrawn.is_empty() {
        return Err(Problem::CartInvalid { skus: withdrawn });
    }
    let quote =
        Quote::new(items.iter().map(|item| item.line.clone())).map_err(|error| match error {
            QuoteError::Empty => Problem::CartEmpty,
            QuoteError::Quantity(sku) => Problem::CartInvalid { skus: vec![sku] },
            QuoteError::Total(_) => Problem::CartInvalid {
                skus: items.iter().map(|item| item.line.sku.clone()).collect(),
            },
        })?;
    match expected_total {
        Some(expected_total) if expected_total != quote.total => {
            Err(Problem::QuoteChanged { expected_total, total: quote.total, lines: quote.lines })
        }
        _ => Ok(quote),
    }
}

async fn insert(
    conn: &mut PgConnection,
    checkout_id: CheckoutId,
    customer_id: CustomerId,
    cart_version: i64,
    quote: &Quote,
    items: &[CartItem],
) -> Result<(), Error> {
    let skus: Vec<String> = items.iter().map(|item| item.line.sku.to_string()).collect();
    let titles: Vec<String> = items.iter().map(|item| item.title.clone()).collect();
    let quantities: Vec<i64> = items.iter().map(|item| item.line.quantity.into()).collect();
    let prices: Vec<i64> = items.iter().map(|item| item.line.unit_price.minor()).collect();
    sqlx::query!(
        r#"
        WITH minted AS (
            INSERT INTO customer_order (id, customer_id, state, total_minor, currency, cart_version)
            VALUES ($1, $2, 'pending', $3, $4, $5)
            RETURNING id
        ), line AS (
            INSERT INTO order_line (order_id, sku, title, quantity, unit_price_minor)
            SELECT m.id, u.sku, u.title, u.quantity, u.price
            FROM minted m,
                unnest($6::text[], $7::text[], $8::bigint[], $9::bigint[]) AS u (sku, title, quantity, price)
        ), event AS (
            INSERT INTO order_event (order_id, seq, kind, cause) SELECT id, 1, 'opened', 'orders.open' FROM minted
        )
        UPDATE cart SET checkout_id = $1, updated_at = now() WHERE customer_id = $2
        "#,
        checkout_id.uuid(),
        customer_id.uuid(),
        quote.total.minor(),
        quote.total.currency().code(),
        cart_version,
        &skus,
        &titles,
        &quantities,
        &prices,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The order, locked.
pub(crate) async fn find(
    conn: &mut PgConnection,
    order_id: OrderId,
) -> Result<Option<Order>, Error> {
    let state = sqlx::query_scalar!(
        "SELECT state FROM customer_order WHERE id = $1 FOR NO KEY UPDATE",
        order_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    state.map(|state| Ok(Order { id: order_id, state: parse_state(&state)? })).transpose()
}

/// Where the order stands, if there is one.
pub async fn state(
    conn: &mut PgConnection,
    order_id: OrderId,
) -> Result<Option<OrderState>, Error> {
    let state =
        sqlx::query_scalar!("SELECT state FROM customer_order WHERE id = $1", order_id.uuid())
            .fetch_optional(conn)
            .await?;
    state.map(|state| parse_state(&state)).transpose()
}

/// Whether its customer has called the order off, which may be before its money is back.
pub async fn called_off(conn: &mut PgConnection, order_id: OrderId) -> Result<bool, Error> {
    let called_off = sqlx::query_scalar!(
        r#"SELECT called_off_at IS NOT NULL AS "called_off!" FROM customer_order WHERE id = $1"#,
        order_id.uuid()
    )
    .fetch_optional(conn)
    .await?;
    Ok(called_off.unwrap_or(false))
}

pub(crate) fn parse_state(state: &str) -> Result<OrderState, Error> {
    OrderState::parse(state).ok_or(Error::corrupt("customer_order", "state"))
}

async fn lock(conn: &mut PgConnection, order_id: OrderId) -> Result<Order, Error> {
    find(conn, order_id).await?.ok_or_else(|| Error::Broken(format!("{order_id} was never opened")))
}

pub(crate) fn transition(order: Order, event: OrderEvent) -> Result<Option<Order>, Error> {
    order.apply(event).map_err(|error| Error::Broken(format!("{}: {error}", order.id)))
}

/// Writes where the order stands now, and what took it there.
pub(crate) async fn advance(
    conn: &mut PgConnection,
    order: Order,
    event: OrderEvent,
    cause: &str,
    detail: &serde_json::Value,
) -> Result<(), Error> {
    let rows = sqlx::query!(
        r#"
        WITH moved AS (
            UPDATE customer_order SET state = $2, updated_at = now() WHERE id = $1 RETURNING id
        )
        INSERT INTO order_event (order_id, seq, kind, cause, detail)
        SELECT id, 1 + (SELECT coalesce(max(seq), 0) FROM order_event WHERE order_id = $1), $3, $4, $5
        FROM moved
        "#,
        order.id.uuid(),
        order.state.as_str(),
        event.as_str(),
        cause,
        detail,
    )
    .execute(conn)
    .await?
    .rows_affected();
    if rows == 1 { Ok(()) } else { Err(Error::Broken(format!("{} did not move", order.id))) }
}

fn line_count(lines: usize) -> u32 {
    u32::try_from(lines).expect("a quote has at most as many lines as a cart")
}

pub(crate) fn sku(text: String) -> Result<Sku, Error> {
    text.try_into().map_err(|_| Error::corrupt("order_line", "sku"))
}

fn quantity(units: i64) -> Result<Quantity, Error> {
    units.try_into().map_err(|_| Error::corrupt("order_line", "quantity"))
}

/// An amount as two columns keep it.
pub(crate) fn money(minor: i64, currency: &str) -> Result<Money, Error> {
    currency
        .parse()
        .and_then(|currency| Money::new(minor, currency))
        .map_err(|_| Error::corrupt("customer_order", "currency"))
}
