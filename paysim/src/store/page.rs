//! Which rows a list wants. Ids are time-ordered, so a list runs down the primary key.

use chrono::{DateTime, Utc};

/// A page of a list, newest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    /// Only ids before this one.
    pub(crate) before: Option<&'a str>,
    /// Created at this time or later.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Created before this time.
    pub(crate) until: Option<DateTime<Utc>>,
    /// One more than the page shows.
    pub(crate) rows_max: i64,
}

impl Page<'_> {
    /// The lowest id that an object of this page can have. An object's id is made after its time is
    /// taken, so this keeps the list of the last hour from reading every row before it.
    pub(super) fn first_id(&self, prefix: &str) -> Option<String> {
        self.from.map(|from| format!("{prefix}_{:012x}", from.timestamp_millis()))
    }
}
