//! `/v1/admin/orders/{id}/shipments` and `/v1/webhooks/carriers`: parcels, by those who send them and
//! those who carry them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use domain::{
    Carrier, CarrierEventId, OrderId, ParcelEvent, Quantity, ShipmentId, Sku, StockLine,
    TrackingNumber,
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    extract::{self, Body, ByOperator, Named, RawBody},
    view::shipment::{ShipmentBody, ShipmentsBody},
};
use crate::{
    error::{Error, IDEMPOTENCY_REPLAYED, Problem},
    service::{
        Service,
        shipment::{NewEvent, NewShipment},
    },
};

/// A parcel to send.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewShipment)]
pub(super) struct NewShipmentBody {
    #[schema(value_type = String, pattern = "^[a-z0-9_-]{1,32}$", example = "dhl")]
    carrier: Carrier,
    /// The carrier's name for the parcel: sent again, it is the same shipment.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$")]
    tracking_number: TrackingNumber,
    /// What is in it; without, everything that is in no shipment yet.
    #[schema(min_items = 1, max_items = 100)]
    lines: Option<Vec<NewShipmentLine>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewShipmentLine {
    #[schema(value_type = String)]
    sku: Sku,
    #[schema(value_type = i64, minimum = 1, maximum = 999)]
    quantity: Quantity,
}

/// What is known of a parcel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewShipmentEvent)]
pub(super) struct NewEventBody {
    /// New for each event of the carrier, and the same when it is sent again.
    #[schema(value_type = String, max_length = 128)]
    event_id: CarrierEventId,
    #[schema(value_type = String, pattern = "^(dispatched|delivered)$", example = "dispatched")]
    kind: ParcelEvent,
    /// When it happened; now, if it is not said.
    at: Option<DateTime<Utc>>,
}

/// What a carrier tells. Further members are ignored.
#[derive(Deserialize, ToSchema)]
#[schema(as = CarrierEvent)]
pub(super) struct CarrierEventBody {
    /// The same in every delivery of this event.
    #[schema(value_type = String, max_length = 128)]
    event_id: CarrierEventId,
    #[schema(value_type = String)]
    tracking_number: TrackingNumber,
    #[schema(value_type = String, pattern = "^(dispatched|delivered)$", example = "delivered")]
    kind: ParcelEvent,
    at: DateTime<Utc>,
}

/// Sends a part of an order, or all that is left of it.
#[utoipa::path(
    post,
    path = "/v1/admin/orders/{id}/shipments",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which order")),
    request_body = NewShipmentBody,
    responses(
        (status = 201, description = "The new shipment", body = ShipmentBody),
        (status = 200, description = "The shipment that has this tracking number already", body = ShipmentBody, headers(("Idempotency-Replayed" = String))),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, not_found, invalid_state (state), not_left_to_ship (lines), tracking_number_reused, too_many_shipments, payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: send the same request again", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn create(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(order_id): Named<OrderId>,
    Body(NewShipmentBody { carrier, tracking_number, lines }): Body<NewShipmentBody>,
) -> Result<Response, Error> {
    let line = |NewShipmentLine { sku, quantity }| StockLine { sku, quantity };
    let lines = lines.map(|lines| lines.into_iter().map(line).collect());
    let new = NewShipment { carrier, tracking_number, lines };
    let (shipment, replayed) = service.ship(&operator, order_id, new).await?;
    let body = Json(ShipmentBody::from(shipment));
    Ok(if replayed {
        ([(IDEMPOTENCY_REPLAYED, "true")], body).into_response()
    } else {
        (StatusCode::CREATED, body).into_response()
    })
}

/// The shipments of an order.
#[utoipa::path(
    get,
    path = "/v1/admin/orders/{id}/shipments",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which order")),
    responses(
        (status = 200, description = "All of them, oldest first", body = ShipmentsBody),
        (status = "4XX", description = "unauthenticated, forbidden, not_found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(service): State<Service>,
    ByOperator(_): ByOperator,
    Named(order_id): Named<OrderId>,
) -> Result<Json<ShipmentsBody>, Error> {
    let shipments = service.shipments(order_id).await?;
    Ok(Json(ShipmentsBody { shipments: shipments.into_iter().map(Into::into).collect() }))
}

/// Says what is known of a parcel, in its carrier's stead.
#[utoipa::path(
    post,
    path = "/v1/admin/shipments/{id}/events",
    tag = "operators",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Which shipment")),
    request_body = NewEventBody,
    responses(
        (status = 200, description = "The shipment as it stands after it", body = ShipmentBody, headers(("Idempotency-Replayed" = Option<String>, description = "`true` if this event was told before"))),
        (status = 202, description = "It is kept, and will be applied; the shipment as it stands now", body = ShipmentBody, headers(("Idempotency-Replayed" = Option<String>, description = "`true` if this event was told before"))),
        (status = "4XX", description = "malformed, unauthenticated, forbidden, not_found, event_id_reused, payload_too_large, unsupported_media_type, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn event(
    State(service): State<Service>,
    ByOperator(operator): ByOperator,
    Named(id): Named<ShipmentId>,
    Body(NewEventBody { event_id, kind, at }): Body<NewEventBody>,
) -> Result<Response, Error> {
    let event = NewEvent { event_id, kind, at };
    let recorded = service.shipment_event(&operator, id, event).await?;
    let status = if recorded.applied { StatusCode::OK } else { StatusCode::ACCEPTED };
    let body = Json(ShipmentBody::from(recorded.shipment));
    Ok(if recorded.replayed {
        (status, [(IDEMPOTENCY_REPLAYED, "true")], body).into_response()
    } else {
        (status, body).into_response()
    })
}

/// Takes in what a carrier says of a parcel. Told again, or in another order, it changes nothing.
#[utoipa::path(
    post,
    path = "/v1/webhooks/carriers/{carrier}",
    tag = "webhooks",
    params(
        ("carrier" = String, Path, description = "Who says so"),
        ("Carrier-Signature" = String, Header, description = "`t=<seconds since 1970>,v1=<hexadecimal HMAC-SHA256 over t, a dot and the body>`, at most 300 s old"),
    ),
    request_body = CarrierEventBody,
    responses(
        (status = 204, description = "It is kept, for good"),
        (status = "4XX", description = "invalid_signature, malformed, not_found, payload_too_large, validation_failed (errors)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "unavailable: nothing was kept, send it again", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64))),
    )
)]
pub(super) async fn hear(
    State(service): State<Service>,
    Named(carrier): Named<Carrier>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<StatusCode, Error> {
    let signature = headers.get("carrier-signature").and_then(|value| value.to_str().ok());
    service.verify_carrier(&carrier, signature.unwrap_or_default(), &body)?;
    let CarrierEventBody { event_id, tracking_number, kind, at } = extract::parse(&body)?;
    service.hear_carrier(carrier, tracking_number, event_id, kind, at).await?;
    Ok(StatusCode::NO_CONTENT)
}
