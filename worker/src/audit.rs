//! Checking the books: every law that holds at every moment, on the living system.

use anyhow::bail;
use store::law::{self, When};

use crate::{config::Database, seed::connect};

pub(crate) async fn audit(database: &Database) -> anyhow::Result<()> {
    let shop = connect(database).await?;
    let audit = law::audit(&shop, &database.shards(&shop, 1)?, When::Always).await?;
    for breach in &audit.breaches {
        tracing::error!("broken: {}; for example {}", breach.claim, breach.examples.join(", "));
    }
    if !audit.breaches.is_empty() {
        bail!("{} laws of the books are broken: what breaks them is above", audit.breaches.len());
    }
    if !audit.unreachable.is_empty() {
        bail!(
            "not everything could be audited: {} cannot be reached",
            audit.unreachable.join(", ")
        );
    }
    tracing::info!("the books are right: {} laws hold", audit.checked);
    Ok(())
}
