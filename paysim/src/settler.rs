//! Gives refunds their last word when their time has come.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use tokio::time::timeout;

use crate::{app::App, error::chain_text, execute::Failure, unasked::settle_refund};

/// The queue is looked at this often even when nobody rings.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_AFTER_TROUBLE: Duration = Duration::from_secs(1);

pub(crate) async fn run(app: Arc<App>) {
    loop {
        let pause = settle_next(&app).await.unwrap_or_else(|failure| {
            tracing::error!(error = %chain_text(&failure), "a refund cannot be settled");
            PAUSE_AFTER_TROUBLE
        });
        // Silence is as good as the bell: either way the queue is looked at.
        let _ = timeout(pause, app.refunds_to_settle.notified()).await;
    }
}

/// Settles the next refund if it is due, and says how long there is nothing more to do.
async fn settle_next(app: &App) -> Result<Duration, Failure> {
    let Some(next) = app.store.refund_to_settle().await? else {
        return Ok(PATIENCE);
    };
    let pause = (next.created_at + app.refund_settle - Utc::now()).to_std().unwrap_or_default();
    if !pause.is_zero() {
        return Ok(pause.min(PATIENCE));
    }
    match settle_refund(app, &next.id, None).await {
        Ok(_) => Ok(Duration::ZERO),
        // An operator was quicker.
        Err(Failure::Api(_)) => Ok(PAUSE_AFTER_TROUBLE),
        Err(failure) => Err(failure),
    }
}
