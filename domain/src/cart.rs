//! The cart: what a customer means to buy, with the prices they saw.

use serde::{Deserialize, Serialize};

use crate::{Money, Quantity, Sku};

/// The most lines that a cart may hold.
pub const LINES_MAX: usize = 100;

/// One SKU in a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// The unit price when the customer last touched the line. Never what they are charged.
    pub seen_price: Money,
}

/// A customer's cart at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// Grows by one with every change; the HTTP `ETag`.
    pub version: i64,
    /// One line per SKU, in SKU order.
    pub lines: Vec<CartLine>,
}
