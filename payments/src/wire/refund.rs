//! Refunds in the provider's JSON.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Page, Unreadable, expect_object, json, money, page, word};
use crate::{Refund, RefundStatus};

#[derive(Deserialize)]
struct RawRefund {
    object: String,
    id: String,
    amount: i64,
    currency: String,
    payment_intent: String,
    status: RawRefundStatus,
    failure_reason: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawRefundStatus {
    Pending,
    RequiresAction,
    Succeeded,
    Failed,
    Canceled,
}

pub(crate) fn refund(body: &[u8]) -> Result<Refund, Unreadable> {
    json::<RawRefund>(body)?.try_into()
}

pub(crate) fn refunds(body: &[u8]) -> Result<Page<Refund>, Unreadable> {
    page::<RawRefund, Refund>(body)
}

impl TryFrom<RawRefund> for Refund {
    type Error = Unreadable;

    fn try_from(mut raw: RawRefund) -> Result<Self, Unreadable> {
        expect_object(&raw.object, "refund")?;
        let status = match raw.status {
            RawRefundStatus::Pending => RefundStatus::Pending,
            RawRefundStatus::RequiresAction => RefundStatus::RequiresAction,
            RawRefundStatus::Succeeded => RefundStatus::Succeeded,
            RawRefundStatus::Failed => RefundStatus::Failed,
            RawRefundStatus::Canceled => RefundStatus::Canceled,
        };
        Ok(Self {
            id: raw.id.try_into().map_err(Unreadable::because)?,
            intent: raw.payment_intent.try_into().map_err(Unreadable::because)?,
            amount: money(raw.amount, &raw.currency)?,
            status,
            reference: raw.metadata.remove("reference"),
            failure_reason: raw.failure_reason.map(word),
        })
    }
}
