//! The provider's objects as this shop sees them: intents and refunds, already validated. How they
//! are read from JSON stands in `wire`.

use std::fmt;

use domain::{Attempt, Money, PaymentId};

/// The longest id of an intent, in characters.
const INTENT_ID_CHARS_MAX: usize = 255;

/// Why a text is no id of an intent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a PaymentIntent's id is `pi_` and up to {INTENT_ID_CHARS_MAX} letters, digits and underscores"
)]
pub struct InvalidIntentId;

/// The provider's id of a `PaymentIntent`. It becomes part of URLs, so only plain characters pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IntentId(String);

impl IntentId {
    /// The id as the provider writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IntentId {
    type Error = InvalidIntentId;

    fn try_from(text: String) -> Result<Self, InvalidIntentId> {
        let rest = text.strip_prefix("pi_").ok_or(InvalidIntentId)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if rest.is_empty() || text.len() > INTENT_ID_CHARS_MAX || !rest.bytes().all(plain) {
            return Err(InvalidIntentId);
        }
        Ok(Self(text))
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// Money on its way back to the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The provider's id.
    pub id: String,
    /// How much goes back.
    pub amount: Money,
    /// How far it is.
    pub status: RefundStatus,
}

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStatus {
    /// Accepted; the provider carries it out.
    Pending,
    /// The customer must act before the money can arrive.
    RequiresAction,
    /// Handed to the card network.
    Succeeded,
    /// It did not work; the money is ours again.
    Failed,
    /// Called off; the money is ours again.
    Canceled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_bend_a_url_is_refused() {
        for bad in ["", "pi_", "ch_1", "pi_1/capture", "pi_1?x", "pi_..", "pi_é", "pi_1\r\n"] {
            assert_eq!(IntentId::try_from(bad.to_owned()), Err(InvalidIntentId), "{bad:?}");
        }
        assert!(IntentId::try_from(format!("pi_{}", "1".repeat(300))).is_err());
        let good = IntentId::try_from("pi_3Mtw_abc".to_owned()).expect("a plain id");
        assert_eq!(good.to_string(), "pi_3Mtw_abc");
    }
}
