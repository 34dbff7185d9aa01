//! The parts that stock is split into, and what their databases say of themselves: `stock_part` names
//! the part, so that nobody looks for stock where it is not.

use std::{fmt, str::FromStr};

use sqlx::{PgConnection, postgres::PgConnectOptions};

use crate::Error;

/// The most databases that stock is split over.
const PARTS_MAX: usize = 64;

/// The addresses of the databases that stock is split over, in order; none if it is kept in the shop's
/// own. Written as one line, separated by commas. They are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StockUrls(Vec<String>);

impl StockUrls {
    /// Each address.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Debug for StockUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StockUrls({})", self.0.len())
    }
}

impl FromStr for StockUrls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let urls: Vec<String> =
            text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(Into::into).collect();
        if urls.len() > PARTS_MAX {
            return Err(format!("stock is split over at most {PARTS_MAX} databases"));
        }
        for (number, url) in urls.iter().enumerate() {
            if urls[..number].contains(url) {
                return Err(format!("address {} stands there twice", number + 1));
            }
            url.parse::<PgConnectOptions>()
                .map_err(|error| format!("address {} is none: {error}", number + 1))?;
        }
        Ok(Self(urls))
    }
}

/// Which of how many parts of the stock a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    number: usize,
    parts: usize,
}

impl Part {
    pub(super) const fn new(number: usize, parts: usize) -> Self {
        Self { number, parts }
    }

    /// What people call it.
    pub fn name(self) -> String {
        match self.parts {
            1 => "the stock".to_owned(),
            parts => format!("part {} of {parts} of the stock", self.number + 1),
        }
    }

    /// Its number, from 0.
    pub(super) fn number(self) -> usize {
        self.number
    }

    /// Whether there are others.
    pub fn of_several(self) -> bool {
        self.parts > 1
    }

    /// Says in its database which part it holds, unless that says something already.
    pub(super) async fn claim(self, conn: &mut PgConnection) -> Result<(), Error> {
        claim(conn, Some(index(self.number)), index(self.parts)).await.map(drop)
    }

    /// Compares with what the database says of itself, if it says anything. That it says otherwise is
    /// trouble of this process, which another may not have.
    pub(super) async fn verify(self, conn: &mut PgConnection) -> Result<(), Error> {
        let said =
            sqlx::query!("SELECT number, parts FROM stock_part").fetch_optional(conn).await?;
        let Some(said) = said else { return Ok(()) };
        if said.number == Some(index(self.number)) && said.parts == index(self.parts) {
            return Ok(());
        }
        let holds = said.number.map_or_else(
            || format!("none of {} parts of the stock", said.parts),
            |number| format!("part {} of {} of the stock", number + 1, said.parts),
        );
        Err(Error::Unavailable(format!(
            "a database holds {holds}, and is given as {}: INVENTORY_DATABASE_URLS must name the same \
             databases in the same order for every process",
            self.name(),
        )))
    }
}

/// Says that a database holds none of so many parts, unless it says something already; how many it says
/// there are.
pub(super) async fn claim_none(conn: &mut PgConnection, parts: usize) -> Result<i32, Error> {
    claim(conn, None, index(parts)).await
}

async fn claim(conn: &mut PgConnection, number: Option<i32>, parts: i32) -> Result<i32, Error> {
    sqlx::query!(
        "INSERT INTO stock_part (number, parts) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        number,
        parts
    )
    .execute(&mut *conn)
    .await?;
    Ok(sqlx::query_scalar!("SELECT parts FROM stock_part").fetch_one(conn).await?)
}

fn index(number: usize) -> i32 {
    i32::try_from(number).expect("stock has few parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_none_or_there_twice_are_refused_and_never_printed() {
        let parse = |text: &str| text.parse::<StockUrls>();
        assert_eq!(parse(" ,").expect("none"), StockUrls::default());
        let two = parse("postgres://a:secret@b/c,postgres://a:secret@b/d").expect("two");
        assert_eq!(two.iter().count(), 2);
        assert!(!format!("{two:?}").contains("secret"));
        assert!(parse("postgres://b/c,postgres://b/c").is_err());
        assert!(parse("somewhere else").is_err());
        let many: Vec<_> = (0..=PARTS_MAX).map(|part| format!("postgres://b/{part}")).collect();
        assert!(parse(&many.join(",")).is_err());
    }
}
