//! Who is told of events, and what became of it.

use store::{
    delivery::{DeliveryRow, DeliveryState},
    webhook_endpoint::EndpointRow,
};

use super::timestamp;
use crate::{
    error::{Error, FieldError},
    grpc::proto,
    service::page::Page,
};

/// An endpoint, with its secret where that is told.
pub(in crate::grpc) fn endpoint(
    row: EndpointRow,
    secret: Option<String>,
) -> proto::WebhookEndpoint {
    let EndpointRow { id, url, topics, created_at } = row;
    let created_at = Some(timestamp(created_at));
    proto::WebhookEndpoint { id: id.to_string(), url, topics, created_at, secret }
}

impl From<Vec<EndpointRow>> for proto::WebhookEndpoints {
    fn from(rows: Vec<EndpointRow>) -> Self {
        Self { endpoints: rows.into_iter().map(|row| endpoint(row, None)).collect() }
    }
}

/// Which deliveries are asked for; any, if it is not said.
pub(in crate::grpc) fn state(number: i32) -> Result<Option<DeliveryState>, Error> {
    match proto::DeliveryState::try_from(number) {
        Ok(proto::DeliveryState::Unspecified) => Ok(None),
        Ok(proto::DeliveryState::Waiting) => Ok(Some(DeliveryState::Waiting)),
        Ok(proto::DeliveryState::Delivered) => Ok(Some(DeliveryState::Delivered)),
        Ok(proto::DeliveryState::Dead) => Ok(Some(DeliveryState::Dead)),
        Err(unknown) => {
            let detail = unknown.to_string();
            Err(Error::Invalid(vec![FieldError::at("/state", "invalid_value", detail)]))
        }
    }
}

impl From<Page<DeliveryRow>> for proto::Deliveries {
    fn from(Page { entries, next_cursor }: Page<DeliveryRow>) -> Self {
        Self { deliveries: entries.into_iter().map(Into::into).collect(), next_cursor }
    }
}

impl From<DeliveryRow> for proto::Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id.to_string(),
            event_id: row.event_id.to_string(),
            topic: row.topic,
            endpoint_id: row.endpoint_id.map(|id| id.to_string()),
            state: proto::DeliveryState::from(row.state).into(),
            tries: row.tries,
            created_at: Some(timestamp(row.created_at)),
            due_at: row.due_at.map(timestamp),
            ended_at: row.ended_at.map(timestamp),
            last_error: row.last_error,
        }
    }
}

impl From<DeliveryState> for proto::DeliveryState {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Waiting => Self::Waiting,
            DeliveryState::Delivered => Self::Delivered,
            DeliveryState::Dead => Self::Dead,
        }
    }
}
