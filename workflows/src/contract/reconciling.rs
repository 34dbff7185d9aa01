//! The steps of a reconciliation: what each is told and what it found.

use serde::{Deserialize, Serialize};
use temporalio_macros::activity_definitions;

/// What holding books against each other came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How much was looked at.
    pub looked_at: u64,
    /// What is under way, and was left to those who are at it.
    pub under_way: u64,
    /// Differences that were mended.
    pub mended: u64,
    /// Differences that wait for people: new cases, and not those that were open or resolved before.
    pub opened: u64,
    /// What could not be decided or mended this time.
    pub left: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            looked_at: self.looked_at + other.looked_at,
            under_way: self.under_way + other.under_way,
            mended: self.mended + other.mended,
            opened: self.opened + other.opened,
            left: self.left + other.left,
        }
    }
}

/// What `reconcile.page` needs: which of the provider's payments, newest first, a page at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PageInput {
    /// Those made from here on, in seconds since 1970.
    pub from_unix_s: i64,
    /// And before this.
    pub to_unix_s: i64,
    /// The last of the page before; without, the newest come.
    pub after: Option<String>,
    /// How far down in time our own books have been held against the provider's.
    pub compared_to_unix_s: i64,
}

/// How `reconcile.page` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PageOutcome {
    /// What was found.
    pub tally: Tally,
    /// What the next page comes after; none if this was the last.
    pub next_after: Option<String>,
    /// How far down our own books have been compared now.
    pub compared_to_unix_s: i64,
}

/// What `reconcile.holds` and `reconcile.counters` need: nothing, yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WholeInput {}

/// What `reconcile.overdue` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OverdueInput {
    /// How long a promise may take, in milliseconds.
    pub after_ms: u64,
}

/// Reconciliation: our books held against the provider's, and against each other.
pub struct Reconciliation;

#[activity_definitions]
impl Reconciliation {
    /// Holds a page of the provider's payments against our books, and our books of that time against the
    /// provider's.
    #[activity(name = "reconcile.page")]
    pub fn page(input: PageInput) -> PageOutcome {
        unimplemented!()
    }

    /// Frees or sells stock that is held for checkouts that are over.
    #[activity(name = "reconcile.holds")]
    pub fn holds(input: WholeInput) -> Tally {
        unimplemented!()
    }

    /// Puts counters right that are not the sums of their ledgers.
    #[activity(name = "reconcile.counters")]
    pub fn counters(input: WholeInput) -> Tally {
        unimplemented!()
    }

    /// Finds what was promised long ago and is neither kept nor called off.
    #[activity(name = "reconcile.overdue")]
    pub fn overdue(input: OverdueInput) -> Tally {
        unimplemented!()
    }
}

pub use self::reconciliation::{Counters, Holds, Overdue, Page};
