//! Orders, for those who placed them.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::DateTime;
use domain::{CustomerId, OrderId};
use store::{
    order::read::{OrderDetail, OrderSummary, Position},
    shipment::Shipment,
};

use super::Service;
use crate::error::{Error, FieldError};

/// How many orders a page has at most, and if nothing is said.
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 20;

/// One page of orders, and how to ask for the next, if there is one.
pub(crate) struct Page {
    pub(crate) orders: Vec<OrderSummary>,
    pub(crate) next_cursor: Option<String>,
}

impl Service {
    pub(crate) async fn orders(
        &self,
        caller: CustomerId,
        cursor: Option<&str>,
        limit: Option<&str>,
    ) -> Result<Page, Error> {
        let after = cursor.map(read_cursor).transpose()?;
        let limit = limit.map_or(Ok(PAGE_DEFAULT), read_limit)?;
        let mut conn = self.connection().await?;
        // One more than is shown tells whether there is another page.
        let mut orders = store::order::read::list(&mut conn, caller, after, limit + 1).await?;
        let more = orders.len() > limit as usize;
        orders.truncate(limit as usize);
        let next_cursor = orders.last().filter(|_| more).map(write_cursor);
        Ok(Page { orders, next_cursor })
    }

    pub(crate) async fn order(
        &self,
        caller: CustomerId,
        order_id: OrderId,
    ) -> Result<(OrderDetail, Vec<Shipment>), Error> {
        let mut conn = self.connection().await?;
        let order = store::order::read::find(&mut conn, caller, order_id).await?;
        let order = order.ok_or(Error::NotFound)?;
        Ok((order, store::shipment::of_order(&mut conn, order_id).await?))
    }
}

fn read_limit(text: &str) -> Result<u32, Error> {
    text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)).ok_or_else(|| {
        let detail = format!("a page has 1 to {PAGE_MAX} orders");
        Error::Invalid(vec![FieldError::parameter("limit", "out_of_range", detail)])
    })
}

/// A cursor is opaque to clients: the microsecond and id of the last order they saw.
fn write_cursor(last: &OrderSummary) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{}", last.created_at.timestamp_micros(), last.id))
}

fn read_cursor(cursor: &str) -> Result<Position, Error> {
    let position = || {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (micros, id) = text.split_once('.')?;
        let created_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        // Outside of these the database could not read the time; we never wrote such a cursor.
        (0..=253_402_300_799).contains(&created_at.timestamp()).then_some(())?;
        Some(Position { created_at, id: id.parse().ok()? })
    };
    position().ok_or_else(|| {
        let detail = "not a `next_cursor` of an earlier page";
        Error::Invalid(vec![FieldError::parameter("cursor", "not_a_cursor", detail)])
    })
}

#[cfg(test)]
mod tests {
    use domain::OrderState;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_cursor_reads_back_to_the_microsecond_and_nothing_else_is_one() {
        let created_at = DateTime::from_timestamp_micros(1_795_000_000_123_456).expect("a time");
        let total = domain::Money::zero("EUR".parse().expect("a currency"));
        let id = OrderId::from(Uuid::from_u128(7));
        let last =
            OrderSummary { id, state: OrderState::Paid, total, created_at, updated_at: created_at };
        assert_eq!(read_cursor(&write_cursor(&last)).ok(), Some(Position { created_at, id }));
        let ancient = BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{id}", i64::MIN));
        for bad in ["", "x", "§", "MTIz", "AAAA", ancient.as_str()] {
            assert!(read_cursor(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_page_has_between_one_and_a_hundred_orders() {
        assert!(matches!(read_limit("100"), Ok(100)));
        for bad in ["0", "101", "-1", "1e2", "", "ten"] {
            assert!(read_limit(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
