//! Refunds in the provider's JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Unreadable, expect_object, json, money, page, word};
use crate::{ListedRefund, Page, Refund, RefundStatus};

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

/// As much as any refund has, of whatever money.
#[derive(Deserialize)]
struct RawListedRefund {
    object: String,
    id: String,
    created: i64,
    payment_intent: Option<String>,
    amount: i64,
    currency: String,
    status: Option<String>,
    #[serde(default)]
    metadata: Value,
}

pub(crate) fn refund(body: &[u8]) -> Result<Refund, Unreadable> {
    json::<RawRefund>(body)?.try_into()
}

pub(crate) fn refunds(body: &[u8]) -> Result<Page<Refund>, Unreadable> {
    page::<RawRefund, Refund>(body)
}

pub(crate) fn listed_refunds(body: &[u8]) -> Result<Page<ListedRefund>, Unreadable> {
    page::<RawListedRefund, ListedRefund>(body)
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

impl TryFrom<RawListedRefund> for ListedRefund {
    type Error = Unreadable;

    fn try_from(raw: RawListedRefund) -> Result<Self, Unreadable> {
        expect_object(&raw.object, "refund")?;
        Ok(Self {
            id: raw.id.try_into().map_err(Unreadable::because)?,
            created_unix_s: raw.created,
            intent: raw.payment_intent.and_then(|id| id.try_into().ok()),
            amount_minor: raw.amount,
            currency: word(raw.currency),
            undone: matches!(raw.status.as_deref(), Some("failed" | "canceled")),
            reference: raw.metadata["reference"].as_str().map(str::to_owned),
        })
    }
}
