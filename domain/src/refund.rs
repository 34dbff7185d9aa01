//! Giving money back after a sale: what may be asked for, and how a refund stands.

use serde::{Deserialize, Serialize};

use crate::{Currency, Money, OrderState};

/// The reference of the refund that calls an order off. Nobody else's may be called so.
pub const CANCEL_REFERENCE: &str = "cancel";
/// The longest reference, in characters.
pub const REFERENCE_CHARS_MAX: usize = 100;
/// The longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 60;

/// How a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Written down; the provider's word is not in.
    Requested,
    /// The provider has accepted it and carries it out.
    Pending,
    /// The money is on its way to the customer. Their bank may still send it back.
    Succeeded,
    /// It was made and did not work: the money is ours again.
    Failed,
    /// The provider will not make it.
    Refused,
}

impl RefundState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Requested, Self::Pending, Self::Succeeded, Self::Failed, Self::Refused];

    /// The state's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the provider's word can still change it.
    pub const fn open(self) -> bool {
        match self {
            Self::Requested | Self::Pending | Self::Succeeded => true,
            Self::Failed | Self::Refused => false,
        }
    }

    /// Whether this word of the provider's moves a refund on, or is behind it: it came twice, or late.
    pub const fn moves_to(self, word: Self) -> bool {
        match (self, word) {
            (Self::Requested, Self::Pending | Self::Succeeded | Self::Failed | Self::Refused)
            | (Self::Pending, Self::Succeeded | Self::Failed)
            | (Self::Succeeded, Self::Failed) => true,
            (
                Self::Requested | Self::Pending | Self::Succeeded | Self::Failed | Self::Refused,
                Self::Requested,
            )
            | (
                Self::Pending | Self::Succeeded | Self::Failed | Self::Refused,
                Self::Pending | Self::Refused,
            )
            | (Self::Succeeded | Self::Failed | Self::Refused, Self::Succeeded)
            | (Self::Failed | Self::Refused, Self::Failed) => false,
        }
    }
}

/// What a refund is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundPurpose {
    /// An operator gives back all or a part.
    PayBack,
    /// The customer calls the order off before it is shipped.
    CallOff,
}

/// Why a refund is not taken on. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum RefundProblem {
    /// The order is not where money can be given back for that purpose.
    InvalidState {
        /// Where it is.
        state: OrderState,
    },
    /// More is asked for than is left.
    ExceedsCaptured {
        /// What is left of what was captured, less what goes back already.
        left: Money,
    },
    /// Another refund has this reference.
    ReferenceReused {
        /// What that one gives back.
        amount: Money,
    },
}

impl RefundProblem {
    /// The stable code that clients see.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidState { .. } => "invalid_state",
            Self::ExceedsCaptured { .. } => "refund_exceeds_captured",
            Self::ReferenceReused { .. } => "reference_reused",
        }
    }
}

/// The sums of a payment, in minor units, as far as refunds care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Their currency.
    pub currency: Currency,
    /// What was taken.
    pub captured_minor: i64,
    /// What was ever paid back.
    pub refunded_minor: i64,
    /// What came back of that.
    pub refund_failed_minor: i64,
    /// What is asked for, and not made yet.
    pub refunding_minor: i64,
}

impl Taken {
    /// What is still with us, whatever is asked for.
    pub const fn kept_minor(&self) -> i64 {
        self.captured_minor - self.refunded_minor + self.refund_failed_minor
    }

    /// What can be asked for.
    pub fn left(&self) -> Money {
        Money::new(self.kept_minor() - self.refunding_minor, self.currency)
            .expect("no more is paid back than was taken")
    }

