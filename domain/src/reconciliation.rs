//! Holding the card provider's books against ours: when they agree, when it is too early to say, and which
//! differences may be mended without people.
//!
//! Only what can never change again is judged. Whether an order is sold, and that a checkout is over
//! without having sold, is final, so a judgement stands if the provider is looked at after our books are.

use serde::{Deserialize, Serialize};

use crate::{Money, OrderState};

/// A way in which two books that should say the same do not, or a promise was not kept in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The provider took money, and no order is paid by it.
    ChargeWithoutOrder,
    /// An order is paid by what the provider did not take.
    OrderWithoutCharge,
    /// The provider keeps money set aside, or may yet, for what can never be sold.
    OpenAuthorization,
    /// The provider took another amount for an order than it cost.
    AmountMismatch,
    /// The provider paid back some of what an order cost, and nobody here asked for it.
    UnrecordedRefund,
    /// The provider has something by our name that we never make.
    OddIntent,
    /// Stock is held for a checkout that is over, or that there is not.
    OrphanHold,
    /// A counter is not the sum of its ledger.
    CounterMismatch,
    /// A checkout is not over that should long be: it is stuck, or its workflow is gone.
    OverdueCheckout,
    /// The provider has long not said whether a refund went through, or was never reached about it.
    OverdueRefund,
    /// An order is called off or was never sold, its money is still here, and nothing is about to give it back.
    UnreturnedMoney,
}

impl Difference {
    const ALL: [Self; 11] = [
        Self::ChargeWithoutOrder,
        Self::OrderWithoutCharge,
        Self::OpenAuthorization,
        Self::AmountMismatch,
        Self::UnrecordedRefund,
        Self::OddIntent,
        Self::OrphanHold,
        Self::CounterMismatch,
        Self::OverdueCheckout,
        Self::OverdueRefund,
        Self::UnreturnedMoney,
    ];

    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChargeWithoutOrder => "charge_without_order",
            Self::OrderWithoutCharge => "order_without_charge",
            Self::OpenAuthorization => "open_authorization",
            Self::AmountMismatch => "amount_mismatch",
            Self::UnrecordedRefund => "unrecorded_refund",
            Self::OddIntent => "odd_intent",
            Self::OrphanHold => "orphan_hold",
            Self::CounterMismatch => "counter_mismatch",
            Self::OverdueCheckout => "overdue_checkout",
            Self::OverdueRefund => "overdue_refund",
            Self::UnreturnedMoney => "unreturned_money",
        }
    }

    /// Reads a name back.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|difference| difference.as_str() == name)
    }
}

/// Where a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseState {
    /// The difference was safe to mend, and is gone.
    Mended,
    /// It waits for people.
    Open,
    /// People have seen to it.
    Resolved,
}

impl CaseState {
    const ALL: [Self; 3] = [Self::Mended, Self::Open, Self::Resolved];

    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mended => "mended",
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }

    /// Reads a name back.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What an intent at the provider holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing, and nobody but us can change that.
    Nothing,
    /// Nothing yet: it may take money without us.
    Coming,
    /// Money set aside.
    Authorized,
    /// Money taken. What was paid back of it is still told of here.
    Captured(Money),
}

/// What our books say of a payment, beside one of the provider's intents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// Whether its checkout is over.
    pub over: bool,
    /// Where its order stands.
    pub order: OrderState,
    /// What the order costs.
    pub amount: Money,
    /// Whether it is this intent that paid for it.
    pub paid_by_this: bool,
    /// What our ledger says became of this intent's money.
    pub noted: Noted,
}

/// What our ledger says became of an intent's money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It says nothing that would leave anything to do.
    Nothing,
    /// It was set aside; not what came after that.
    SetAside,
    /// It went back in full.
    Returned,
}

/// What an intent and our books come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They say the same.
    Agreed,
    /// The checkout is under way, and sees to it.
    TooEarly,
    /// What the intent holds goes back: nobody can have a claim to it but the customer.
    GiveBack(Difference),
    /// People must look.
    Case(Difference),
}

