//! The shipment: a parcel, moved forward by what its carrier says, and what the parcels of an order say
//! of the order.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{OrderEvent, OrderId, ShipmentId};

/// The longest name of a carrier, in characters.
pub const CARRIER_CHARS_MAX: usize = 32;
/// The longest tracking number, in characters.
pub const TRACKING_NUMBER_CHARS_MAX: usize = 64;
/// The longest id of a carrier's event, in characters.
pub const CARRIER_EVENT_ID_CHARS_MAX: usize = 128;

/// Why a text is none of a shipment's names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(&'static str);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $allowed:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                let allowed: fn(u8) -> bool = $allowed;
                if (1..=$max).contains(&text.len()) && text.bytes().all(allowed) {
                    Ok(Self(text))
                } else {
                    Err(InvalidName($rule))
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Who carries parcels, by the name we know them by.
    Carrier,
    CARRIER_CHARS_MAX,
    |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_',
    "a carrier is 1 to 32 small letters, digits, dashes and underscores"
);
name!(
    /// The carrier's name for one parcel.
    TrackingNumber,
    TRACKING_NUMBER_CHARS_MAX,
    |byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte),
    "a tracking number is 1 to 64 letters, digits, dashes, dots and underscores"
);
name!(
    /// The carrier's name for one event; the same however often it is told.
    CarrierEventId,
    CARRIER_EVENT_ID_CHARS_MAX,
    |byte| byte.is_ascii_graphic(),
    "an event's id is 1 to 128 visible ASCII characters"
);

impl ShipmentId {
    /// Derives the shipment's identity from the parcel's, so that asking for it twice names one.
    pub fn derive(order_id: OrderId, carrier: &Carrier, tracking_number: &TrackingNumber) -> Self {
        let parcel = format!("{carrier}/{tracking_number}");
        Self::from(Uuid::new_v5(&order_id.uuid(), parcel.as_bytes()))
    }
}

/// What a carrier says of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParcelEvent {
    /// It left the house.
    Dispatched,
    /// It arrived.
    Delivered,
}

impl ParcelEvent {
    /// Every event.
    pub const ALL: [Self; 2] = [Self::Dispatched, Self::Delivered];

    /// The event's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dispatched => "dispatched",
            Self::Delivered => "delivered",
        }
    }

    /// The event of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }
}

/// Where a shipment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipmentState {
    /// Its units are set aside for it; the carrier does not have it yet.
    Created,
    /// Called off before it left; its units may go into another.
    Cancelled,
    /// On its way.
    Dispatched,
    /// Arrived.
    Delivered,
}

impl ShipmentState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Created, Self::Cancelled, Self::Dispatched, Self::Delivered];

    /// The state's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Cancelled => "cancelled",
            Self::Dispatched => "dispatched",
            Self::Delivered => "delivered",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The state after the carrier's event, if the event changes it: one that comes twice or late does
    /// not, and neither does any for a shipment that was called off.
    #[must_use]
    pub const fn after(self, event: ParcelEvent) -> Option<Self> {
        match (self, event) {
            (Self::Created, ParcelEvent::Dispatched) => Some(Self::Dispatched),
            // A delivery report may overtake the dispatch report.
            (Self::Created | Self::Dispatched, ParcelEvent::Delivered) => Some(Self::Delivered),
            (Self::Dispatched | Self::Delivered | Self::Cancelled, ParcelEvent::Dispatched)
            | (Self::Delivered | Self::Cancelled, ParcelEvent::Delivered) => None,
        }
    }

    /// Whether it has left the house.
    pub const fn left(self) -> bool {
        match self {
            Self::Dispatched | Self::Delivered => true,
            Self::Created | Self::Cancelled => false,
        }
    }
}

/// The units of one order: how many there are, and how many of them have left or arrived. No line ships
/// more than was ordered, so the sums tell of every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Units ordered.
    pub ordered: i64,
    /// Units that left the house, those that arrived included.
    pub dispatched: i64,
    /// Units that arrived.
    pub delivered: i64,
}

