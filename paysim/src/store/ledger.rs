//! Reading the ledger. Its rows are written by the statement that saves a change, nowhere else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;

use super::{Error, Store};

/// Which entries are meant.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Filter<'a> {
    pub(crate) payment_id: Option<&'a str>,
    pub(crate) payment_intent: Option<&'a str>,
}

/// One line of the ledger.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    payment_intent: String,
    payment_id: Option<String>,
    kind: String,
    amount: i64,
    currency: String,
    metadata: Json<BTreeMap<String, String>>,
    at: DateTime<Utc>,
}

/// One kind of entry in one currency, added up.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Totals {
    kind: String,
    currency: String,
    count: i64,
    amount: i64,
}

/// What happened to one of the shop's payments, over all its intents. Open is what is authorized and
/// neither captured nor voided; a partial capture closes its authorization.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct PaymentSummary {
    payment_id: Option<String>,
    currency: String,
    payment_intents: i64,
    authorizations: i64,
    authorized_amount: i64,
    captures: i64,
    captured_amount: i64,
    voids: i64,
    voided_amount: i64,
    refunds: i64,
    refunded_amount: i64,
    refund_failures: i64,
    refund_failed_amount: i64,
    declines: i64,
    open: i64,
    open_amount: i64,
}

impl Store {
    pub(crate) async fn ledger_entries(
        &self,
        filter: Filter<'_>,
        after_seq: i64,
        limit: i64,
    ) -> Result<Vec<Entry>, Error> {
        let rows = sqlx::query_as(
            "SELECT seq, payment_intent, payment_id, kind, amount, currency, metadata, at
             FROM ledger_entry
             WHERE ($1::text IS NULL OR payment_id = $1)
               AND ($2::text IS NULL OR payment_intent = $2)
               AND seq > $3
             ORDER BY seq
             LIMIT $4",
        )
        .bind(filter.payment_id)
        .bind(filter.payment_intent)
        .bind(after_seq)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    pub(crate) async fn ledger_totals(&self, filter: Filter<'_>) -> Result<Vec<Totals>, Error> {
        let rows = sqlx::query_as(
            "SELECT kind, currency, count(*) AS count, sum(amount)::bigint AS amount
             FROM ledger_entry
             WHERE ($1::text IS NULL OR payment_id = $1)
               AND ($2::text IS NULL OR payment_intent = $2)
             GROUP BY kind, currency
             ORDER BY currency, kind",
        )
        .bind(filter.payment_id)
        .bind(filter.payment_intent)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// One row per payment and currency, in the order of the payments' ids.
    pub(crate) async fn ledger_summary(
        &self,
        filter: Filter<'_>,
        limit: i64,
    ) -> Result<Vec<PaymentSummary>, Error> {
        let rows = sqlx::query_as(
            "WITH intent AS (
                 SELECT payment_intent, payment_id, currency
                      , bool_or(kind IN ('captured', 'voided')) AS ended
                      , COALESCE(sum(amount) FILTER (WHERE kind = 'authorized'), 0) AS authorized
                      , COALESCE(sum(amount) FILTER (WHERE kind = 'captured'), 0) AS captured
                      , COALESCE(sum(amount) FILTER (WHERE kind = 'voided'), 0) AS voided
                      , COALESCE(sum(amount) FILTER (WHERE kind = 'refunded'), 0) AS refunded
                      , count(*) FILTER (WHERE kind = 'authorized') AS authorizations
                      , count(*) FILTER (WHERE kind = 'captured') AS captures
                      , count(*) FILTER (WHERE kind = 'voided') AS voids
                      , count(*) FILTER (WHERE kind = 'refunded') AS refunds
                      , COALESCE(sum(amount) FILTER (WHERE kind = 'refund_failed'), 0)
                            AS refund_failed
                      , count(*) FILTER (WHERE kind = 'refund_failed') AS refund_failures
                      , count(*) FILTER (WHERE kind = 'declined') AS declines
                 FROM ledger_entry
                 WHERE ($1::text IS NULL OR payment_id = $1)
                   AND ($2::text IS NULL OR payment_intent = $2)
                 GROUP BY payment_intent, payment_id, currency
             )
             SELECT payment_id, currency
                  , count(*) AS payment_intents
                  , sum(authorizations)::bigint AS authorizations
                  , sum(authorized)::bigint AS authorized_amount
                  , sum(captures)::bigint AS captures
                  , sum(captured)::bigint AS captured_amount
                  , sum(voids)::bigint AS voids
                  , sum(voided)::bigint AS voided_amount
                  , sum(refunds)::bigint AS refunds
                  , sum(refunded)::bigint AS refunded_amount
                  , sum(refund_failures)::bigint AS refund_failures
                  , sum(refund_failed)::bigint AS refund_failed_amount
                  , sum(declines)::bigint AS declines
                  , COALESCE(sum(authorizations) FILTER (WHERE NOT ended), 0)::bigint AS open
                  , COALESCE(sum(authorized) FILTER (WHERE NOT ended), 0)::bigint AS open_amount
             FROM intent
             GROUP BY payment_id, currency
             ORDER BY payment_id NULLS LAST, currency
             LIMIT $3",
        )
        .bind(filter.payment_id)
        .bind(filter.payment_intent)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }
}
