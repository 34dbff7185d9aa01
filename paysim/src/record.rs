//! The one way a change gets into the books: together with the events that tell of it.

use chrono::{DateTime, Utc};

use crate::{
    app::App,
    event::{Cause, events},
    intent::{Change, new_id},
    store::{Error, EventRow, KeyRow},
    view::event_body,
};

/// Saves a change with its events and with the answer it gives. `false` when nothing was written
/// because the key is taken or the intent has changed since it was read.
pub(crate) async fn record(
    app: &App,
    change: &Change,
    key: Option<KeyRow<'_>>,
    cause: Cause<'_>,
    at: DateTime<Utc>,
) -> Result<bool, Error> {
    let rows: Vec<EventRow> = events(change)
        .into_iter()
        .map(|(kind, subject)| {
            let id = new_id("evt");
            let body = event_body(&id, kind, &subject, cause, at, app);
            EventRow { id, kind, body }
        })
        .collect();
    let saved = app.store.save(change, &rows, &app.webhooks.urls, key, at).await?;
    if saved && !app.webhooks.urls.is_empty() {
        app.webhooks.ring();
    }
    if saved && change.refund.as_ref().is_some_and(|refund| refund.settles_to.is_some()) {
        app.refunds_to_settle.notify_one();
    }
    Ok(saved)
}