/// Holds an intent against what our books say of its payment; `None` if they have no such payment. That
/// may be another shop's at the same provider, or one that our books have lost, so it is never touched.
pub fn judge(held: Held, booked: Option<&Booked>) -> Verdict {
    let Some(booked) = booked else {
        return match held {
            Held::Nothing | Held::Coming => Verdict::Agreed,
            Held::Authorized => Verdict::Case(Difference::OpenAuthorization),
            Held::Captured(_) => Verdict::Case(Difference::ChargeWithoutOrder),
        };
    };
    if !booked.over {
        return Verdict::TooEarly;
    }
    if !booked.order.sold() {
        return match held {
            _ if booked.noted == Noted::Returned => Verdict::Agreed,
            // Let go, and nobody heard of it: our books are behind.
            Held::Nothing if booked.noted == Noted::SetAside => {
                Verdict::GiveBack(Difference::OpenAuthorization)
            }
            Held::Nothing => Verdict::Agreed,
            Held::Coming | Held::Authorized => Verdict::GiveBack(Difference::OpenAuthorization),
            Held::Captured(_) => Verdict::GiveBack(Difference::ChargeWithoutOrder),
        };
    }
    match held {
        Held::Captured(amount) if booked.paid_by_this && amount == booked.amount => Verdict::Agreed,
        Held::Captured(_) if booked.paid_by_this => Verdict::Case(Difference::AmountMismatch),
        Held::Nothing | Held::Coming | Held::Authorized if booked.paid_by_this => {
            Verdict::Case(Difference::OrderWithoutCharge)
        }
        _ if booked.noted == Noted::Returned => Verdict::Agreed,
        // Beside the one that paid: the customer may have been charged twice.
        Held::Captured(_) => Verdict::Case(Difference::ChargeWithoutOrder),
        Held::Authorized => Verdict::Case(Difference::OpenAuthorization),
        Held::Nothing | Held::Coming => Verdict::Agreed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Currency;

    fn money(minor: i64) -> Money {
        Money::new(minor, "EUR".parse::<Currency>().expect("a currency")).expect("an amount")
    }

    fn booked(over: bool, order: OrderState, paid_by_this: bool, noted: Noted) -> Booked {
        Booked { over, order, amount: money(1299), paid_by_this, noted }
    }

    fn held() -> impl Strategy<Value = Held> {
        prop_oneof![
            Just(Held::Nothing),
            Just(Held::Coming),
            Just(Held::Authorized),
            (0..3000_i64).prop_map(|minor| Held::Captured(money(minor))),
        ]
    }

    fn noted() -> impl Strategy<Value = Noted> {
        prop_oneof![Just(Noted::Nothing), Just(Noted::SetAside), Just(Noted::Returned)]
    }

    fn order() -> impl Strategy<Value = OrderState> {
        prop_oneof![
            Just(OrderState::Pending),
            Just(OrderState::Placed),
            Just(OrderState::Paid),
            Just(OrderState::Shipped),
            Just(OrderState::Delivered),
            Just(OrderState::Cancelled),
            Just(OrderState::Refunded),
        ]
    }

    #[test]
    fn a_sale_that_the_provider_took_the_total_for_agrees() {
        let paid = booked(true, OrderState::Delivered, true, Noted::Nothing);
        assert_eq!(judge(Held::Captured(money(1299)), Some(&paid)), Verdict::Agreed);
        assert_eq!(
            judge(Held::Captured(money(1298)), Some(&paid)),
            Verdict::Case(Difference::AmountMismatch)
        );
        for none in [Held::Nothing, Held::Coming, Held::Authorized] {
            assert_eq!(judge(none, Some(&paid)), Verdict::Case(Difference::OrderWithoutCharge));
        }
    }

    #[test]
    fn what_is_held_for_a_checkout_that_ended_unsold_goes_back_once() {
        let ended = booked(true, OrderState::Cancelled, false, Noted::Nothing);
        assert_eq!(
            judge(Held::Authorized, Some(&ended)),
            Verdict::GiveBack(Difference::OpenAuthorization)
        );
        assert_eq!(
            judge(Held::Captured(money(1299)), Some(&ended)),
            Verdict::GiveBack(Difference::ChargeWithoutOrder)
        );
        let unheard = Booked { noted: Noted::SetAside, ..ended };
        assert_eq!(
            judge(Held::Nothing, Some(&unheard)),
            Verdict::GiveBack(Difference::OpenAuthorization)
        );
        let returned = booked(true, OrderState::Cancelled, false, Noted::Returned);
        assert_eq!(judge(Held::Captured(money(1299)), Some(&returned)), Verdict::Agreed);
    }

    #[test]
    fn a_second_charge_for_a_sale_is_for_people() {
        let paid = booked(true, OrderState::Paid, false, Noted::Nothing);
        assert_eq!(
            judge(Held::Captured(money(1299)), Some(&paid)),
            Verdict::Case(Difference::ChargeWithoutOrder)
        );
    }

    proptest! {
        #[test]
        fn nothing_of_a_sale_or_of_what_is_under_way_or_unknown_is_ever_given_back(
            held in held(), over: bool, order in order(), paid_by_this: bool, noted in noted(),
        ) {
            let booked = booked(over, order, paid_by_this, noted);
            let verdict = judge(held, Some(&booked));
            if !over {
                prop_assert_eq!(verdict, Verdict::TooEarly);
            }
            if order.sold() {
                prop_assert!(!matches!(verdict, Verdict::GiveBack(_)));
            }
            prop_assert!(!matches!(judge(held, None), Verdict::GiveBack(_)));
        }

        #[test]
        fn what_holds_nothing_and_paid_for_nothing_agrees(over: bool, order in order()) {
            let verdict = judge(Held::Nothing, Some(&booked(over, order, false, Noted::Nothing)));
            prop_assert!(matches!(verdict, Verdict::Agreed | Verdict::TooEarly));
        }
    }

    #[test]
    fn every_name_reads_back() {
        for difference in Difference::ALL {
            assert_eq!(Difference::parse(difference.as_str()), Some(difference));
        }
        for state in CaseState::ALL {
            assert_eq!(CaseState::parse(state.as_str()), Some(state));
        }
    }
}
