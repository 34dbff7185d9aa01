//! The steps of a fulfilment: what each is told and how it ends.

use domain::{
    Carrier, CarrierEventId, OrderId, OrderState, ShipmentId, ShipmentState, ShortLine, StockLine,
    TrackingNumber,
};
use serde::{Deserialize, Serialize};
use temporalio_macros::activity_definitions;

/// One shipment, as far as a fulfilment needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Which.
    pub id: ShipmentId,
    /// Who carries it.
    pub carrier: Carrier,
    /// The carrier's name for it.
    pub tracking_number: TrackingNumber,
    /// Where it stands.
    pub state: ShipmentState,
}

/// What `fulfilment.ship` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShipInput {
    /// Which order.
    pub order_id: OrderId,
    /// What to put into the parcel.
    pub plan: ShipmentPlan,
}

/// A parcel that somebody wants to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShipmentPlan {
    /// Who carries it.
    pub carrier: Carrier,
    /// The carrier's name for it: asked for twice, it is one parcel.
    pub tracking_number: TrackingNumber,
    /// What is in it; without, everything that is not in a shipment yet.
    pub lines: Option<Vec<StockLine>>,
    /// Which operator sends it.
    #[serde(default)]
    pub actor: Option<String>,
}

/// How `fulfilment.ship` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ShipOutcome {
    /// There is such a shipment.
    Shipped {
        /// The shipment.
        parcel: Parcel,
        /// Where the order stands: the carrier may have been quicker than we were.
        order: OrderState,
        /// Whether it was made just now.
        created: bool,
    },
    /// Nothing was written.
    Refused {
        /// Why.
        refusal: ShipRefusal,
    },
    /// It could not be done, for a reason of our own that people have to look at.
    Broken {
        /// The reason.
        detail: String,
    },
}

/// Why a shipment was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ShipRefusal {
    /// The order is in no state to be shipped.
    State {
        /// Where it stands.
        state: OrderState,
    },
    /// More was to be sent than is left to send; without lines, nothing is left.
    NotLeft {
        /// Every line that is short.
        lines: Vec<ShortLine>,
    },
    /// The tracking number belongs to another parcel.
    TrackingNumberReused,
    /// The order has as many shipments as one may have.
    TooMany,
}

/// An event of a carrier, by its name; what it says is in our books.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CarrierEventName {
    /// Whose.
    pub carrier: Carrier,
    /// Which.
    pub event_id: CarrierEventId,
}

/// What `fulfilment.track` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrackInput {
    /// Which order.
    pub order_id: OrderId,
    /// Which event.
    pub event: CarrierEventName,
}

/// How `fulfilment.track` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TrackOutcome {
    /// The event is in the books, whether or not it changed anything.
    Tracked {
        /// The shipment that it is about.
        parcel: Parcel,
        /// Where the order stands.
        order: OrderState,
    },
    /// This order has no such parcel.
    NotOurs,
    /// It could not be done, for a reason of our own that people have to look at.
    Broken {
        /// The reason.
        detail: String,
    },
}

/// What `fulfilment.call_off` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallOffInput {
    /// Which order.
    pub order_id: OrderId,
}

/// How `fulfilment.call_off` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CallOffOutcome {
    /// Nothing had left the house, and nothing will.
    CalledOff,
    /// Something has left the house.
    GoesOn {
        /// Where the order stands.
        order: OrderState,
        /// Its shipments.
        parcels: Vec<Parcel>,
    },
}

/// What `fulfilment.attention` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttentionInput {
    /// Which order.
    pub order_id: OrderId,
    /// The shipment that does not arrive; without, the order is not shipped.
    pub shipment_id: Option<ShipmentId>,
}

/// Fulfilment: an order's parcels.
pub struct Fulfilment;

#[activity_definitions]
impl Fulfilment {
    /// Makes a shipment, and applies what its carrier has said of it already.
    #[activity(name = "fulfilment.ship")]
    pub fn ship(input: ShipInput) -> ShipOutcome {
        unimplemented!()
    }

    /// Applies an event of a carrier to its shipment and to the order.
    #[activity(name = "fulfilment.track")]
    pub fn track(input: TrackInput) -> TrackOutcome {
        unimplemented!()
    }

    /// Calls off what has not left the house, if nothing has or the money went back.
    #[activity(name = "fulfilment.call_off")]
    pub fn call_off(input: CallOffInput) -> CallOffOutcome {
        unimplemented!()
    }

    /// Announces that an order needs a person.
    #[activity(name = "fulfilment.attention")]
    pub fn attention(input: AttentionInput) {
        unimplemented!()
    }
}

pub use self::fulfilment::{Attention, CallOff, Ship, Track};
