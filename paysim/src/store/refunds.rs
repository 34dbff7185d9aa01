//! Reading refunds. They are written by the statement that saves a change, nowhere else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::{Error, Page, Store};
use crate::intent::Refund;

#[derive(sqlx::FromRow)]
struct RefundRow {
    id: String,
    payment_intent: String,
    charge: String,
    amount: i64,
    currency: String,
    reason: Option<String>,
    metadata: Json<BTreeMap<String, String>>,
    created_at: DateTime<Utc>,
}

impl From<RefundRow> for Refund {
    fn from(row: RefundRow) -> Self {
        Self {
            id: row.id,
            payment_intent: row.payment_intent,
            charge: row.charge,
            amount: row.amount,
            currency: row.currency,
            reason: row.reason,
            metadata: row.metadata.0,
            created_at: row.created_at,
        }
    }
}

impl Store {
    /// Newest first, of one intent or of all.
    pub(crate) async fn refunds_list(
        &self,
        payment_intent: Option<&str>,
        page: &Page<'_>,
    ) -> Result<Vec<Refund>, Error> {
        let rows: Vec<RefundRow> = sqlx::query_as(
            "SELECT id, payment_intent, charge, amount, currency, reason, metadata, created_at
             FROM refund
             WHERE payment_intent = COALESCE($1, payment_intent)
               AND id < COALESCE($2, 're_g')
               AND id >= COALESCE($3, '')
               AND created_at >= COALESCE($4, '-infinity')
               AND created_at < COALESCE($5, 'infinity')
             ORDER BY id DESC
             LIMIT $6",
        )
        .bind(payment_intent)
        .bind(page.before)
        .bind(page.first_id("re"))
        .bind(page.from)
        .bind(page.until)
        .bind(page.rows_max)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(Refund::from).collect())
    }
}
