//! `AdminService`: for operators.

use domain::{CaseId, CheckoutId, DeliveryId, OrderId, ShipmentId, Sku, WebhookEndpointId};
use tonic::{Request, Response, Status};

use super::{
    Face, answer,
    convert::{self, books::stock_level, case, moment, webhook},
    named, proto,
    proto::admin_service_server::AdminService,
    wanted,
};
use crate::service::{
    admin::NewReceipt,
    refund::NewRefund,
    request::wait,
    restock::NewRestock,
    shipment::{NewEvent, NewShipment, Recorded},
};

#[tonic::async_trait]
impl AdminService for Face {
    async fn get_inventory(
        &self,
        request: Request<proto::GetInventoryRequest>,
    ) -> Result<Response<proto::StockLevel>, Status> {
        self.operator(request.metadata())?;
        let sku: Sku = named(&request.into_inner().sku)?;
        let level = self.0.level(&sku).await?;
        Ok(Response::new(stock_level(sku, level)))
    }

    async fn book_receipt(
        &self,
        request: Request<proto::BookReceiptRequest>,
    ) -> Result<Response<proto::StockLevel>, Status> {
        let operator = self.operator(request.metadata())?;
        let proto::BookReceiptRequest { sku, quantity, reason, reference } = request.into_inner();
        let sku: Sku = named(&sku)?;
        let receipt = NewReceipt { quantity, reason, reference };
        let (level, replayed) = self.0.receive(&operator, &sku, receipt).await?;
        Ok(answer(stock_level(sku, level), replayed))
    }

    async fn check_invariants(
        &self,
        request: Request<proto::CheckInvariantsRequest>,
    ) -> Result<Response<proto::Audit>, Status> {
        self.operator(request.metadata())?;
        Ok(Response::new(self.0.audit().await?.into()))
    }

    async fn get_order(
        &self,
        request: Request<proto::GetOrderRequest>,
    ) -> Result<Response<proto::OrderToShip>, Status> {
        self.operator(request.metadata())?;
        let id: OrderId = named(&request.into_inner().id)?;
        Ok(Response::new(self.0.order_to_ship(id).await?.into()))
    }

    async fn get_timeline(
        &self,
        request: Request<proto::GetTimelineRequest>,
    ) -> Result<Response<proto::Timeline>, Status> {
        self.operator(request.metadata())?;
        let proto::GetTimelineRequest { order_id, at } = request.into_inner();
        let order_id: OrderId = named(&order_id)?;
        let at = at.map(moment).transpose()?;
        Ok(Response::new(self.0.timeline(order_id, at).await?.into()))
    }

    async fn resolve_checkout(
        &self,
        request: Request<proto::ResolveCheckoutRequest>,
    ) -> Result<Response<proto::ResolvedCheckout>, Status> {
        let operator = self.operator(request.metadata())?;
        let message = request.into_inner();
        let id: CheckoutId = named(&message.checkout_id)?;
        let action = convert::resolution(message.action())?;
        let state = self.0.resolve(&operator, id, action, &message.reason).await?;
        let state = proto::CheckoutState::from(state).into();
        Ok(Response::new(proto::ResolvedCheckout { checkout_id: id.to_string(), state }))
    }

    async fn create_refund(
        &self,
        request: Request<proto::CreateRefundRequest>,
    ) -> Result<Response<proto::Refund>, Status> {
        let operator = self.operator(request.metadata())?;
        let message = request.into_inner();
        let order_id: OrderId = named(&message.order_id)?;
        let wait = wait(message.wait_seconds.map(u64::from));
        let new = NewRefund::try_from(message)?;
        let (refund, replayed) = self.0.refund(&operator, order_id, new, wait).await?;
        Ok(answer(refund, replayed))
    }

    async fn list_refunds(
        &self,
        request: Request<proto::ListRefundsRequest>,
    ) -> Result<Response<proto::Refunds>, Status> {
        self.operator(request.metadata())?;
        let order_id: OrderId = named(&request.into_inner().order_id)?;
        Ok(Response::new(self.0.refunds(order_id).await?.into()))
    }

    async fn restock(
        &self,
        request: Request<proto::RestockRequest>,
    ) -> Result<Response<proto::Restocked>, Status> {
        let operator = self.operator(request.metadata())?;
        let message = request.into_inner();
        let order_id: OrderId = named(&message.order_id)?;
        let new = NewRestock::try_from(message)?;
        let replayed = self.0.restock(&operator, order_id, &new).await?;
        Ok(answer((order_id, new), replayed))
    }

    async fn create_shipment(
        &self,
        request: Request<proto::CreateShipmentRequest>,
    ) -> Result<Response<proto::Shipment>, Status> {
        let operator = self.operator(request.metadata())?;
        let message = request.into_inner();
        let order_id: OrderId = named(&message.order_id)?;
        let new = NewShipment::try_from(message)?;
        let (shipment, replayed) = self.0.ship(&operator, order_id, new).await?;
        Ok(answer(shipment, replayed))
    }