impl Progress {
    /// What the shipments say has happened to their order.
    pub const fn event(self) -> Option<OrderEvent> {
        if self.dispatched == 0 {
            None
        } else if self.delivered >= self.ordered {
            Some(OrderEvent::Delivered)
        } else if self.dispatched >= self.ordered {
            Some(OrderEvent::Shipped)
        } else {
            Some(OrderEvent::PartiallyShipped)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Order, OrderState};

    /// Parcels of so many units each, the order that they make up, and what their carriers said in turn.
    fn told(
        units: &[i64],
        events: &[(usize, ParcelEvent)],
    ) -> (Vec<ShipmentState>, Vec<OrderState>) {
        let mut parcels = vec![ShipmentState::Created; units.len()];
        let mut order = Order { id: Uuid::nil().into(), state: OrderState::Paid };
        let mut states = vec![order.state];
        for (parcel, event) in events {
            let parcel = parcel % units.len();
            if let Some(next) = parcels[parcel].after(*event) {
                assert!(next > parcels[parcel], "a parcel went back");
                parcels[parcel] = next;
            }
            let sum = |counts: fn(ShipmentState) -> bool| -> i64 {
                parcels.iter().zip(units).filter(|(state, _)| counts(**state)).map(|(_, n)| n).sum()
            };
            let progress = Progress {
                ordered: units.iter().sum(),
                dispatched: sum(ShipmentState::left),
                delivered: sum(|state| state == ShipmentState::Delivered),
            };
            if let Some(event) = progress.event() {
                let next = order.apply(event).expect("a paid order ships");
                order = next.unwrap_or(order);
            }
            states.push(order.state);
        }
        (parcels, states)
    }

    fn events() -> impl Strategy<Value = Vec<(usize, ParcelEvent)>> {
        prop::collection::vec((0..4_usize, prop::sample::select(ParcelEvent::ALL.to_vec())), 0..20)
    }

    fn rank(state: OrderState) -> usize {
        OrderState::ALL.iter().position(|s| *s == state).expect("listed")
    }

    proptest! {
        #[test]
        fn the_same_events_in_any_order_and_any_number_end_in_the_same_state(
            units in prop::collection::vec(1..9_i64, 1..4),
            (events, shuffled) in events().prop_flat_map(|events| {
                (Just(events.clone()), Just([events.clone(), events].concat()).prop_shuffle())
            }),
        ) {
            let (parcels, states) = told(&units, &events);
            let (parcels_again, states_again) = told(&units, &shuffled);
            prop_assert_eq!(parcels, parcels_again);
            prop_assert_eq!(states.last(), states_again.last());
        }

        #[test]
        fn no_event_of_a_carrier_moves_an_order_back(
            units in prop::collection::vec(1..9_i64, 1..4),
            events in events(),
        ) {
            let (_, states) = told(&units, &events);
            prop_assert!(states.windows(2).all(|pair| rank(pair[0]) <= rank(pair[1])), "{states:?}");
        }
    }

    #[test]
    fn an_order_is_shipped_when_every_unit_has_left_and_delivered_when_every_unit_arrived() {
        let event = |dispatched, delivered| Progress { ordered: 3, dispatched, delivered }.event();
        assert_eq!(event(0, 0), None);
        assert_eq!(event(1, 1), Some(OrderEvent::PartiallyShipped));
        assert_eq!(event(3, 2), Some(OrderEvent::Shipped));
        assert_eq!(event(3, 3), Some(OrderEvent::Delivered));
    }

    #[test]
    fn a_delivered_shipment_stays_delivered_and_a_cancelled_one_cancelled() {
        for event in ParcelEvent::ALL {
            assert_eq!(ShipmentState::Delivered.after(event), None);
            assert_eq!(ShipmentState::Cancelled.after(event), None);
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!("dhl_express".parse::<Carrier>().is_ok());
        assert!("1Z-999.AA".parse::<TrackingNumber>().is_ok());
        for bad in ["", "DHL", "d h l", "d/h", &"x".repeat(33)] {
            assert!(bad.parse::<Carrier>().is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<TrackingNumber>().is_err(), "{bad:?} was accepted");
        }
        assert!("a b".parse::<CarrierEventId>().is_err());
    }
}
