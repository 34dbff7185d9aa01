//! `OrderService`: what the caller bought, and how it is called off.

use domain::OrderId;
use tonic::{Request, Response, Status};

use super::{
    Face, named,
    proto::{
        CancelOrderRequest, GetOrderRequest, ListOrdersRequest, Order, OrderPage,
        order_service_server::OrderService,
    },
    wanted,
};
use crate::service::request::wait;

#[tonic::async_trait]
impl OrderService for Face {
    async fn list(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<OrderPage>, Status> {
        let caller = self.caller(request.metadata())?;
        let ListOrdersRequest { cursor, limit } = request.into_inner();
        let wanted = wanted(cursor.as_deref(), limit)?;
        Ok(Response::new(self.0.orders(caller, wanted).await?.into()))
    }

    async fn get(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let caller = self.caller(request.metadata())?;
        let id: OrderId = named(&request.into_inner().id)?;
        Ok(Response::new(self.0.order(caller, id).await?.into()))
    }

    async fn cancel(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<Order>, Status> {
        let caller = self.caller(request.metadata())?;
        let CancelOrderRequest { id, wait_seconds } = request.into_inner();
        let id: OrderId = named(&id)?;
        let wait = wait(wait_seconds.map(u64::from));
        Ok(Response::new(self.0.order_cancel(caller, id, wait).await?.into()))
    }
}
