//! Reading refunds. They are written by the statement that saves a change, nowhere else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::{Error, Page, Store};
use crate::refund::{Refund, RefundStatus};

/// Whose refunds are meant; everybody's by default.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RefundFilter<'a> {
    pub(crate) payment_intent: Option<&'a str>,
    pub(crate) charge: Option<&'a str>,
}

/// The refund that waits longest for its last word.
#[derive(Debug)]
pub(crate) struct ToSettle {
    pub(crate) id: String,
    pub(crate) created_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct RefundRow {
    id: String,
    payment_intent: String,
    charge: String,
    amount: i64,
    currency: String,
    reason: Option<String>,
    metadata: Json<BTreeMap<String, String>>,
    status: String,
    failure_reason: Option<String>,
    settles_to: Option<String>,
    created_at: DateTime<Utc>,
}

impl TryFrom<RefundRow> for Refund {
    type Error = Error;

    fn try_from(row: RefundRow) -> Result<Self, Error> {
        let status = |text: &str, column| {
            text.parse::<RefundStatus>().map_err(|_| Error::Corrupt { table: "refund", column })
        };
        Ok(Self {
            status: status(&row.status, "status")?,
            settles_to: row.settles_to.map(|text| status(&text, "settles_to")).transpose()?,
            id: row.id,
            payment_intent: row.payment_intent,
            charge: row.charge,
            amount: row.amount,
            currency: row.currency,
            reason: row.reason,
            metadata: row.metadata.0,
            failure_reason: row.failure_reason,
            created_at: row.created_at,
        })
    }
}

impl Store {
    pub(crate) async fn refund_find(&self, id: &str) -> Result<Option<Refund>, Error> {
        let row: Option<RefundRow> = sqlx::query_as(
            "SELECT id, payment_intent, charge, amount, currency, reason, metadata, status
                  , failure_reason, settles_to, created_at
             FROM refund
             WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        row.map(Refund::try_from).transpose()
    }

    /// Newest first.
    pub(crate) async fn refunds_list(
        &self,
        filter: RefundFilter<'_>,
        page: &Page<'_>,
    ) -> Result<Vec<Refund>, Error> {
        let rows: Vec<RefundRow> = sqlx::query_as(
            "SELECT id, payment_intent, charge, amount, currency, reason, metadata, status
                  , failure_reason, settles_to, created_at
             FROM refund
             WHERE ($1::text IS NULL OR payment_intent = $1)
               AND ($2::text IS NULL OR charge = $2)
               AND id < COALESCE($3, 're_g')
               AND id >= COALESCE($4, '')
               AND created_at >= COALESCE($5, '-infinity')
               AND created_at < COALESCE($6, 'infinity')
             ORDER BY id DESC
             LIMIT $7",
        )
        .bind(filter.payment_intent)
        .bind(filter.charge)
        .bind(page.before)
        .bind(page.first_id("re"))
        .bind(page.from)
        .bind(page.until)
        .bind(page.rows_max)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Refund::try_from).collect()
    }

    pub(crate) async fn refund_to_settle(&self) -> Result<Option<ToSettle>, Error> {
        let row: Option<(String, DateTime<Utc>)> = sqlx::query_as(
            "SELECT id, created_at
             FROM refund
             WHERE settles_to IS NOT NULL
             ORDER BY created_at
             LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(id, created_at)| ToSettle { id, created_at }))
    }
}
