//! Shipments: sent by operators through the order's fulfilment, and followed by what carriers say.
//!
//! A carrier's event is in the books before anybody is answered; the workers tell the fulfilment of it,
//! whether or not this process lives to see that.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Carrier, CarrierEventId, LINES_MAX, OrderId, OrderState, ParcelEvent, ShipmentId, Sku,
    StockLine, TrackingNumber,
};
use store::{
    carrier::{self, CarrierEvent, Kept},
    order,
    shipment::{self, Shipment},
};
use workflows::contract::shipping::{CarrierEventName, ShipOutcome, ShipRefusal, ShipmentPlan};

use super::Service;
use crate::{
    auth::Operator,
    carrier_secrets::Rejected,
    error::{Error, FieldError, Unshipped},
};

/// The first second that an event may have happened in: the year 2000.
const EVENT_AT_MIN: i64 = 946_684_800;
/// How far ahead of ours a carrier's clock may be.
const EVENT_AHEAD_HOURS_MAX: i64 = 24;

/// A parcel as an operator sends it.
pub(crate) struct NewShipment {
    pub(crate) carrier: Carrier,
    pub(crate) tracking_number: TrackingNumber,
    /// What is in it; without, everything that is in no shipment yet.
    pub(crate) lines: Option<Vec<StockLine>>,
}

/// What an operator says of a parcel.
pub(crate) struct NewEvent {
    pub(crate) event_id: CarrierEventId,
    pub(crate) kind: ParcelEvent,
    /// Now, if it is not said.
    pub(crate) at: Option<DateTime<Utc>>,
}

/// An event that was kept.
pub(crate) struct Recorded {
    /// Its parcel as it stands now.
    pub(crate) shipment: Shipment,
    /// Whether the fulfilment knows of it. If not, a worker will see to it.
    pub(crate) applied: bool,
    /// Whether it was kept before.
    pub(crate) replayed: bool,
}

impl Service {
    /// Makes a shipment, and whether it was there before.
    pub(crate) async fn ship(
        &self,
        operator: &Operator,
        order_id: OrderId,
        NewShipment { carrier, tracking_number, lines }: NewShipment,
    ) -> Result<(Shipment, bool), Error> {
        if let Some(lines) = &lines {
            lines_fit(lines)?;
        }
        let actor = Some(operator.as_str().to_owned());
        let plan = ShipmentPlan { carrier, tracking_number, lines, actor };
        let mut conn = self.connection().await?;
        let state = order::state(&mut conn, order_id).await?.ok_or(Error::NotFound)?;
        let known = shipment::of_parcel(&mut conn, &plan.carrier, &plan.tracking_number).await?;
        if let Some(shipment) = known {
            // Its fulfilment may be over.
            return if shipment.holds(order_id, plan.lines.as_deref()) {
                Ok((shipment, true))
            } else {
                Err(Error::Shipping(Unshipped::TrackingNumberReused))
            };
        }
        if !matches!(state, OrderState::Paid | OrderState::PartiallyShipped | OrderState::Shipped) {
            return Err(Error::Shipping(Unshipped::State { state }));
        }
        // Its money is on its way back, which is as good as gone.
        if order::called_off(&mut conn, order_id).await? {
            return Err(Error::Shipping(Unshipped::State { state: OrderState::Refunded }));
        }
        // Others may need it while the fulfilment is told.
        drop(conn);
        match self.0.engine.plan_shipment(order_id, plan).await? {
            ShipOutcome::Shipped { parcel, created, .. } => {
                if created {
                    let operator = operator.as_str();
                    tracing::info!(order.id = %order_id, shipment.id = %parcel.id, operator, "{} of {order_id} made", parcel.id);
                }
                Ok((self.shipment(parcel.id).await?, !created))
            }
            ShipOutcome::Refused { refusal } => Err(Error::Shipping(match refusal {
                ShipRefusal::State { state } => Unshipped::State { state },
                ShipRefusal::NotLeft { lines } => Unshipped::NotLeft { lines },
                ShipRefusal::TrackingNumberReused => Unshipped::TrackingNumberReused,
                ShipRefusal::TooMany => Unshipped::TooMany,
            })),
            ShipOutcome::Broken { detail } => Err(Error::Internal(anyhow::anyhow!(detail))),
        }
    }

