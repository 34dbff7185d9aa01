//! `CheckoutService`: started, followed, paid and called off.

use std::pin::Pin;

use domain::CheckoutId;
use futures::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::{
    Face, answer, field, idempotency_key, named,
    proto::{
        CancelRequest, Checkout, GetRequest, StartRequest, SubmitPaymentRequest, WatchRequest,
        checkout_service_server::CheckoutService,
    },
    refusal,
};
use crate::{error::Error, service::request::wait};

#[tonic::async_trait]
impl CheckoutService for Face {
    async fn start(&self, request: Request<StartRequest>) -> Result<Response<Checkout>, Status> {
        let caller = self.caller(request.metadata())?;
        let key = idempotency_key(request.metadata())?.ok_or(Error::IdempotencyKeyMissing)?;
        let message = request.into_inner();
        let wait = wait(message.wait_seconds.map(u64::from));
        let asked = self.0.checkout_start(caller, &key, message.try_into()?, wait).await?;
        let replayed = asked.replayed;
        match asked.checkout.sold() {
            Ok(checkout) => Ok(answer(checkout, replayed)),
            Err(error) => Err(refusal(error, replayed)),
        }
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Checkout>, Status> {
        let caller = self.caller(request.metadata())?;
        let id: CheckoutId = named(&request.into_inner().id)?;
        Ok(Response::new(self.0.checkout(caller, id).await?.into()))
    }

    async fn submit_payment(
        &self,
        request: Request<SubmitPaymentRequest>,
    ) -> Result<Response<Checkout>, Status> {
        let caller = self.caller(request.metadata())?;
        let key = idempotency_key(request.metadata())?;
        let SubmitPaymentRequest { id, method, wait_seconds } = request.into_inner();
        let id: CheckoutId = named(&id)?;
        let method = field("method", method.try_into())?;
        let wait = wait(wait_seconds.map(u64::from));
        Ok(Response::new(self.0.checkout_pay(caller, id, method, key.as_ref(), wait).await?.into()))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<Checkout>, Status> {
        let caller = self.caller(request.metadata())?;
        let CancelRequest { id, wait_seconds } = request.into_inner();
        let id: CheckoutId = named(&id)?;
        let wait = wait(wait_seconds.map(u64::from));
        Ok(Response::new(self.0.checkout_cancel(caller, id, wait).await?.into()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<Checkout, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.caller(request.metadata())?;
        let id: CheckoutId = named(&request.into_inner().id)?;
        let changes = self.0.checkout_watch(caller, id).await?;
        Ok(Response::new(Box::pin(changes.map(|change| Ok(change?.into())))))
    }
}
