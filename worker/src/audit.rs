//! Checking the books: every law that holds at every moment, on the living system.

use anyhow::bail;
use store::law::{self, When};

use crate::{config::Database, seed::connect};

pub(crate) async fn audit(database: &Database) -> anyhow::Result<()> {
    let mut conn = connect(database).await?;
    let breaches = law::breaches(&mut conn, When::Always).await?;
    for breach in &breaches {
        tracing::error!("broken: {}; for example {}", breach.claim, breach.examples.join(", "));
    }
    if !breaches.is_empty() {
        bail!("{} laws of the books are broken: what breaks them is above", breaches.len());
    }
    let laws = law::LAWS.iter().filter(|law| law.when == When::Always).count();
    tracing::info!("the books are right: {laws} laws hold");
    Ok(())
}
