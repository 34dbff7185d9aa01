//! Pages of long lists.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::DateTime;
use store::Position;

use crate::error::{Error, FieldError};

/// How many entries a page has at most, and if nothing is said.
const ENTRIES_MAX: u32 = 100;
const ENTRIES_DEFAULT: u32 = 20;

/// One page of a list, and how to ask for the next, if there is one.
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

/// Which page a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Where the page before ended.
    pub(super) after: Option<Position>,
    limit: u32,
}

impl Wanted {
    /// The page after a cursor, with so many entries.
    pub(crate) fn parse(cursor: Option<&str>, limit: Option<&str>) -> Result<Self, Error> {
        let after = cursor.map(read_cursor).transpose()?;
        Ok(Self { after, limit: limit.map_or(Ok(ENTRIES_DEFAULT), read_limit)? })
    }

    /// How many rows to read: one more than is shown tells whether there is another page.
    pub(super) const fn rows(self) -> u32 {
        self.limit + 1
    }

    /// The page that so many rows come to.
    pub(super) fn page<T>(self, mut entries: Vec<T>, position: impl Fn(&T) -> Position) -> Page<T> {
        let more = entries.len() > self.limit as usize;
        entries.truncate(self.limit as usize);
        let last = entries.last().filter(|_| more);
        let next_cursor = last.map(|last| write_cursor(position(last)));
        Page { entries, next_cursor }
    }
}

fn read_limit(text: &str) -> Result<u32, Error> {
    text.parse().ok().filter(|limit| (1..=ENTRIES_MAX).contains(limit)).ok_or_else(|| {
        let detail = format!("a page has 1 to {ENTRIES_MAX} entries");
        Error::Invalid(vec![FieldError::parameter("limit", "out_of_range", detail)])
    })
}

/// A cursor is opaque to clients: the microsecond and id of the last entry they saw.
fn write_cursor(last: Position) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{}", last.at.timestamp_micros(), last.id))
}

fn read_cursor(cursor: &str) -> Result<Position, Error> {
    let position = || {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (micros, id) = text.split_once('.')?;
        let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        // Outside of these the database could not read the time; we never wrote such a cursor.
        (0..=253_402_300_799).contains(&at.timestamp()).then_some(())?;
        Some(Position { at, id: id.parse().ok()? })
    };
    position().ok_or_else(|| {
        let detail = "not a `next_cursor` of an earlier page";
        Error::Invalid(vec![FieldError::parameter("cursor", "not_a_cursor", detail)])
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_cursor_reads_back_to_the_microsecond_and_nothing_else_is_one() {
        let at = DateTime::from_timestamp_micros(1_795_000_000_123_456).expect("a time");
        let id = Uuid::from_u128(7);
        let last = Position { at, id };
        assert_eq!(read_cursor(&write_cursor(last)).ok(), Some(last));
        let ancient = BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{id}", i64::MIN));
        for bad in ["", "x", "§", "MTIz", "AAAA", ancient.as_str()] {
            assert!(read_cursor(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_page_has_between_one_and_a_hundred_entries() {
        assert!(matches!(read_limit("100"), Ok(100)));
        for bad in ["0", "101", "-1", "1e2", "", "ten"] {
            assert!(read_limit(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn only_a_page_that_is_not_the_last_names_the_next() {
        let position = |n: &u128| Position { at: DateTime::UNIX_EPOCH, id: Uuid::from_u128(*n) };
        let wanted = Wanted::parse(None, Some("2")).expect("a page");
        let Page { entries, next_cursor } = wanted.page(vec![1, 2, 3], position);
        let next = Wanted::parse(next_cursor.as_deref(), None).expect("a page");
        assert_eq!((entries, next.after), (vec![1, 2], Some(position(&2))));
        assert_eq!(wanted.page(vec![3, 4], position).next_cursor, None);
    }
}
