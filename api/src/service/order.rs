//! Orders, for those who placed them and those who ship them.

use domain::{CustomerId, OrderId};
use store::{
    Position,
    order::read::{OrderDetail, OrderSummary, Recipient},
    shipment::Shipment,
};

use super::{
    Service,
    page::{Page, Wanted},
    request::Address,
};
use crate::error::Error;

/// An order, and who gets it.
pub(crate) struct OrderToShip {
    pub(crate) order: (OrderDetail, Vec<Shipment>),
    pub(crate) customer_id: CustomerId,
    pub(crate) email: String,
    pub(crate) shipping_address: Address,
}

impl Service {
    /// The caller's orders, newest first.
    pub(crate) async fn orders(
        &self,
        caller: CustomerId,
        wanted: Wanted,
    ) -> Result<Page<OrderSummary>, Error> {
        let mut conn = self.connection().await?;
        let orders =
            store::order::read::list(&mut conn, caller, wanted.after, wanted.rows()).await?;
        Ok(wanted.page(orders, |order| Position { at: order.created_at, id: order.id.uuid() }))
    }

    pub(crate) async fn order(
        &self,
        caller: CustomerId,
        order_id: OrderId,
    ) -> Result<(OrderDetail, Vec<Shipment>), Error> {
        let mut conn = self.connection().await?;
        let order = store::order::read::find(&mut conn, Some(caller), order_id).await?;
        let order = order.ok_or(Error::NotFound)?;
        Ok((order, store::shipment::of_order(&mut conn, order_id).await?))
    }

    /// Any customer's order, with what it takes to ship it.
    pub(crate) async fn order_to_ship(&self, order_id: OrderId) -> Result<OrderToShip, Error> {
        let mut conn = self.connection().await?;
        let order = store::order::read::find(&mut conn, None, order_id).await?;
        let recipient = store::order::read::recipient(&mut conn, order_id).await?;
        let (order, recipient) = order.zip(recipient).ok_or(Error::NotFound)?;
        let shipments = store::shipment::of_order(&mut conn, order_id).await?;
        let Recipient { customer_id, email, shipping_address } = recipient;
        let shipping_address =
            serde_json::from_value(shipping_address).map_err(|e| Error::Internal(e.into()))?;
        Ok(OrderToShip { order: (order, shipments), customer_id, email, shipping_address })
    }
}
