//! Setting a shop up: the schema, and a catalog with its opening stock from data files.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, ensure};
use sqlx::Connection as _;
use store::{
    PgConnection, PgPool,
    catalog::Product,
    inventory::{self, Received},
};

use crate::config::Database;

pub(crate) async fn migrate(database: &Database) -> anyhow::Result<()> {
    let shop = connect(database).await?;
    let began = Instant::now();
    store::MIGRATOR.run(&shop).await.context("the schema cannot be brought up to date")?;
    // Each has the whole schema, and uses the stock's tables of it.
    for (number, url) in database.inventory_database_urls.iter().enumerate() {
        let mut conn = PgConnection::connect(url).await.with_context(|| {
            format!("database {} of INVENTORY_DATABASE_URLS does not answer", number + 1)
        })?;
        store::MIGRATOR.run(&mut conn).await.with_context(|| {
            format!(
                "the schema of database {} of INVENTORY_DATABASE_URLS cannot be brought up to date",
                number + 1
            )
        })?;
    }
    database.shards(&shop, 1)?.claim(&shop).await?;
    tracing::info!("schema is up to date ({} ms)", began.elapsed().as_millis());
    Ok(())
}

/// All products in one transaction, and then every receipt that is news, in one for each database of the
/// stock.
pub(crate) async fn seed(database: &Database, folder: &Path) -> anyhow::Result<()> {
    let products = folder.join("products.json");
    let receipts = folder.join("receipts.csv");
    let text = fs::read_to_string(&products)
        .with_context(|| format!("{} cannot be read", products.display()))?;
    let products: Vec<Product> = serde_json::from_str(&text)
        .with_context(|| format!("{} is no catalog", products.display()))?;
    let text = fs::read_to_string(&receipts)
        .with_context(|| format!("{} cannot be read", receipts.display()))?;
    let mut receipts = parse_receipts(&text)
        .with_context(|| format!("{} is no list of receipts", receipts.display()))?;
    // Rows of stock are locked in this order by everybody.
    receipts.sort_by(|one, other| one.sku.cmp(&other.sku));

    let began = Instant::now();
    let shop = connect(database).await?;
    let mut tx = shop.begin().await?;
    store::catalog::upsert(&mut tx, &products).await?;
    tx.commit().await?;
    let shards = database.shards(&shop, 1)?;
    let mut news = 0;
    for part in shards.parts() {
        let mut conn = shards.acquire(part).await?;
        let mut tx = conn.begin().await?;
        for receipt in receipts.iter().filter(|receipt| shards.part_of(&receipt.sku) == part) {
            let booked = inventory::receive(&mut tx, receipt.opening()).await?;
            news += u32::from(booked == Received::Booked);
        }
        tx.commit().await?;
    }
    let skus: usize = products.iter().map(|product| product.skus.len()).sum();
    tracing::info!(
        "catalog is loaded: {} products, {skus} SKUs, {news} new receipts ({} ms)",
        products.len(),
        began.elapsed().as_millis(),
    );
    Ok(())
}

struct Receipt {
    sku: domain::Sku,
    quantity: i64,
    reference: String,
}

impl Receipt {
    fn opening(&self) -> inventory::Receipt<'_> {
        inventory::Receipt {
            sku: &self.sku,
            delta: self.quantity,
            reason: "opening stock",
            reference: &self.reference,
            actor: "seed",
        }
    }
}

/// Lines of `sku,quantity,reference` under a heading; none of the three may hold a comma.
fn parse_receipts(text: &str) -> anyhow::Result<Vec<Receipt>> {
    let mut lines = text.lines();
    ensure!(
        lines.next() == Some("sku,quantity,reference"),
        "the heading must be sku,quantity,reference"
    );
    lines
        .zip(2..)
        .map(|(line, number)| {
            let parse = || {
                let mut fields = line.split(',');
                let (sku, quantity, reference) = (fields.next()?, fields.next()?, fields.next()?);
                (fields.next().is_none() && !reference.is_empty()).then_some(())?;
                Some(Receipt {
                    sku: sku.parse().ok()?,
                    quantity: quantity.parse().ok()?,
                    reference: reference.to_owned(),
                })
            };
            parse().with_context(|| format!("line {number}: {line}"))
        })
        .collect()
}

/// One connection at a time, and the first at once: somebody waits for the command.
pub(crate) async fn connect(database: &Database) -> anyhow::Result<PgPool> {
    let pool = store::connect(&database.database_url, 2)?;
    pool.acquire().await.context("the database does not answer: start it, or set DATABASE_URL")?;
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_that_does_not_parse_is_named_by_its_line() {
        let good = "sku,quantity,reference\nMUG-1,5,opening/MUG-1\n";
        assert_eq!(parse_receipts(good).expect("parses").len(), 1);
        for bad in ["mug,5,r", "MUG-1,five,r", "MUG-1,5", "MUG-1,5,r,x", "MUG-1,5,"] {
            let error = parse_receipts(&format!("{good}{bad}\n")).err().expect("is refused");
            assert!(error.to_string().contains("line 3"), "{error}");
        }
    }
}
