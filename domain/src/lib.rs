//! The store's vocabulary: identifiers, money, SKUs, carts, quotes, checkouts, orders and payments.
//!
//! Everything here is a value. There is no IO, no clock, no randomness and no async, so every crate
//! may depend on this one and this one depends on none of ours. A value that exists is valid: the
//! constructors parse, and the fields they guard are private.
#![warn(missing_docs)]

pub mod cart;
pub mod checkout;
pub mod delivery;
pub mod id;
pub mod money;
pub mod order;
pub mod payment;
pub mod reconciliation;
pub mod refund;
pub mod shipment;
pub mod sku;
pub mod stock;

pub use self::{
    cart::{Cart, CartLine, LINES_MAX},
    checkout::{CheckoutState, Problem, Quote, QuoteLine, ShortLine},
    id::{
        CaseId, CheckoutId, CustomerId, DeliveryId, EventId, OrderId, PaymentId, RefundId,
        ShipmentId, WebhookEndpointId,
    },
    money::{Currency, Money},
    order::{Order, OrderEvent, OrderState},
    payment::{
        Attempt, Authorization, AuthorizeOutcome, CaptureOutcome, PaymentMethod, VoidOutcome,
    },
    reconciliation::{CaseState, Difference},
    refund::{RefundProblem, RefundPurpose, RefundState},
    shipment::{Carrier, CarrierEventId, ParcelEvent, Progress, ShipmentState, TrackingNumber},
    sku::{Quantity, Sku},
    stock::{Stock, StockLine},
};
