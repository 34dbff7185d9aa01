//! The cart: one row per customer that carries its version and its lock, and one row per line.
//!
//! Every change takes the cart row's lock first, so changes to one cart happen one after another,
//! none is lost, and each makes the version one higher. No policy about checkouts here: a cart is
//! locked while its row names one.

use chrono::{DateTime, Utc};
use domain::{
    CheckoutId, CustomerId, LINES_MAX, Money, Quantity, Sku, StockLine, sku::QUANTITY_MAX,
};
use sqlx::{Connection, PgConnection};

use crate::Error;

/// A cart as it stands, beside today's prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartView {
    /// Grows by one with every change.
    pub version: i64,
    /// The checkout that is buying it, while one is.
    pub locked_by: Option<CheckoutId>,
    /// When it last changed, if it ever did.
    pub updated_at: Option<DateTime<Utc>>,
    /// One line per SKU, in SKU order.
    pub lines: Vec<LineView>,
}

/// One line of a cart, beside today's price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineView {
    /// What.
    pub sku: Sku,
    /// What people call it.
    pub title: String,
    /// How many.
    pub quantity: Quantity,
    /// The catalog's price for one when the line was last touched.
    pub seen_price: Money,
    /// The catalog's price for one now.
    pub current_price: Money,
    /// Whether it is still sold.
    pub on_sale: bool,
}

/// How a change to a cart ended. Only the first changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Done; this is the cart now.
    Done(CartView),
    /// The cart is at another version than the caller expected.
    VersionConflict {
        /// The version it is at.
        version: i64,
    },
    /// A checkout is buying the cart.
    Locked {
        /// That checkout.
        checkout_id: CheckoutId,
    },
    /// The catalog has no such SKU.
    UnknownSku,
    /// The catalog has it, but it is not sold.
    NotOnSale,
    /// One line more than a cart may have.
    TooManyLines,
    /// More units than a line may have.
    TooManyUnits {
        /// How many the line has now.
        quantity: i64,
    },
}

/// The versions of the cart that a change may be made to; `None` is any.
pub type Expected<'a> = Option<&'a [i64]>;

#[derive(Clone, Copy)]
enum Put {
    Add,
    Set,
}

/// What the customer's cart asks of the stock, in SKU order.
pub async fn stock_lines(
    conn: &mut PgConnection,
    customer_id: CustomerId,
) -> Result<Vec<StockLine>, Error> {
    let rows = sqlx::query!(
        "SELECT sku, quantity FROM cart_line WHERE customer_id = $1 ORDER BY sku",
        customer_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(StockLine {
                sku: row.sku.try_into().map_err(|_| Error::corrupt("cart_line", "sku"))?,
                quantity: row
                    .quantity
                    .try_into()
                    .map_err(|_| Error::corrupt("cart_line", "quantity"))?,
            })
        })
        .collect()
}

/// The customer's cart. One that was never touched is empty, at version 0.
pub async fn get(conn: &mut PgConnection, customer_id: CustomerId) -> Result<CartView, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT c.version, c.checkout_id, c.updated_at, l.sku AS "sku?", l.quantity AS "quantity?",
            l.seen_price_minor AS "seen_price_minor?", l.seen_currency AS "seen_currency?",
            s.price_minor AS "price_minor?", s.currency AS "currency?", s.on_sale AS "on_sale?",
            p.title AS "title?"
        FROM cart c
            LEFT JOIN cart_line l USING (customer_id)
            LEFT JOIN sku s USING (sku)
            LEFT JOIN product p ON p.id = s.product_id
        WHERE c.customer_id = $1
        ORDER BY l.sku
        "#,
        customer_id.uuid()
    )
    .fetch_all(conn)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(CartView { version: 0, locked_by: None, updated_at: None, lines: Vec::new() });
    };
    let (version, locked_by) = (first.version, first.checkout_id.map(CheckoutId::from));
    let updated_at = Some(first.updated_at);
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        // The one row of an empty cart has no line.
        let Some(sku) = row.sku else { continue };
        lines.push(LineView {
            sku: sku.try_into().map_err(|_| Error::corrupt("cart_line", "sku"))?,
            title: row.title.ok_or(Error::corrupt("product", "title"))?,
            quantity: row
                .quantity
                .and_then(|units| units.try_into().ok())
                .ok_or(Error::corrupt("cart_line", "quantity"))?,
            seen_price: money(row.seen_price_minor, row.seen_currency)
                .ok_or(Error::corrupt("cart_line", "seen_price_minor"))?,
            current_price: money(row.price_minor, row.currency)
                .ok_or(Error::corrupt("sku", "price_minor"))?,
            on_sale: row.on_sale.unwrap_or(false),
        });
    }
    Ok(CartView { version, locked_by, updated_at, lines })
}

