//! What happens in which order: the deterministic half of the store.
//!
//! Workflows here decide; activities elsewhere do. Nothing in this crate reads a clock, rolls a
//! dice, opens a socket or awaits anything but the engine, and its manifest offers nothing to do so
//! with. A change to the order, name or input of a step must still replay the committed histories.

pub mod checkout;
pub mod contract;
pub mod fulfilment;
pub mod reconciliation;
pub mod refund;
pub mod reservation_expiry;
mod saga;
mod step;

pub use self::{
    checkout::{
        ChangedAttempt, CheckoutInput, CheckoutStatus, CheckoutWorkflow, NextAction, Resolution,
        Timing,
    },
    fulfilment::{FulfilmentInput, FulfilmentStatus, FulfilmentTiming, FulfilmentWorkflow},
    reconciliation::{ReconciliationInput, ReconciliationWorkflow},
    refund::{Looking, RefundInput, RefundStatus, RefundTiming, RefundWorkflow},
    reservation_expiry::{ReservationExpiryInput, ReservationExpiryWorkflow},
};

/// The one task queue: every worker can do every task, so scaling out is starting another.
pub const TASK_QUEUE: &str = "holdfast";

/// The search attributes that the workflows set, with their types, as an operator registers them.
pub const SEARCH_ATTRIBUTES: [(&str, &str); 8] = [
    ("CheckoutState", "Keyword"),
    ("OrderId", "Keyword"),
    ("CustomerId", "Keyword"),
    ("FailureReason", "Keyword"),
    ("AmountMinor", "Int"),
    ("HoldExpiresAt", "Datetime"),
    ("FulfilmentState", "Keyword"),
    ("RefundState", "Keyword"),
];
