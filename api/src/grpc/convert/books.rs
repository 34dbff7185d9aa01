//! What those who run the shop read: stock, the audit, and the story of an order.

use domain::Sku;
use store::{
    inventory::Level,
    law::{Audit, Breach},
    timeline::Entry,
};

use super::timestamp;
use crate::{grpc::proto, service::timeline::Timeline};

pub(in crate::grpc) fn stock_level(sku: Sku, level: Level) -> proto::StockLevel {
    let Level { received, available, reserved, sold } = level;
    proto::StockLevel { sku: sku.into(), received, available, reserved, sold }
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
