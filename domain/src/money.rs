//! Money: an integer number of minor units of one currency, with checked arithmetic only.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Quantity;

/// The largest amount, in minor units, that any one payment, price or total may have: a tenth of
/// what a 64-bit float holds exactly, so that no JSON reader on the way can bend it.
pub const AMOUNT_MINOR_MAX: i64 = 900_000_000_000_000;

/// Why an amount of money is impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is no ISO 4217 code.
    #[error("not an ISO 4217 currency code")]
    UnknownCurrency,
    /// The amount is negative or above [`AMOUNT_MINOR_MAX`].
    #[error("amount is outside 0..={AMOUNT_MINOR_MAX} minor units")]
    OutOfRange,
    /// Two currencies met in one sum.
    #[error("amounts of {0} and {1} cannot be added")]
    MixedCurrencies(Currency, Currency),
}

/// An ISO 4217 currency, such as `EUR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// The three capital letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(code).map(Self).ok_or(MoneyError::UnknownCurrency)
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, MoneyError> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().to_owned()
    }
}

/// An amount of money, never negative. There is no `Add`: sums can overflow and currencies can
/// differ, and both must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawMoney", into = "RawMoney")]
pub struct Money {
    minor: i64,
    currency: Currency,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMoney {
    minor: i64,
    currency: Currency,
}

impl TryFrom<RawMoney> for Money {
    type Error = MoneyError;

    fn try_from(raw: RawMoney) -> Result<Self, MoneyError> {
        Self::new(raw.minor, raw.currency)
    }
}

impl From<Money> for RawMoney {
    fn from(money: Money) -> Self {
        Self { minor: money.minor, currency: money.currency }
    }
}

impl Money {
    /// An amount in minor units (cents, for euros).
    pub const fn new(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if minor < 0 || minor > AMOUNT_MINOR_MAX {
            return Err(MoneyError::OutOfRange);
        }
        Ok(Self { minor, currency })
    }

    /// No money, of some currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum, unless the currencies differ or it grows past [`AMOUNT_MINOR_MAX`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies(self.currency, other.currency));
        }
        Self::new(self.minor + other.minor, self.currency)
    }

    /// This price for so many units.
    pub fn checked_mul(self, quantity: Quantity) -> Result<Self, MoneyError> {
        let minor =
            self.minor.checked_mul(i64::from(quantity.get())).ok_or(MoneyError::OutOfRange)?;
        Self::new(minor, self.currency)
    }
}

impl fmt::Display for Money {
    /// Written the way people read it: `19.99 EUR`, `500 JPY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.currency.0.exponent() {
            None | Some(0) => write!(f, "{} {}", self.minor, self.currency),
            Some(digits) => {
                let unit = 10_i64.pow(u32::from(digits));
                let (whole, rest) = (self.minor / unit, self.minor % unit);
                write!(f, "{whole}.{rest:0width$} {}", self.currency, width = usize::from(digits))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eur(minor: i64) -> Money {
        Money::new(minor, "EUR".parse().expect("a currency")).expect("an amount")
    }

    proptest! {
        #[test]
        fn a_line_total_is_the_sum_of_its_units(price in 0_i64..1_000_000_000, quantity in 1_u16..=999) {
            let quantity = Quantity::try_from(i64::from(quantity)).expect("in range");
            let added = (0..quantity.get())
                .try_fold(eur(0), |sum, _| sum.checked_add(eur(price)))
                .expect("in range");
            prop_assert_eq!(eur(price).checked_mul(quantity), Ok(added));
        }

        #[test]
        fn arithmetic_never_leaves_the_range(a in 0..=AMOUNT_MINOR_MAX, b in 0..=AMOUNT_MINOR_MAX) {
            match eur(a).checked_add(eur(b)) {
                Ok(sum) => prop_assert_eq!(sum.minor(), a + b),
                Err(error) => {
                    prop_assert_eq!(error, MoneyError::OutOfRange);
                    prop_assert!(a + b > AMOUNT_MINOR_MAX);
                }
            }
        }
    }

    #[test]
    fn different_currencies_do_not_add() {
        let usd = Money::new(1, "USD".parse().expect("a currency")).expect("an amount");
        assert!(matches!(eur(1).checked_add(usd), Err(MoneyError::MixedCurrencies(..))));
    }

    #[test]
    fn json_is_minor_units_and_a_code_and_refuses_the_rest() {
        assert_eq!(
            serde_json::to_string(&eur(1999)).expect("serializes"),
            r#"{"minor":1999,"currency":"EUR"}"#
        );
        for bad in [
            r#"{"minor":-1,"currency":"EUR"}"#,
            r#"{"minor":1,"currency":"eur"}"#,
            r#"{"minor":1,"currency":"ZZZ"}"#,
            r#"{"minor":1.5,"currency":"EUR"}"#,
            r#"{"minor":1,"currency":"EUR","cents":1}"#,
        ] {
            assert!(serde_json::from_str::<Money>(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn people_read_the_decimal_point_where_the_currency_has_one() {
        assert_eq!(eur(1999).to_string(), "19.99 EUR");
        assert_eq!(eur(5).to_string(), "0.05 EUR");
        let yen = Money::new(500, "JPY".parse().expect("a currency")).expect("an amount");
        assert_eq!(yen.to_string(), "500 JPY");
    }
}
