//! The words of paying: a method, a numbered attempt, and the outcomes a step may answer with.
//!
//! "Unknown" is not among the outcomes on purpose. A call whose result is unknown is an error of the
//! caller's, retried or looked up until one of these is true.

use serde::{Deserialize, Serialize};

/// The most attempts to pay that one checkout allows.
pub const ATTEMPTS_MAX: u32 = 3;
/// The longest payment-method reference, in characters.
pub const METHOD_CHARS_MAX: usize = 255;

/// Why a text is no payment method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a payment method is the provider's reference, `pm_` and up to {METHOD_CHARS_MAX} letters, digits and underscores"
)]
pub struct InvalidPaymentMethod;

/// The provider's reference to a card or wallet, such as `pm_card_visa`. It is a name, not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PaymentMethod(String);

impl PaymentMethod {
    /// The reference as the provider knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PaymentMethod {
    type Error = InvalidPaymentMethod;

    fn try_from(text: String) -> Result<Self, InvalidPaymentMethod> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.starts_with("pm_") && text.len() <= METHOD_CHARS_MAX && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err(InvalidPaymentMethod)
        }
    }
}

impl From<PaymentMethod> for String {
    fn from(method: PaymentMethod) -> String {
        method.0
    }
}

/// Which try at paying this is, counted from 1. Each has its own provider-side payment, so a later
/// one can never repeat or disturb an earlier one.
pub type Attempt = u32;

/// Money set aside for us by the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// The attempt that got it.
    pub attempt: Attempt,
    /// The provider's own id of the payment.
    pub provider_ref: String,
}

/// How an attempt to authorize ended, for certain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum AuthorizeOutcome {
    /// The money is set aside.
    Approved(Authorization),
    /// The issuer said no.
    Declined {
        /// The provider's reason, such as `insufficient_funds`.
        decline_code: String,
    },
    /// The customer must act first (3-D Secure).
    ActionRequired {
        /// Where to send the customer.
        url: String,
    },
    /// The attempt was closed before it could be approved; it can never take money now.
    Closed,
    /// The stock hold had ended before the attempt began, so nothing was asked of the provider.
    HoldEnded,
}

/// How a capture ended, for certain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CaptureOutcome {
    /// The money is ours.
    Captured,
    /// The provider will not give it, and never will for this authorization.
    Refused {
        /// The provider's reason.
        code: String,
    },
}

/// How an undo of the payment ended, for certain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum VoidOutcome {
    /// Nothing of this payment is, or can become, authorized.
    Voided,
    /// An attempt was found captured, and was paid back in full.
    Refunded,
}
