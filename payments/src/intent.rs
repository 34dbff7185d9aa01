//! The provider's payments as this shop sees them, already validated. How they are read from JSON
//! stands in `wire`.

use domain::{Attempt, Money, PaymentId};

use crate::IntentId;

/// What an intent is for. Each attempt at a payment has its own intent, and every answer about that
/// intent is held against these three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Our payment.
    pub payment: PaymentId,
    /// Which try at paying it.
    pub attempt: Attempt,
    /// All the money asked for; it is captured whole or not at all.
    pub amount: Money,
}

/// A payment at the provider, as of its last answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The provider's id.
    pub id: IntentId,
    /// What it is for.
    pub charge: Charge,
    /// How far it is.
    pub status: IntentStatus,
    /// Whether its issuer has approved it: money was set aside, whatever became of that. A cancelled intent
    /// shows nothing else of it.
    pub approved: bool,
    /// How much of it has been captured, in minor units. A refund does not lower it.
    pub captured_minor: i64,
}

/// How far an intent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentStatus {
    /// No method, or none that worked.
    RequiresPaymentMethod {
        /// Why the last method did not work; `None` when none was tried.
        decline_code: Option<String>,
    },
    /// Created, with nothing asked of the issuer yet.
    RequiresConfirmation,
    /// The customer must act first.
    RequiresAction {
        /// Where to send the customer; `None` when the provider wants its own script to do it.
        url: Option<String>,
    },
    /// The provider is at it.
    Processing,
    /// Authorized: the money is set aside.
    RequiresCapture,
    /// Over. It can never take money now.
    Canceled,
    /// Captured.
    Succeeded,
}

impl IntentStatus {
    /// The provider's word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod { .. } => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresAction { .. } => "requires_action",
            Self::Processing => "processing",
            Self::RequiresCapture => "requires_capture",
            Self::Canceled => "canceled",
            Self::Succeeded => "succeeded",
        }
    }
}
