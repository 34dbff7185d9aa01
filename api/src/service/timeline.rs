//! The story of an order, for those who run the shop.

use chrono::{DateTime, Utc};
use domain::{Order, OrderId, OrderState};
use store::timeline::{self, Entry};

use super::Service;
use crate::error::{Error, FieldError};

/// What was known of an order at one time.
pub(crate) struct Timeline {
    pub(crate) order_id: OrderId,
    /// Where it stood; `None` before it was opened.
    pub(crate) state: Option<OrderState>,
    /// By time, then by source.
    pub(crate) entries: Vec<Entry>,
    /// The databases of the stock that cannot tell what they know.
    pub(crate) unreachable: Vec<String>,
}

impl Service {
    /// What is known of an order, or was at that time.
    pub(crate) async fn timeline(
        &self,
        order_id: OrderId,
        at: Option<DateTime<Utc>>,
    ) -> Result<Timeline, Error> {
        let (mut entries, events) = {
            let mut conn = self.connection().await?;
            store::order::state(&mut conn, order_id).await?.ok_or(Error::NotFound)?;
            timeline::shop(&mut conn, order_id, at).await?
        };
        let opened = entries.iter().any(|entry| entry.source == timeline::ORDER);
        let state = opened.then(|| Order::after(order_id, events).state);
        let (stock, unreachable) = timeline::stock(&self.0.shards, order_id, at).await?;
        entries.extend(stock);
        // What is equal stays in its order, which is the database's.
        entries.sort_by(|one, other| (one.at, &one.source).cmp(&(other.at, &other.source)));
        Ok(Timeline { order_id, state, entries, unreachable })
    }
}

/// A moment as RFC 3339 writes it.
pub(crate) fn read_moment(text: &str) -> Result<DateTime<Utc>, Error> {
    DateTime::parse_from_rfc3339(text).map(Into::into).map_err(|_| {
        let detail = "a time as RFC 3339 has it, such as 2026-11-25T21:00:00Z";
        Error::Invalid(vec![FieldError::parameter("at", "invalid_value", detail)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_date_its_time_and_its_offset() {
        let moment = read_moment("2026-11-25T22:00:00.5+01:00").ok();
        assert_eq!(moment, read_moment("2026-11-25T21:00:00.500Z").ok());
        for bad in
            ["", "now", "2026-11-25", "2026-11-25T21:00:00", "1795000000", "2026-13-01T00:00:00Z"]
        {
            assert!(read_moment(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