/// Adds units to what is there already.
pub async fn add(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    expected: Expected<'_>,
    sku: &Sku,
    quantity: Quantity,
) -> Result<Change, Error> {
    put(conn, customer_id, expected, sku, quantity, Put::Add).await
}

/// Sets the units of one SKU, whatever was there.
pub async fn set(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    expected: Expected<'_>,
    sku: &Sku,
    quantity: Quantity,
) -> Result<Change, Error> {
    put(conn, customer_id, expected, sku, quantity, Put::Set).await
}

/// Takes one SKU out. If it is not in, nothing changes, and the version does not either.
pub async fn remove(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    expected: Expected<'_>,
    sku: &Sku,
) -> Result<Change, Error> {
    let mut tx = conn.begin().await?;
    if let Some(refused) = lock(&mut tx, customer_id, expected).await? {
        return Ok(refused);
    }
    let removed = sqlx::query!(
        "DELETE FROM cart_line WHERE customer_id = $1 AND sku = $2",
        customer_id.uuid(),
        sku.as_str()
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if removed == 0 {
        tx.rollback().await?;
        return Ok(Change::Done(get(conn, customer_id).await?));
    }
    let cart = get(&mut tx, customer_id).await?;
    tx.commit().await?;
    Ok(Change::Done(cart))
}

async fn put(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    expected: Expected<'_>,
    sku: &Sku,
    quantity: Quantity,
    put: Put,
) -> Result<Change, Error> {
    // A refusal drops the transaction, and with it the version's step.
    let mut tx = conn.begin().await?;
    if let Some(refused) = lock(&mut tx, customer_id, expected).await? {
        return Ok(refused);
    }
    // The limits are conditions of the write itself. The count is true because whoever adds a line
    // to this cart holds the lock that we hold.
    let written = sqlx::query!(
        r#"
        INSERT INTO cart_line AS l (customer_id, sku, quantity, seen_price_minor, seen_currency)
        SELECT $1, s.sku, $3, s.price_minor, s.currency
        FROM sku s
        WHERE s.sku = $2 AND s.on_sale AND (
            EXISTS (SELECT FROM cart_line WHERE customer_id = $1 AND sku = $2)
            OR (SELECT count(*) FROM cart_line WHERE customer_id = $1) < $4
        )
        ON CONFLICT (customer_id, sku) DO UPDATE SET
            quantity = EXCLUDED.quantity + CASE WHEN $5 THEN l.quantity ELSE 0 END,
            seen_price_minor = EXCLUDED.seen_price_minor,
            seen_currency = EXCLUDED.seen_currency
        WHERE NOT $5 OR l.quantity + EXCLUDED.quantity <= $6
        "#,
        customer_id.uuid(),
        sku.as_str(),
        i64::from(quantity),
        i64::try_from(LINES_MAX).expect("a hundred fits"),
        matches!(put, Put::Add),
        i64::from(QUANTITY_MAX),
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if written == 0 {
        return refusal(&mut tx, customer_id, sku).await;
    }
    let cart = get(&mut tx, customer_id).await?;
    tx.commit().await?;
    Ok(Change::Done(cart))
}

/// Takes the cart's lock, making the row if there is none, and steps its version. What comes back is
/// why that may not be; then the transaction must not be committed.
async fn lock(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    expected: Expected<'_>,
) -> Result<Option<Change>, Error> {
    let cart = sqlx::query!(
        r#"
        INSERT INTO cart AS c (customer_id, version) VALUES ($1, 1)
        ON CONFLICT (customer_id) DO UPDATE SET version = c.version + 1, updated_at = now()
        RETURNING c.version, c.checkout_id
        "#,
        customer_id.uuid()
    )
    .fetch_one(conn)
    .await?;
    let version = cart.version - 1;
    if expected.is_some_and(|expected| !expected.contains(&version)) {
        return Ok(Some(Change::VersionConflict { version }));
    }
    Ok(cart.checkout_id.map(|checkout_id| Change::Locked { checkout_id: checkout_id.into() }))
}

/// Why no line was written.
async fn refusal(
    conn: &mut PgConnection,
    customer_id: CustomerId,
    sku: &Sku,
) -> Result<Change, Error> {
    let found = sqlx::query!(
        r#"
        SELECT s.on_sale, l.quantity AS "quantity?"
        FROM sku s LEFT JOIN cart_line l ON l.customer_id = $1 AND l.sku = s.sku
        WHERE s.sku = $2
        "#,
        customer_id.uuid(),
        sku.as_str()
    )
    .fetch_optional(conn)
    .await?;
    Ok(match found {
        None => Change::UnknownSku,
        Some(found) if !found.on_sale => Change::NotOnSale,
        Some(found) => match found.quantity {
            Some(quantity) => Change::TooManyUnits { quantity },
            None => Change::TooManyLines,
        },
    })
}

fn money(minor: Option<i64>, currency: Option<String>) -> Option<Money> {
    Money::new(minor?, currency?.parse().ok()?).ok()
}
