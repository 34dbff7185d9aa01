//! `AdminService`: for operators.

use chrono::{DateTime, Utc};
use domain::{OrderId, Sku};
use store::{
    inventory::Level,
    law::{Audit, Breach},
    timeline::Entry,
};
use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::{
    Face,
    convert::timestamp,
    proto::{
        self, BookReceiptRequest, CheckInvariantsRequest, GetInventoryRequest, GetTimelineRequest,
        StockLevel, admin_service_server::AdminService,
    },
};
use crate::{
    error::{Error, FieldError, IDEMPOTENCY_REPLAYED},
    service::{admin::NewReceipt, timeline::Timeline},
};

#[tonic::async_trait]
impl AdminService for Face {
    async fn get_inventory(
        &self,
        request: Request<GetInventoryRequest>,
    ) -> Result<Response<StockLevel>, Status> {
        self.operator(request.metadata())?;
        let sku = named(&request.into_inner().sku)?;
        let level = self.0.level(&sku).await?;
        Ok(Response::new(stock_level(sku, level)))
    }

    async fn book_receipt(
        &self,
        request: Request<BookReceiptRequest>,
    ) -> Result<Response<StockLevel>, Status> {
        let operator = self.operator(request.metadata())?;
        let BookReceiptRequest { sku, quantity, reason, reference } = request.into_inner();
        let sku: Sku = named(&sku)?;
        let receipt = NewReceipt { quantity, reason, reference };
        let (level, replayed) = self.0.receive(&operator, &sku, receipt).await?;
        let mut response = Response::new(stock_level(sku, level));
        if replayed {
            let replayed = MetadataValue::from_static("true");
            response.metadata_mut().insert(IDEMPOTENCY_REPLAYED, replayed);
        }
        Ok(response)
    }

    async fn check_invariants(
        &self,
        request: Request<CheckInvariantsRequest>,
    ) -> Result<Response<proto::Audit>, Status> {
        self.operator(request.metadata())?;
        Ok(Response::new(self.0.audit().await?.into()))
    }

    async fn get_timeline(
        &self,
        request: Request<GetTimelineRequest>,
    ) -> Result<Response<proto::Timeline>, Status> {
        self.operator(request.metadata())?;
        let GetTimelineRequest { order_id, at } = request.into_inner();
        let order_id: OrderId = named(&order_id)?;
        let at = at.map(moment).transpose()?;
        Ok(Response::new(self.0.timeline(order_id, at).await?.into()))
    }
}

/// What cannot be a name names nothing.
fn named<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::NotFound)
}

/// The years that RFC 3339 can write, as over HTTP.
fn moment(at: prost_types::Timestamp) -> Result<DateTime<Utc>, Error> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let nanos = u32::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let moment = nanos
        .filter(|_| YEARS.contains(&at.seconds))
        .and_then(|nanos| DateTime::from_timestamp(at.seconds, nanos));
    moment.ok_or_else(|| {
        let detail = "a time in the years 1 to 9999";
        Error::Invalid(vec![FieldError::at("/at", "invalid_value", detail)])
    })
}

fn stock_level(sku: Sku, level: Level) -> StockLevel {
    let Level { received, available, reserved, sold } = level;
    StockLevel { sku: sku.into(), received, available, reserved, sold }
}

impl From<Audit> for proto::Audit {
    fn from(audit: Audit) -> Self {
        let breach =
            |Breach { claim, examples }| proto::Breach { claim: claim.to_owned(), examples };
        Self {
            lawful: audit.breaches.is_empty() && audit.unreachable.is_empty(),
            checked: audit.checked as u64,
            breaches: audit.breaches.into_iter().map(breach).collect(),
            unreachable: audit.unreachable,
        }
    }
}

impl From<Timeline> for proto::Timeline {
    fn from(timeline: Timeline) -> Self {
        let entry = |Entry { at, source, kind, detail }| proto::TimelineEntry {
            at: Some(timestamp(at)),
            source,
            kind,
            detail_json: detail.to_string(),
        };
        Self {
            order_id: timeline.order_id.to_string(),
            state: timeline.state.map(|state| state.as_str().to_owned()),
            entries: timeline.entries.into_iter().map(entry).collect(),
            unreachable: timeline.unreachable,
        }
    }
}
