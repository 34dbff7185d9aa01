//! What the customer is written: plain text, short, and only of what has happened.

use std::fmt::Write as _;

use chrono::SecondsFormat;
use domain::{Money, OrderId};
use serde_json::Value;
use store::{order::letter::Letter, outbox};

/// Sent when the order is paid.
const PAID: &str = outbox::ORDER_PAID;
/// Sent when money went back.
const REFUNDED: &str = outbox::REFUND_SUCCEEDED;
/// Sent when something is on its way.
const DISPATCHED: &str = outbox::SHIPMENT_DISPATCHED;

/// The events that the customer is written about.
pub(super) const TOPICS: [&str; 3] = [PAID, REFUNDED, DISPATCHED];

/// A mail's subject and text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) subject: String,
    pub(super) body: String,
}

/// What to write about an event; `None` if it is none to write about.
pub(super) fn write(topic: &str, data: &Value, order_id: OrderId, letter: &Letter) -> Option<Text> {
    let (subject, news) = match topic {
        PAID => (
            format!("Your order {order_id} is confirmed"),
            "Thank you. Your order is paid, and we are getting it ready.".to_owned(),
        ),
        REFUNDED => {
            let amount = serde_json::from_value::<Money>(data["amount"].clone());
            let news = amount.map_or_else(
                |_| "We have paid money back for your order.".to_owned(),
                |amount| format!("We have paid {amount} back for your order."),
            );
            (format!("A refund for your order {order_id}"), news)
        }
        DISPATCHED => (
            format!("Your order {order_id} is on its way"),
            data["shipment_id"].as_str().map_or_else(
                || "A shipment of your order has left our house.".to_owned(),
                |id| format!("Shipment {id} of your order has left our house."),
            ),
        ),
        _ => return None,
    };
    Some(Text { subject, body: format!("{news}\n\n{}", order(order_id, letter)) })
}

fn order(order_id: OrderId, letter: &Letter) -> String {
    let ordered_at = letter.ordered_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut text = format!("Order {order_id} of {ordered_at}\n\n");
    for line in &letter.lines {
        let quantity = i64::from(line.quantity);
        writeln!(text, "{quantity} x {} ({}), {} each", line.title, line.sku, line.unit_price)
            .expect("writing to a String cannot fail");
    }
    write!(text, "\nTotal: {}\n", letter.total).expect("writing to a String cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::order::read::OrderLine;
    use uuid::Uuid;

    use super::*;

    fn eur(minor: i64) -> Money {
        Money::new(minor, "EUR".parse().expect("a currency")).expect("an amount")
    }

    fn letter() -> Letter {
        let line = OrderLine {
            sku: "MUG-1".parse().expect("a SKU"),
            title: "Harbour Mug".to_owned(),
            quantity: 2.try_into().expect("a quantity"),
            unit_price: eur(1299),
        };
        let ordered_at = "2026-11-25T21:00:45.123456Z".parse().expect("a time");
        Letter { email: "ada@example.com".into(), ordered_at, total: eur(2598), lines: vec![line] }
    }

    fn written(topic: &str, data: &Value) -> Option<Text> {
        write(topic, data, OrderId::from(Uuid::nil()), &letter())
    }

    #[test]
    fn a_confirmation_names_the_order_its_lines_and_its_total() {
        let text = written(PAID, &json!({})).expect("a mail");
        let id = OrderId::from(Uuid::nil());
        assert_eq!(text.subject, format!("Your order {id} is confirmed"));
        let expected = format!(
            "Thank you. Your order is paid, and we are getting it ready.\n\n\
             Order {id} of 2026-11-25T21:00:45Z\n\n\
             2 x Harbour Mug (MUG-1), 12.99 EUR each\n\n\
             Total: 25.98 EUR\n"
        );
        assert_eq!(text.body, expected);
    }

    #[test]
    fn a_refund_names_its_amount_and_what_is_no_news_is_not_written() {
        let amount = json!({ "amount": { "minor": 500, "currency": "EUR" } });
        let text = written(REFUNDED, &amount).expect("a mail");
        assert!(text.body.starts_with("We have paid 5.00 EUR back"), "{}", text.body);
        assert!(written(DISPATCHED, &json!({})).is_some());
        assert_eq!(written("order.placed", &json!({})), None);
    }
}
