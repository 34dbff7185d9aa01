//! What is sold and how many: the SKU, and a quantity of it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest SKU, in characters.
pub const SKU_CHARS_MAX: usize = 32;
/// The most units of one SKU that one cart or order may hold.
pub const QUANTITY_MAX: u16 = 999;

/// Why a text is no SKU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SKU is 1 to {SKU_CHARS_MAX} capital letters, digits, dots and dashes")]
pub struct InvalidSku;

/// The sellable unit. Stock is counted per SKU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

impl Sku {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sku {
    type Error = InvalidSku;

    fn try_from(text: String) -> Result<Self, InvalidSku> {
        let allowed = |byte: u8| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        };
        if (1..=SKU_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidSku)
        }
    }
}

impl FromStr for Sku {
    type Err = InvalidSku;

    fn from_str(text: &str) -> Result<Self, InvalidSku> {
        text.to_owned().try_into()
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> String {
        sku.0
    }
}

/// Why a number is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is a whole number from 1 to {QUANTITY_MAX}")]
pub struct InvalidQuantity;

/// How many units: 1 to [`QUANTITY_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Quantity(u16);

impl Quantity {
    /// The number of units.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<i64> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(units: i64) -> Result<Self, InvalidQuantity> {
        match u16::try_from(units) {
            Ok(units @ 1..=QUANTITY_MAX) => Ok(Self(units)),
            _ => Err(InvalidQuantity),
        }
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> i64 {
        i64::from(quantity.0)
    }
}

impl From<Quantity> for i32 {
    fn from(quantity: Quantity) -> i32 {
        i32::from(quantity.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_short_and_plain() {
        assert!("MUG-BLUE-350".parse::<Sku>().is_ok());
        let long = "X".repeat(SKU_CHARS_MAX + 1);
        for bad in ["", "mug", "MUG BLUE", "MUG/1", "ÄÖ", long.as_str()] {
            assert_eq!(bad.parse::<Sku>(), Err(InvalidSku), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_quantity_is_between_one_and_the_maximum() {
        for bad in [0, -1, 1000, 1_000_000_000, i64::MIN] {
            assert_eq!(Quantity::try_from(bad), Err(InvalidQuantity));
        }
        assert_eq!(Quantity::try_from(999).map(Quantity::get), Ok(999));
    }
}
