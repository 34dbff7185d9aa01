//! The checkout: the quote it sells at, the states a client sees, and the ways it can fail.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{CheckoutId, Money, Quantity, Sku, money::MoneyError};

/// One line of a quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The catalog's price for one, read when the checkout began.
    pub unit_price: Money,
}

/// The lines and prices that a checkout sells at, frozen when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// One line per SKU, in SKU order.
    pub lines: Vec<QuoteLine>,
    /// What the customer is charged: the sum of the lines.
    pub total: Money,
}

/// Why lines do not make a quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Nothing to sell.
    #[error("a quote needs at least one line")]
    Empty,
    /// The lines do not add up to one amount.
    #[error("the lines do not add up")]
    Total(#[source] MoneyError),
    /// One SKU's summed quantity passes the limit.
    #[error("the quantity of {0} is above the limit")]
    Quantity(Sku),
}

impl Quote {
    /// Sums repeated SKUs, orders the lines by SKU and adds up the total.
    pub fn new(lines: impl IntoIterator<Item = QuoteLine>) -> Result<Self, QuoteError> {
        let mut by_sku = BTreeMap::<Sku, QuoteLine>::new();
        for line in lines {
            match by_sku.get_mut(&line.sku) {
                None => drop(by_sku.insert(line.sku.clone(), line)),
                Some(known) => {
                    let units = i64::from(known.quantity) + i64::from(line.quantity);
                    known.quantity =
                        units.try_into().map_err(|_| QuoteError::Quantity(line.sku))?;
                }
            }
        }
        let lines: Vec<QuoteLine> = by_sku.into_values().collect();
        let zero = Money::zero(lines.first().ok_or(QuoteError::Empty)?.unit_price.currency());
        let total = lines
            .iter()
            .try_fold(zero, |sum, line| {
                sum.checked_add(line.unit_price.checked_mul(line.quantity)?)
            })
            .map_err(QuoteError::Total)?;
        Ok(Self { lines, total })
    }
}

/// Where a checkout stands, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutState {
    /// The cart is being read and priced.
    Validating,
    /// Stock is being taken.
    Reserving,
    /// Stock is held; waiting for a payment method.
    AwaitingPayment,
    /// The provider is being asked for the money.
    Authorizing,
    /// The customer must confirm with their bank.
    ActionRequired,
    /// The order is being placed.
    Placing,
    /// The money is being taken, and the sale made final.
    Capturing,
    /// Sold and paid.
    Completed,
    /// Being undone.
    Compensating,
    /// Ended without a sale, for a reason in the problem.
    Failed,
    /// Ended without a sale, at the customer's wish.
    Cancelled,
    /// Ended without a sale, because the hold ran out.
    Expired,
    /// A step cannot finish by itself; people can see it and nothing is lost.
    NeedsAttention,
}

impl CheckoutState {
    /// Every state, in the order a checkout may meet them.
    pub const ALL: [Self; 13] = [
        Self::Validating,
        Self::Reserving,
        Self::AwaitingPayment,
        Self::Authorizing,
        Self::ActionRequired,
        Self::Placing,
        Self::Capturing,
        Self::Completed,
        Self::Compensating,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::NeedsAttention,
    ];

    /// The state's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Reserving => "reserving",
            Self::AwaitingPayment => "awaiting_payment",
            Self::Authorizing => "authorizing",
            Self::ActionRequired => "action_required",
            Self::Placing => "placing",
            Self::Capturing => "capturing",
            Self::Completed => "completed",
            Self::Compensating => "compensating",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::NeedsAttention => "needs_attention",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the checkout is over.
    pub const fn finished(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled | Self::Expired => true,
            Self::Validating
            | Self::Reserving
            | Self::AwaitingPayment
            | Self::Authorizing
            | Self::ActionRequired
            | Self::Placing
            | Self::Capturing
            | Self::Compensating
            | Self::NeedsAttention => false,
        }
    }
}

/// A line that stock could not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortLine {
    /// What.
    pub sku: Sku,
    /// How many were asked for.
    pub wanted: i64,
    /// How many there were.
    pub available: i64,
}

