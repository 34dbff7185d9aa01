//! The catalog's write side: products and their SKUs, loaded from data, and whether one is there.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::Error;

/// A product as the catalog's data files have it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Stable id, in lower case.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Who makes it.
    pub brand: String,
    /// Where it is filed, as `top/leaf`.
    pub category: String,
    /// A few sentences.
    pub description: String,
    /// Facts to filter by.
    pub attributes: serde_json::Value,
    /// What can be bought of it.
    pub skus: Vec<ProductSku>,
}

/// A sellable unit as the catalog's data files have it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductSku {
    /// The SKU.
    pub sku: domain::Sku,
    /// What sets it apart from its siblings.
    pub options: serde_json::Value,
    /// The price in minor units.
    pub price_minor: i64,
    /// The price's currency.
    pub currency: domain::Currency,
}

/// Whether the catalog has a SKU, on sale or not.
pub async fn has(conn: &mut PgConnection, sku: &domain::Sku) -> Result<bool, Error> {
    let found = sqlx::query_scalar!("SELECT sku FROM sku WHERE sku = $1", sku.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}

/// Writes the products over what is there. Running it twice equals once.
pub async fn upsert(conn: &mut PgConnection, products: &[Product]) -> Result<(), Error> {
    let products =
        serde_json::to_value(products).map_err(|_| Error::corrupt("product", "attributes"))?;
    sqlx::query!(
        r#"
        INSERT INTO product (id, title, brand, category, description, attributes)
        SELECT p.id, p.title, p.brand, p.category, p.description, p.attributes
        FROM jsonb_to_recordset($1) AS p (
            id text, title text, brand text, category text, description text, attributes jsonb
        )
        ON CONFLICT (id) DO UPDATE SET
            title = EXCLUDED.title, brand = EXCLUDED.brand, category = EXCLUDED.category,
            description = EXCLUDED.description, attributes = EXCLUDED.attributes
        "#,
        products,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        r#"
        INSERT INTO sku (sku, product_id, options, price_minor, currency)
        SELECT s.sku, p.id, s.options, s.price_minor, s.currency
        FROM jsonb_to_recordset($1) AS p (id text, skus jsonb),
            jsonb_to_recordset(p.skus) AS s (sku text, options jsonb, price_minor bigint, currency text)
        ON CONFLICT (sku) DO UPDATE SET
            product_id = EXCLUDED.product_id, options = EXCLUDED.options,
            price_minor = EXCLUDED.price_minor, currency = EXCLUDED.currency
        "#,
        products,
    )
    .execute(conn)
    .await?;
    Ok(())
}