    /// How much a refund gives back, if it may be asked for: all that is left where no amount is said.
    pub fn admit(
        &self,
        state: OrderState,
        purpose: RefundPurpose,
        amount: Option<Money>,
    ) -> Result<Money, RefundProblem> {
        let left = self.left();
        let in_state = match (state, purpose) {
            (OrderState::Paid, RefundPurpose::PayBack | RefundPurpose::CallOff)
            | (
                OrderState::PartiallyShipped | OrderState::Shipped | OrderState::Delivered,
                RefundPurpose::PayBack,
            ) => true,
            // Its refund came back, so that something is left again.
            (OrderState::Refunded, RefundPurpose::PayBack) => left.minor() > 0,
            (OrderState::Pending | OrderState::Placed | OrderState::Cancelled, _)
            | (
                OrderState::PartiallyShipped
                | OrderState::Shipped
                | OrderState::Delivered
                | OrderState::Refunded,
                RefundPurpose::CallOff,
            ) => false,
        };
        if !in_state {
            return Err(RefundProblem::InvalidState { state });
        }
        let amount = amount.unwrap_or(left);
        if amount.currency() != left.currency() || !(1..=left.minor()).contains(&amount.minor()) {
            return Err(RefundProblem::ExceedsCaptured { left });
        }
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eur(minor: i64) -> Money {
        Money::new(minor, "EUR".parse().expect("a currency")).expect("an amount")
    }

    fn taken(captured_minor: i64, refunded_minor: i64, refunding_minor: i64) -> Taken {
        let currency = "EUR".parse().expect("a currency");
        Taken { currency, captured_minor, refunded_minor, refund_failed_minor: 0, refunding_minor }
    }

    proptest! {
        #[test]
        fn no_order_of_requests_gives_back_more_than_was_taken(captured in 0_i64..10_000, asked in prop::collection::vec(prop::option::of(0_i64..5_000), 0..20)) {
            let mut sums = taken(captured, 0, 0);
            for amount in asked {
                if let Ok(amount) = sums.admit(OrderState::Paid, RefundPurpose::PayBack, amount.map(eur)) {
                    prop_assert!(amount.minor() > 0);
                    sums.refunding_minor += amount.minor();
                }
                prop_assert!(sums.left().minor() >= 0);
            }
        }

        #[test]
        fn no_order_of_words_moves_a_refund_back(words in prop::collection::vec(prop::sample::select(RefundState::ALL.to_vec()), 0..10)) {
            let rank = |state: RefundState| RefundState::ALL.iter().position(|s| *s == state);
            let mut state = RefundState::Requested;
            for word in words {
                if state.moves_to(word) {
                    prop_assert!(rank(word) > rank(state));
                    prop_assert!(!word.moves_to(word));
                    state = word;
                }
            }
        }
    }

    #[test]
    fn without_an_amount_all_that_is_left_goes_back() {
        let sums = taken(1000, 300, 200);
        let admit = |amount| sums.admit(OrderState::Shipped, RefundPurpose::PayBack, amount);
        assert_eq!(admit(None), Ok(eur(500)));
        assert_eq!(admit(Some(eur(500))), Ok(eur(500)));
        let exceeds = Err(RefundProblem::ExceedsCaptured { left: eur(500) });
        assert_eq!(admit(Some(eur(501))), exceeds);
        assert_eq!(admit(Some(eur(0))), exceeds);
        let usd = Money::new(1, "USD".parse().expect("a currency")).expect("an amount");
        assert_eq!(admit(Some(usd)), exceeds);
    }

    #[test]
    fn only_an_order_that_is_paid_and_not_shipped_can_be_called_off() {
        for state in OrderState::ALL {
            let admitted = taken(1000, 0, 0).admit(state, RefundPurpose::CallOff, None);
            assert_eq!(admitted.is_ok(), state == OrderState::Paid, "{state:?}");
        }
    }

    #[test]
    fn an_order_whose_refund_came_back_can_be_refunded_once_more() {
        let admit = |sums: Taken| sums.admit(OrderState::Refunded, RefundPurpose::PayBack, None);
        let state = OrderState::Refunded;
        assert_eq!(admit(taken(1000, 1000, 0)), Err(RefundProblem::InvalidState { state }));
        let came_back = Taken { refund_failed_minor: 400, ..taken(1000, 1000, 0) };
        assert_eq!(admit(came_back), Ok(eur(400)));
    }
}
