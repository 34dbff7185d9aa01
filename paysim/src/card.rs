//! The test payment methods: which of Stripe's names this network knows and how the card behind each
//! behaves. No state; what an approval or a decline does to an intent is in `intent`.

use crate::error::ApiError;

/// A test payment method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) name: &'static str,
    pub(crate) behaviour: Behaviour,
}

/// What happens when the card is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Approve,
    Decline(Decline),
    /// The buyer has to pass 3-D Secure first.
    Authenticate,
}

/// Why an issuer declines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decline {
    code: &'static str,
    issuer_code: &'static str,
    message: &'static str,
}

impl Decline {
    /// A refusal by the issuer that no card asked for, used when a fault orders one.
    pub(crate) const DO_NOT_HONOR: Self =
        Self::new("card_declined", "do_not_honor", "Your card was declined.");

    const GENERIC: Self = Self::new("card_declined", "generic_decline", "Your card was declined.");
    const INSUFFICIENT_FUNDS: Self =
        Self::new("card_declined", "insufficient_funds", "Your card has insufficient funds.");
    const LOST: Self = Self::new("card_declined", "lost_card", "Your card was declined.");
    const STOLEN: Self = Self::new("card_declined", "stolen_card", "Your card was declined.");
    const EXPIRED: Self = Self::new("expired_card", "expired_card", "Your card has expired.");
    const INCORRECT_CVC: Self =
        Self::new("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.");
    const PROCESSING_ERROR: Self = Self::new(
        "processing_error",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
    );

    const fn new(code: &'static str, issuer_code: &'static str, message: &'static str) -> Self {
        Self { code, issuer_code, message }
    }

    pub(crate) fn error(self) -> ApiError {
        ApiError::card_declined(self.code, self.issuer_code, self.message)
    }
}

/// How money is given back to a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refunding {
    AtOnce,
    /// Pending at first.
    SucceedsLater,
    /// Done at first.
    FailsLater,
}

const PENDING_REFUND: &str = "pm_card_pendingRefund";
const REFUND_FAIL: &str = "pm_card_refundFail";
const CARDS: &[(&str, Behaviour)] = &[
    ("pm_card_visa", Behaviour::Approve),
    ("pm_card_mastercard", Behaviour::Approve),
    ("pm_card_amex", Behaviour::Approve),
    (PENDING_REFUND, Behaviour::Approve),
    (REFUND_FAIL, Behaviour::Approve),
    ("pm_card_authenticationRequired", Behaviour::Authenticate),
    ("pm_card_threeDSecure2Required", Behaviour::Authenticate),
    ("pm_card_threeDSecureRequired", Behaviour::Authenticate),
    ("pm_card_chargeDeclined", Behaviour::Decline(Decline::GENERIC)),
    ("pm_card_chargeDeclinedInsufficientFunds", Behaviour::Decline(Decline::INSUFFICIENT_FUNDS)),
    ("pm_card_chargeDeclinedLostCard", Behaviour::Decline(Decline::LOST)),
    ("pm_card_chargeDeclinedStolenCard", Behaviour::Decline(Decline::STOLEN)),
    ("pm_card_chargeDeclinedExpiredCard", Behaviour::Decline(Decline::EXPIRED)),
    ("pm_card_chargeDeclinedIncorrectCvc", Behaviour::Decline(Decline::INCORRECT_CVC)),
    ("pm_card_chargeDeclinedProcessingError", Behaviour::Decline(Decline::PROCESSING_ERROR)),
];

impl Card {
    /// `pm_card_visa_chargeDeclined…` are Stripe's other names for `pm_card_chargeDeclined…`.
    pub(crate) fn find(name: &str) -> Result<Self, ApiError> {
        let canonical = name.strip_prefix("pm_card_visa_").map(|rest| format!("pm_card_{rest}"));
        let wanted = canonical.as_deref().unwrap_or(name);
        CARDS
            .iter()
            .find(|(known, _)| *known == wanted)
            .map(|&(name, behaviour)| Self { name, behaviour })
            .ok_or_else(|| ApiError::no_such_payment_method(name))
    }

    pub(crate) fn refunding(self) -> Refunding {
        match self.name {
            PENDING_REFUND => Refunding::SucceedsLater,
            REFUND_FAIL => Refunding::FailsLater,
            _ => Refunding::AtOnce,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_declined_card_are_one_card() {
        let short = Card::find("pm_card_chargeDeclinedInsufficientFunds").unwrap();
        let long = Card::find("pm_card_visa_chargeDeclinedInsufficientFunds").unwrap();
        assert_eq!(short, long);
        let Behaviour::Decline(decline) = short.behaviour else {
            panic!("a declined card approves");
        };
        assert_eq!(decline.error().decline_code, Some("insufficient_funds"));
    }

    #[test]
    fn an_unknown_payment_method_is_a_missing_resource() {
        let error = Card::find("pm_card_nope").unwrap_err();
        assert_eq!((error.status, error.code), (400, Some("resource_missing")));
    }
}