    async fn list_shipments(
        &self,
        request: Request<proto::ListShipmentsRequest>,
    ) -> Result<Response<proto::Shipments>, Status> {
        self.operator(request.metadata())?;
        let order_id: OrderId = named(&request.into_inner().order_id)?;
        let shipments = self.0.shipments(order_id).await?;
        let shipments = shipments.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::Shipments { shipments }))
    }

    async fn record_shipment_event(
        &self,
        request: Request<proto::RecordShipmentEventRequest>,
    ) -> Result<Response<proto::RecordedShipmentEvent>, Status> {
        let operator = self.operator(request.metadata())?;
        let message = request.into_inner();
        let id: ShipmentId = named(&message.shipment_id)?;
        let event = NewEvent::try_from(message)?;
        let Recorded { shipment, applied, replayed } =
            self.0.shipment_event(&operator, id, event).await?;
        let shipment = Some(shipment.into());
        Ok(answer(proto::RecordedShipmentEvent { shipment, applied }, replayed))
    }

    async fn list_cases(
        &self,
        request: Request<proto::ListCasesRequest>,
    ) -> Result<Response<proto::Cases>, Status> {
        self.operator(request.metadata())?;
        let proto::ListCasesRequest { state, cursor, limit } = request.into_inner();
        let wanted = wanted(cursor.as_deref(), limit)?;
        Ok(Response::new(self.0.cases(case::state(state)?, wanted).await?.into()))
    }

    async fn get_case(
        &self,
        request: Request<proto::GetCaseRequest>,
    ) -> Result<Response<proto::Case>, Status> {
        self.operator(request.metadata())?;
        let id: CaseId = named(&request.into_inner().id)?;
        Ok(Response::new(self.0.case(id).await?.into()))
    }

    async fn resolve_case(
        &self,
        request: Request<proto::ResolveCaseRequest>,
    ) -> Result<Response<proto::Case>, Status> {
        let operator = self.operator(request.metadata())?;
        let proto::ResolveCaseRequest { id, reason } = request.into_inner();
        let id: CaseId = named(&id)?;
        Ok(Response::new(self.0.resolve_case(&operator, id, &reason).await?.into()))
    }

    async fn start_reconciliation(
        &self,
        request: Request<proto::StartReconciliationRequest>,
    ) -> Result<Response<proto::StartedReconciliation>, Status> {
        let operator = self.operator(request.metadata())?;
        self.0.reconcile(&operator).await?;
        Ok(Response::new(proto::StartedReconciliation {}))
    }

    async fn register_webhook_endpoint(
        &self,
        request: Request<proto::RegisterWebhookEndpointRequest>,
    ) -> Result<Response<proto::WebhookEndpoint>, Status> {
        let operator = self.operator(request.metadata())?;
        let proto::RegisterWebhookEndpointRequest { url, topics } = request.into_inner();
        let (endpoint, secret) = self.0.register_endpoint(&operator, &url, topics).await?;
        Ok(Response::new(webhook::endpoint(endpoint, Some(secret))))
    }

    async fn list_webhook_endpoints(
        &self,
        request: Request<proto::ListWebhookEndpointsRequest>,
    ) -> Result<Response<proto::WebhookEndpoints>, Status> {
        self.operator(request.metadata())?;
        Ok(Response::new(self.0.endpoints().await?.into()))
    }

    async fn remove_webhook_endpoint(
        &self,
        request: Request<proto::RemoveWebhookEndpointRequest>,
    ) -> Result<Response<proto::RemovedWebhookEndpoint>, Status> {
        let operator = self.operator(request.metadata())?;
        let id: WebhookEndpointId = named(&request.into_inner().id)?;
        self.0.remove_endpoint(&operator, id).await?;
        Ok(Response::new(proto::RemovedWebhookEndpoint {}))
    }

    async fn list_deliveries(
        &self,
        request: Request<proto::ListDeliveriesRequest>,
    ) -> Result<Response<proto::Deliveries>, Status> {
        self.operator(request.metadata())?;
        let proto::ListDeliveriesRequest { state, cursor, limit } = request.into_inner();
        let wanted = wanted(cursor.as_deref(), limit)?;
        Ok(Response::new(self.0.deliveries(webhook::state(state)?, wanted).await?.into()))
    }

    async fn retry_delivery(
        &self,
        request: Request<proto::RetryDeliveryRequest>,
    ) -> Result<Response<proto::Delivery>, Status> {
        let operator = self.operator(request.metadata())?;
        let id: DeliveryId = named(&request.into_inner().id)?;
        Ok(Response::new(self.0.retry_delivery(&operator, id).await?.into()))
    }
}