/// Why a checkout did not sell. The tag is the stable problem code that clients see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Problem {
    /// There was nothing in the cart.
    CartEmpty,
    /// The cart is being bought by another checkout.
    CartLocked {
        /// That other checkout.
        checkout_id: CheckoutId,
    },
    /// The catalog's prices no longer give the total that the customer agreed to.
    QuoteChanged {
        /// What the customer expected to pay.
        expected_total: Money,
        /// What it costs now.
        total: Money,
        /// The lines that cost it.
        lines: Vec<QuoteLine>,
    },
    /// Some SKUs in the cart are no longer sold, or their prices do not add up to one amount.
    CartInvalid {
        /// The SKUs that cannot be sold.
        skus: Vec<Sku>,
    },
    /// Stock does not suffice. Nothing was taken.
    OutOfStock {
        /// Every line that is short.
        lines: Vec<ShortLine>,
    },
    /// The issuer refused the money.
    PaymentDeclined {
        /// The provider's reason.
        decline_code: String,
    },
    /// The hold on the stock ran out before the payment came.
    HoldExpired,
    /// The customer called it off.
    Cancelled,
    /// Something of ours broke. Nothing was sold or charged.
    Internal {
        /// What, in words that carry no personal data.
        detail: String,
    },
}

impl Problem {
    /// The stable code, as it stands in the JSON tag.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CartEmpty => "cart_empty",
            Self::CartLocked { .. } => "cart_locked",
            Self::QuoteChanged { .. } => "quote_changed",
            Self::CartInvalid { .. } => "cart_invalid",
            Self::OutOfStock { .. } => "out_of_stock",
            Self::PaymentDeclined { .. } => "payment_declined",
            Self::HoldExpired => "hold_expired",
            Self::Cancelled => "cancelled",
            Self::Internal { .. } => "internal",
        }
    }

    /// The state that a checkout with this problem ends in.
    pub const fn final_state(&self) -> CheckoutState {
        match self {
            Self::Cancelled => CheckoutState::Cancelled,
            Self::HoldExpired => CheckoutState::Expired,
            Self::CartEmpty
            | Self::CartLocked { .. }
            | Self::QuoteChanged { .. }
            | Self::CartInvalid { .. }
            | Self::OutOfStock { .. }
            | Self::PaymentDeclined { .. }
            | Self::Internal { .. } => CheckoutState::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(sku: &str, quantity: i64, minor: i64) -> QuoteLine {
        QuoteLine {
            sku: sku.parse().expect("a SKU"),
            quantity: quantity.try_into().expect("a quantity"),
            unit_price: Money::new(minor, "EUR".parse().expect("a currency")).expect("an amount"),
        }
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_lines(lines in prop::collection::vec((0_u8..5, 1_i64..50, 0_i64..100_000), 1..20)) {
            let expected: i64 = lines.iter().map(|(sku, quantity, _)| quantity * i64::from(*sku) * 7).sum();
            // Lines of one SKU carry one price, as the catalog has one price per SKU.
            let quote = Quote::new(lines.iter().map(|(sku, quantity, _)| line(&format!("S{sku}"), *quantity, i64::from(*sku) * 7)));
            prop_assert_eq!(quote.expect("small enough").total.minor(), expected);
        }
    }

    #[test]
    fn repeated_skus_are_summed_before_anything_looks_at_them() {
        let quote =
            Quote::new([line("B", 1, 10), line("A", 1, 5), line("B", 2, 10)]).expect("a quote");
        let seen: Vec<_> = quote.lines.iter().map(|l| (l.sku.as_str(), l.quantity.get())).collect();
        assert_eq!(seen, [("A", 1), ("B", 3)]);
        assert_eq!(quote.total.minor(), 35);
    }

    #[test]
    fn no_lines_and_too_many_units_are_refused() {
        assert_eq!(Quote::new([]), Err(QuoteError::Empty));
        assert!(matches!(
            Quote::new([line("A", 999, 1), line("A", 1, 1)]),
            Err(QuoteError::Quantity(_))
        ));
    }

    #[test]
    fn a_problem_is_tagged_with_its_code() {
        let problem = Problem::PaymentDeclined { decline_code: "generic_decline".into() };
        let json = serde_json::to_value(&problem).expect("serializes");
        assert_eq!(json["code"], problem.code());
    }
}
