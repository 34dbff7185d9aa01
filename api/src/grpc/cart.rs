//! `CartService`: the caller's own cart.

use tonic::{Request, Response, Status};

use super::{
    Face, field,
    proto::{
        AddItemRequest, Cart, GetCartRequest, RemoveItemRequest, SetItemRequest,
        cart_service_server::CartService,
    },
};
use crate::service::cart::Place;

#[tonic::async_trait]
impl CartService for Face {
    async fn get_cart(&self, request: Request<GetCartRequest>) -> Result<Response<Cart>, Status> {
        let caller = self.caller(request.metadata())?;
        Ok(Response::new(self.0.cart(caller).await?.into()))
    }

    async fn add_item(&self, request: Request<AddItemRequest>) -> Result<Response<Cart>, Status> {
        let caller = self.caller(request.metadata())?;
        let AddItemRequest { sku, quantity, expected_version } = request.into_inner();
        let (sku, quantity) =
            (field("sku", sku.try_into())?, field("quantity", quantity.try_into())?);
        let expected = expected_version.as_ref().map(std::slice::from_ref);
        Ok(Response::new(self.0.cart_add(caller, expected, sku, quantity).await?.into()))
    }

    async fn set_item(&self, request: Request<SetItemRequest>) -> Result<Response<Cart>, Status> {
        let caller = self.caller(request.metadata())?;
        let SetItemRequest { sku, quantity, expected_version } = request.into_inner();
        let (sku, quantity) =
            (field("sku", sku.try_into())?, field("quantity", quantity.try_into())?);
        let expected = expected_version.as_ref().map(std::slice::from_ref);
        Ok(Response::new(
            self.0.cart_set(caller, expected, sku, quantity, Place::Body).await?.into(),
        ))
    }

    async fn remove_item(
        &self,
        request: Request<RemoveItemRequest>,
    ) -> Result<Response<Cart>, Status> {
        let caller = self.caller(request.metadata())?;
        let RemoveItemRequest { sku, expected_version } = request.into_inner();
        let expected = expected_version.as_ref().map(std::slice::from_ref);
        let sku = field("sku", sku.try_into())?;
        Ok(Response::new(self.0.cart_remove(caller, expected, sku).await?.into()))
    }
}
