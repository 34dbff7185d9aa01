//! Money given back, and goods put on the shelf again.

use domain::{Money, OrderId, RefundState, Sku};
use store::refund::RefundRow;

use super::{stock_line, timestamp};
use crate::{
    error::Error,
    grpc::{field, proto},
    service::{refund::NewRefund, restock::NewRestock},
};

impl TryFrom<proto::CreateRefundRequest> for NewRefund {
    type Error = Error;

    fn try_from(raw: proto::CreateRefundRequest) -> Result<Self, Error> {
        Ok(Self {
            amount: raw.amount.map(|amount| field("amount", amount.try_into())).transpose()?,
            reason: raw.reason,
            reference: raw.reference,
        })
    }
}

impl From<RefundRow> for proto::Refund {
    fn from(row: RefundRow) -> Self {
        Self {
            id: row.id.to_string(),
            order_id: row.payment_id.checkout().order().to_string(),
            amount: Some(row.amount.into()),
            reason: row.reason,
            reference: row.reference,
            actor: row.actor,
            state: proto::RefundState::from(row.state).into(),
            code: row.code,
            provider_ref: row.provider_ref,
            created_at: Some(timestamp(row.created_at)),
            decided_at: row.decided_at.map(timestamp),
        }
    }
}

impl From<(Vec<RefundRow>, Money)> for proto::Refunds {
    fn from((rows, left): (Vec<RefundRow>, Money)) -> Self {
        Self { refunds: rows.into_iter().map(Into::into).collect(), left: Some(left.into()) }
    }
}

impl From<RefundState> for proto::RefundState {
    fn from(state: RefundState) -> Self {
        match state {
            RefundState::Requested => Self::Requested,
            RefundState::Pending => Self::Pending,
            RefundState::Succeeded => Self::Succeeded,
            RefundState::Failed => Self::Failed,
            RefundState::Refused => Self::Refused,
        }
    }
}

impl TryFrom<proto::RestockRequest> for NewRestock {
    type Error = Error;

    fn try_from(raw: proto::RestockRequest) -> Result<Self, Error> {
        let lines = raw.lines.into_iter().enumerate();
        Ok(Self {
            lines: lines
                .map(|(number, raw)| stock_line(number, raw))
                .collect::<Result<_, Error>>()?,
            reason: raw.reason,
            reference: raw.reference,
        })
    }
}

impl From<(OrderId, NewRestock)> for proto::Restocked {
    fn from((order_id, restock): (OrderId, NewRestock)) -> Self {
        let line = |(sku, quantity): (Sku, i64)| proto::StockLine { sku: sku.into(), quantity };
        Self {
            order_id: order_id.to_string(),
            reference: restock.reference,
            lines: restock.lines.into_iter().map(line).collect(),
        }
    }
}
