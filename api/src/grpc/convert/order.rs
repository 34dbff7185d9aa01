//! Orders and their parcels.

use domain::{OrderState, ParcelEvent, ShipmentState, StockLine};
use store::{
    order::read::{OrderDetail, OrderEventRow, OrderLine, OrderSummary},
    shipment::Shipment,
};

use super::{chosen, moment, stock_line, timestamp};
use crate::{
    error::Error,
    grpc::{field, proto},
    service::{
        order::OrderToShip,
        page::Page,
        request::Address,
        shipment::{NewEvent, NewShipment},
    },
};

impl From<Page<OrderSummary>> for proto::OrderPage {
    fn from(Page { entries, next_cursor }: Page<OrderSummary>) -> Self {
        Self { orders: entries.into_iter().map(Into::into).collect(), next_cursor }
    }
}

impl From<OrderSummary> for proto::OrderSummary {
    fn from(order: OrderSummary) -> Self {
        Self {
            id: order.id.to_string(),
            state: proto::OrderState::from(order.state).into(),
            total: Some(order.total.into()),
            checkout_id: order.id.checkout().to_string(),
            created_at: Some(timestamp(order.created_at)),
            updated_at: Some(timestamp(order.updated_at)),
        }
    }
}

impl From<(OrderDetail, Vec<Shipment>)> for proto::Order {
    fn from((order, shipments): (OrderDetail, Vec<Shipment>)) -> Self {
        let line = |OrderLine { sku, title, quantity, unit_price }| proto::OrderLine {
            sku: sku.into(),
            title,
            quantity: quantity.into(),
            unit_price: Some(unit_price.into()),
        };
        let event = |OrderEventRow { seq, kind, at }| proto::OrderEvent {
            seq,
            kind,
            at: Some(timestamp(at)),
        };
        Self {
            summary: Some(order.summary.into()),
            lines: order.lines.into_iter().map(line).collect(),
            shipments: shipments.into_iter().map(Into::into).collect(),
            events: order.events.into_iter().map(event).collect(),
            called_off_at: order.called_off_at.map(timestamp),
        }
    }
}

impl From<OrderToShip> for proto::OrderToShip {
    fn from(to_ship: OrderToShip) -> Self {
        let OrderToShip { order, customer_id, email, shipping_address } = to_ship;
        let Address { name, line1, line2, city, postal_code, country } = shipping_address;
        let address = proto::Address { name, line1, line2, city, postal_code, country };
        Self {
            order: Some(order.into()),
            customer_id: customer_id.to_string(),
            email,
            shipping_address: Some(address),
        }
    }
}

impl From<OrderState> for proto::OrderState {
    fn from(state: OrderState) -> Self {
        match state {
            OrderState::Pending => Self::Pending,
            OrderState::Placed => Self::Placed,
            OrderState::Paid => Self::Paid,
            OrderState::PartiallyShipped => Self::PartiallyShipped,
            OrderState::Shipped => Self::Shipped,
            OrderState::Delivered => Self::Delivered,
            OrderState::Cancelled => Self::Cancelled,
            OrderState::Refunded => Self::Refunded,
        }
    }
}

impl From<Shipment> for proto::Shipment {
    fn from(shipment: Shipment) -> Self {
        let line = |StockLine { sku, quantity }| proto::StockLine {
            sku: sku.into(),
            quantity: quantity.into(),
        };
        Self {
            id: shipment.id.to_string(),
            order_id: shipment.order_id.to_string(),
            carrier: shipment.carrier.into(),
            tracking_number: shipment.tracking_number.into(),
            state: proto::ShipmentState::from(shipment.state).into(),
            lines: shipment.lines.into_iter().map(line).collect(),
            created_at: Some(timestamp(shipment.created_at)),
            dispatched_at: shipment.dispatched_at.map(timestamp),
            delivered_at: shipment.delivered_at.map(timestamp),
        }
    }
}

impl From<ShipmentState> for proto::ShipmentState {
    fn from(state: ShipmentState) -> Self {
        match state {
            ShipmentState::Created => Self::Created,
            ShipmentState::Cancelled => Self::Cancelled,
            ShipmentState::Dispatched => Self::Dispatched,
            ShipmentState::Delivered => Self::Delivered,
        }
    }
}

impl TryFrom<proto::CreateShipmentRequest> for NewShipment {
    type Error = Error;

    fn try_from(raw: proto::CreateShipmentRequest) -> Result<Self, Error> {
        let line = |(number, raw)| {
            let (sku, quantity) = stock_line(number, raw)?;
            let quantity = field(&format!("lines/{number}/quantity"), quantity.try_into())?;
            Ok(StockLine { sku, quantity })
        };
        let lines: Vec<StockLine> =
            raw.lines.into_iter().enumerate().map(line).collect::<Result<_, Error>>()?;
        Ok(Self {
            carrier: field("carrier", raw.carrier.try_into())?,
            tracking_number: field("tracking_number", raw.tracking_number.try_into())?,
            lines: (!lines.is_empty()).then_some(lines),
        })
    }
}

impl TryFrom<proto::RecordShipmentEventRequest> for NewEvent {
    type Error = Error;

    fn try_from(raw: proto::RecordShipmentEventRequest) -> Result<Self, Error> {
        let kind = match raw.kind() {
            proto::ParcelEvent::Unspecified => None,
            proto::ParcelEvent::Dispatched => Some(ParcelEvent::Dispatched),
            proto::ParcelEvent::Delivered => Some(ParcelEvent::Delivered),
        };
        Ok(Self {
            kind: chosen("kind", kind)?,
            at: raw.at.map(moment).transpose()?,
            event_id: field("event_id", raw.event_id.try_into())?,
        })
    }
}
