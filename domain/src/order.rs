//! The order: a durable state machine, moved forward by events that may come twice or late.

use serde::{Deserialize, Serialize};

use crate::OrderId;

/// Where an order stands. The first states are made by the checkout, the later by fulfilment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Minted with its frozen quote; nothing is promised yet.
    Pending,
    /// Stock is held and the money is authorized.
    Placed,
    /// The money is taken and the stock is sold.
    Paid,
    /// A part of it is on its way.
    PartiallyShipped,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
    /// Called off before it was paid.
    Cancelled,
    /// Paid back in full.
    Refunded,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Placed,
        Self::Paid,
        Self::PartiallyShipped,
        Self::Shipped,
        Self::Delivered,
        Self::Cancelled,
        Self::Refunded,
    ];

    /// The state's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::PartiallyShipped => "partially_shipped",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }

    /// Whether the sale is final: its money is taken and its stock sold, whatever came after.
    pub const fn sold(self) -> bool {
        match self {
            Self::Paid
            | Self::PartiallyShipped
            | Self::Shipped
            | Self::Delivered
            | Self::Refunded => true,
            Self::Pending | Self::Placed | Self::Cancelled => false,
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What can happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderEvent {
    /// The money is authorized and the hold confirmed.
    Placed,
    /// The money is captured and the stock committed.
    Paid,
    /// Something left the house, and not everything.
    PartiallyShipped,
    /// Everything left the house.
    Shipped,
    /// Everything arrived.
    Delivered,
    /// The checkout ended without a sale.
    Cancelled,
    /// All the money went back.
    Refunded,
}

impl OrderEvent {
    /// Every event.
    pub const ALL: [Self; 7] = [
        Self::Placed,
        Self::Paid,
        Self::PartiallyShipped,
        Self::Shipped,
        Self::Delivered,
        Self::Cancelled,
        Self::Refunded,
    ];

    /// The event's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::PartiallyShipped => "partially_shipped",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }

    /// The event of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }
}

/// An event that cannot happen to an order in that state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {} cannot become {}", state.as_str(), event.as_str())]
pub struct InvalidTransition {
    /// Where the order stands.
    pub state: OrderState,
    /// What was said to have happened.
    pub event: OrderEvent,
}

/// An order, as far as its state machine is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub id: OrderId,
    /// Where it stands.
    pub state: OrderState,
}

impl Order {
    /// The order of that id after these events, from its opening on. An event that cannot follow on those
    /// before it moves nothing.
    pub fn after(id: OrderId, events: impl IntoIterator<Item = OrderEvent>) -> Self {
        let opened = Self { id, state: OrderState::Pending };
        events.into_iter().fold(opened, |order, event| match order.apply(event) {
            Ok(Some(moved)) => moved,
            Ok(None) | Err(InvalidTransition { .. }) => order,
        })
    }

    /// The order after the event. `Ok(None)` means that the event is already behind the order and
    /// changes nothing: it came twice, or late.
    pub const fn apply(self, event: OrderEvent) -> Result<Option<Self>, InvalidTransition> {
        use OrderEvent as E;
        use OrderState as S;
        let next = match (self.state, event) {
            (S::Pending, E::Placed) => S::Placed,
            (S::Placed, E::Paid) => S::Paid,
            (S::Paid, E::PartiallyShipped) => S::PartiallyShipped,
            (S::Paid | S::PartiallyShipped, E::Shipped) => S::Shipped,
            // A delivery report may overtake the dispatch report.
            (S::Paid | S::PartiallyShipped | S::Shipped, E::Delivered) => S::Delivered,
            (S::Pending | S::Placed, E::Cancelled) => S::Cancelled,
            (S::Paid | S::PartiallyShipped | S::Shipped | S::Delivered, E::Refunded) => S::Refunded,
            (
                S::Placed | S::Paid | S::PartiallyShipped | S::Shipped | S::Delivered | S::Refunded,
                E::Placed,
            )
            | (S::Paid | S::PartiallyShipped | S::Shipped | S::Delivered | S::Refunded, E::Paid)
            | (
                S::PartiallyShipped | S::Shipped | S::Delivered | S::Refunded,
                E::PartiallyShipped,
            )
            | (S::Shipped | S::Delivered | S::Refunded, E::Shipped)
            | (S::Delivered | S::Refunded, E::Delivered)
            | (S::Cancelled, E::Cancelled)
            | (S::Refunded, E::Refunded) => return Ok(None),
            (
                S::Pending,
                E::Paid | E::PartiallyShipped | E::Shipped | E::Delivered | E::Refunded,
            )
            | (S::Placed, E::PartiallyShipped | E::Shipped | E::Delivered | E::Refunded)
            | (
                S::Paid | S::PartiallyShipped | S::Shipped | S::Delivered | S::Refunded,
                E::Cancelled,
            )
            | (
                S::Cancelled,
                E::Placed | E::Paid | E::PartiallyShipped | E::Shipped | E::Delivered | E::Refunded,
            ) => {
                return Err(InvalidTransition { state: self.state, event });
            }
        };
        Ok(Some(Self { id: self.id, state: next }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn order(state: OrderState) -> Order {
        Order { id: Uuid::nil().into(), state }
    }

    fn rank(state: OrderState) -> usize {
        OrderState::ALL.iter().position(|s| *s == state).expect("listed")
    }

    proptest! {
        #[test]
        fn no_order_of_events_ever_moves_it_back(events in prop::collection::vec(prop::sample::select(OrderEvent::ALL.to_vec()), 0..30)) {
            let mut order = order(OrderState::Pending);
            for event in events {
                if let Ok(Some(next)) = order.apply(event) {
                    prop_assert!(rank(next.state) > rank(order.state));
                    order = next;
                }
            }
        }

        #[test]
        fn an_event_applied_twice_changes_nothing_the_second_time(state in prop::sample::select(OrderState::ALL.to_vec()), event in prop::sample::select(OrderEvent::ALL.to_vec())) {
            if let Ok(Some(next)) = order(state).apply(event) {
                prop_assert_eq!(next.apply(event), Ok(None));
            }
        }
    }

    #[test]
    fn a_paid_order_cannot_be_cancelled_and_a_cancelled_one_cannot_be_paid() {
        assert!(order(OrderState::Paid).apply(OrderEvent::Cancelled).is_err());
        assert!(order(OrderState::Cancelled).apply(OrderEvent::Paid).is_err());
    }

    #[test]
    fn an_order_stands_where_its_events_took_it() {
        let id = Uuid::nil().into();
        assert_eq!(Order::after(id, []).state, OrderState::Pending);
        let sold = [OrderEvent::Placed, OrderEvent::Paid, OrderEvent::Paid, OrderEvent::Cancelled];
        assert_eq!(Order::after(id, sold).state, OrderState::Paid);
    }

    #[test]
    fn a_delivery_report_before_the_dispatch_report_still_delivers() {
        let delivered = order(OrderState::Paid).apply(OrderEvent::Delivered);
        assert_eq!(delivered, Ok(Some(order(OrderState::Delivered))));
        assert_eq!(order(OrderState::Delivered).apply(OrderEvent::Shipped), Ok(None));
    }
}
