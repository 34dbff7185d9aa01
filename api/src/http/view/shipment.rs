//! Bodies of answers about shipments.

use chrono::{DateTime, Utc};
use domain::{
    Carrier, OrderId, Quantity, ShipmentId, ShipmentState, Sku, StockLine, TrackingNumber,
};
use serde::Serialize;
use store::shipment::Shipment;
use utoipa::ToSchema;

/// The shipments of an order, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Shipments)]
pub(in crate::http) struct ShipmentsBody {
    pub(in crate::http) shipments: Vec<ShipmentBody>,
}

/// One parcel of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = Shipment)]
pub(in crate::http) struct ShipmentBody {
    #[schema(value_type = String, example = "shp_01h455vb4pex5vsknk084sn02q")]
    id: ShipmentId,
    #[schema(value_type = String)]
    order_id: OrderId,
    #[schema(value_type = String, example = "dhl")]
    carrier: Carrier,
    #[schema(value_type = String)]
    tracking_number: TrackingNumber,
    /// `created`, `dispatched`, `delivered`, or `cancelled`.
    #[schema(value_type = String, example = "dispatched")]
    state: ShipmentState,
    /// What is in it, in SKU order.
    lines: Vec<ShipmentLineBody>,
    created_at: DateTime<Utc>,
    /// When it left; null while it has not, or if its carrier never said so.
    dispatched_at: Option<DateTime<Utc>>,
    /// When it arrived.
    delivered_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ShipmentLine)]
struct ShipmentLineBody {
    #[schema(value_type = String)]
    sku: Sku,
    #[schema(value_type = i64, minimum = 1, maximum = 999)]
    quantity: Quantity,
}

impl From<Shipment> for ShipmentBody {
    fn from(shipment: Shipment) -> Self {
        let line = |StockLine { sku, quantity }| ShipmentLineBody { sku, quantity };
        Self {
            id: shipment.id,
            order_id: shipment.order_id,
            carrier: shipment.carrier,
            tracking_number: shipment.tracking_number,
            state: shipment.state,
            lines: shipment.lines.into_iter().map(line).collect(),
            created_at: shipment.created_at,
            dispatched_at: shipment.dispatched_at,
            delivered_at: shipment.delivered_at,
        }
    }
}
