//! The fulfilment steps: a parcel made, followed and called off, and a call for people.

use std::sync::Arc;

use store::{
    PgPool,
    shipment::{self, CalledOff, Made, NewShipment, Shipment},
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::shipping::{
    self, AttentionInput, CallOffInput, CallOffOutcome, Parcel, ShipInput, ShipOutcome,
    ShipRefusal, TrackInput, TrackOutcome,
};

use crate::{failure, heartbeat};

/// The parcels of orders.
pub struct Fulfilment {
    pool: PgPool,
}

impl Fulfilment {
    /// Parcels of orders kept in this database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn make_shipment(&self, input: ShipInput) -> Result<ShipOutcome, store::Error> {
        let ShipInput { order_id, plan } = input;
        let new = NewShipment {
            order_id,
            carrier: &plan.carrier,
            tracking_number: &plan.tracking_number,
            lines: plan.lines.as_deref(),
            actor: plan.actor.as_deref(),
        };
        let mut tx = self.pool.begin().await?;
        let made = shipment::make(&mut tx, new).await?;
        tx.commit().await?;
        let refusal = match made {
            Made::Shipment { shipment, order, created } => {
                return Ok(ShipOutcome::Shipped { parcel: parcel(shipment), order, created });
            }
            Made::State(state) => ShipRefusal::State { state },
            Made::NotLeft(lines) => ShipRefusal::NotLeft { lines },
            Made::TrackingNumberReused => ShipRefusal::TrackingNumberReused,
            Made::TooMany => ShipRefusal::TooMany,
        };
        Ok(ShipOutcome::Refused { refusal })
    }

    async fn track_shipment(&self, input: TrackInput) -> Result<TrackOutcome, store::Error> {
        let TrackInput { order_id, event } = input;
        let mut tx = self.pool.begin().await?;
        let tracked = shipment::track(&mut tx, order_id, &event.carrier, &event.event_id).await?;
        tx.commit().await?;
        Ok(match tracked {
            Some((shipment, order)) => TrackOutcome::Tracked { parcel: parcel(shipment), order },
            None => TrackOutcome::NotOurs,
        })
    }

    async fn call_off_shipments(
        &self,
        input: CallOffInput,
    ) -> Result<CallOffOutcome, store::Error> {
        let mut tx = self.pool.begin().await?;
        let called_off = shipment::call_off(&mut tx, input.order_id).await?;
        tx.commit().await?;
        Ok(match called_off {
            CalledOff::Yes => CallOffOutcome::CalledOff,
            CalledOff::Left { order, shipments } => CallOffOutcome::GoesOn {
                order,
                parcels: shipments.into_iter().map(parcel).collect(),
            },
        })
    }

    async fn call_for_people(&self, input: AttentionInput) -> Result<(), store::Error> {
        let mut tx = self.pool.begin().await?;
        shipment::call_attention(&mut tx, input.order_id, input.shipment_id).await?;
        Ok(tx.commit().await?)
    }
}

fn parcel(shipment: Shipment) -> Parcel {
    let Shipment { id, carrier, tracking_number, state, .. } = shipment;
    Parcel { id, carrier, tracking_number, state }
}

#[activities]
impl Fulfilment {
    #[activity(definition = shipping::Ship)]
    pub async fn ship(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ShipInput,
    ) -> Result<ShipOutcome, ActivityError> {
        heartbeat::during(&ctx, self.make_shipment(input)).await.map_err(failure::database)
    }

    #[activity(definition = shipping::Track)]
    pub async fn track(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: TrackInput,
    ) -> Result<TrackOutcome, ActivityError> {
        heartbeat::during(&ctx, self.track_shipment(input)).await.map_err(failure::database)
    }

    #[activity(definition = shipping::CallOff)]
    pub async fn call_off(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CallOffInput,
    ) -> Result<CallOffOutcome, ActivityError> {
        heartbeat::during(&ctx, self.call_off_shipments(input)).await.map_err(failure::database)
    }

    #[activity(definition = shipping::Attention)]
    pub async fn attention(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: AttentionInput,
    ) -> Result<(), ActivityError> {
        heartbeat::during(&ctx, self.call_for_people(input)).await.map_err(failure::database)
    }
}
