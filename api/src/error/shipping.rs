//! Why a parcel cannot be sent or followed as asked, and the rows of these in the table.

use domain::{OrderState, ShortLine};
use http::StatusCode;
use serde_json::{Map, Value};
use tonic::Code;

use super::{Entry, entry, json};

/// Why a parcel cannot be sent or followed as asked.
#[derive(Debug)]
pub(crate) enum Unshipped {
    /// The order is in no state to be shipped.
    State { state: OrderState },
    /// More was to be sent than is left to send.
    NotLeft { lines: Vec<ShortLine> },
    /// The tracking number belongs to another parcel.
    TrackingNumberReused,
    /// Another event of that carrier has this id.
    EventIdReused,
    /// The order has as many shipments as one may have.
    TooMany,
}

impl Unshipped {
    pub(super) fn entry(&self) -> Entry {
        let (code, title, grpc) = match self {
            Self::State { .. } => {
                ("invalid_state", "That cannot be done in this state", Code::FailedPrecondition)
            }
            Self::NotLeft { .. } => {
                ("not_left_to_ship", "There is not so much left to ship", Code::FailedPrecondition)
            }
            Self::TrackingNumberReused => (
                "tracking_number_reused",
                "The tracking number belongs to another parcel",
                Code::AlreadyExists,
            ),
            Self::EventIdReused => {
                ("event_id_reused", "The event's id belongs to another event", Code::AlreadyExists)
            }
            Self::TooMany => {
                ("too_many_shipments", "The order has too many shipments", Code::FailedPrecondition)
            }
        };
        entry(code, title, StatusCode::CONFLICT, grpc)
    }

    pub(super) fn detail(&self) -> String {
        match self {
            Self::State { state } => format!("the order is {}", state.as_str()),
            Self::NotLeft { lines } if lines.is_empty() => {
                "everything is in a shipment already".into()
            }
            Self::NotLeft { lines } => {
                format!("{} of the lines want more than is in no shipment yet", lines.len())
            }
            Self::TrackingNumberReused => {
                "this carrier has a parcel with this number already, of another order or with other lines".into()
            }
            Self::EventIdReused => {
                "this id was sent before with something else; a new event needs a new id".into()
            }
            Self::TooMany => {
                format!("an order has at most {} shipments", store::shipment::SHIPMENTS_MAX)
            }
        }
    }

    pub(super) fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        match self {
            Self::State { state } => {
                members.insert("state".into(), json(state));
            }
            Self::NotLeft { lines } => {
                members.insert("lines".into(), json(lines));
            }
            Self::TrackingNumberReused | Self::EventIdReused | Self::TooMany => {}
        }
        members
    }
}