    /// The shipments of any order.
    pub(crate) async fn shipments(&self, order_id: OrderId) -> Result<Vec<Shipment>, Error> {
        let mut conn = self.connection().await?;
        order::state(&mut conn, order_id).await?.ok_or(Error::NotFound)?;
        Ok(shipment::of_order(&mut conn, order_id).await?)
    }

    /// Keeps what an operator says of a parcel, and tells its fulfilment.
    pub(crate) async fn shipment_event(
        &self,
        operator: &Operator,
        id: ShipmentId,
        NewEvent { event_id, kind, at }: NewEvent,
    ) -> Result<Recorded, Error> {
        let Shipment { order_id, carrier, tracking_number, .. } = self.shipment(id).await?;
        let at = at.unwrap_or_else(Utc::now);
        let name = CarrierEventName { carrier: carrier.clone(), event_id: event_id.clone() };
        let actor = Some(operator.as_str().to_owned());
        let event = CarrierEvent { carrier, event_id, tracking_number, kind, at, actor };
        let kept = self.keep(&event).await?;
        match kept {
            Kept::New => {
                let (kind, operator) = (kind.as_str(), operator.as_str());
                tracing::info!(shipment.id = %id, operator, "{id} is said to be {kind}");
            }
            Kept::Known => {}
            Kept::Other => return Err(Error::Shipping(Unshipped::EventIdReused)),
        }
        // It is in the books; if this fails, a worker does it.
        let mut applied = self.0.engine.carrier_event(order_id, name.clone()).await.is_ok();
        if !applied {
            // A fulfilment that is over has heard everything, as the worker knows that told it.
            let mut conn = self.connection().await?;
            applied = !carrier::waits(&mut conn, &name.carrier, &name.event_id).await?;
        }
        let shipment = self.shipment(id).await?;
        Ok(Recorded { shipment, applied, replayed: kept == Kept::Known })
    }

    /// Refuses what is not the carrier's own word.
    pub(crate) fn verify_carrier(
        &self,
        carrier: &Carrier,
        signature: &str,
        body: &[u8],
    ) -> Result<(), Error> {
        let now = Utc::now().timestamp();
        self.0.carrier_secrets.verify(carrier, signature, body, now).map_err(|rejected| {
            match rejected {
                Rejected::UnknownCarrier => Error::NotFound,
                Rejected::Unsigned(_) => Error::InvalidSignature(rejected.to_string()),
            }
        })
    }

    /// Keeps what a carrier says of a parcel, whether or not we know the parcel.
    pub(crate) async fn hear_carrier(
        &self,
        carrier: Carrier,
        tracking_number: TrackingNumber,
        event_id: CarrierEventId,
        kind: ParcelEvent,
        at: DateTime<Utc>,
    ) -> Result<(), Error> {
        let event = CarrierEvent { carrier, event_id, tracking_number, kind, at, actor: None };
        if self.keep(&event).await? == Kept::Other {
            // Sending it again would not help, so the carrier is not told.
            let CarrierEvent { carrier, event_id, .. } = &event;
            tracing::warn!("{carrier} says something else now under the id {event_id}: ignored");
        }
        Ok(())
    }

    async fn keep(&self, event: &CarrierEvent) -> Result<Kept, Error> {
        let latest = Utc::now() + TimeDelta::hours(EVENT_AHEAD_HOURS_MAX);
        if event.at.timestamp() < EVENT_AT_MIN || event.at > latest {
            let detail = "not before the year 2000, and not more than a day ahead";
            return Err(Error::Invalid(vec![FieldError::at("/at", "out_of_range", detail)]));
        }
        let mut tx = self.0.db.begin().await.map_err(store::Error::from)?;
        let kept = carrier::keep(&mut tx, event).await?;
        tx.commit().await.map_err(store::Error::from)?;
        Ok(kept)
    }

    async fn shipment(&self, id: ShipmentId) -> Result<Shipment, Error> {
        let mut conn = self.connection().await?;
        shipment::find(&mut conn, id).await?.ok_or(Error::NotFound)
    }
}

fn lines_fit(lines: &[StockLine]) -> Result<(), Error> {
    let skus: BTreeSet<&Sku> = lines.iter().map(|line| &line.sku).collect();
    if (1..=LINES_MAX).contains(&lines.len()) && skus.len() == lines.len() {
        return Ok(());
    }
    let detail = format!("1 to {LINES_MAX} lines, each of another SKU");
    Err(Error::Invalid(vec![FieldError::at("/lines", "out_of_range", detail)]))
}
