//! Intents. A change is one statement, hence one transaction and one round trip: the intent, its
//! ledger entries, its refund, its events and the idempotency key are written together or not at all.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow as _, Row as _, types::Json};

use super::{Error, EventRow, KeyRow, Page, Store, StoredAnswer};
use crate::{
    command::PAYMENT_ID_METADATA_KEY,
    intent::{Change, Intent},
    refund::RefundStatus,
};

const KEY_CONSTRAINT: &str = "idempotency_key_pkey";

/// Inserts a new intent or updates the version it was read at. Nothing at all happens when the key
/// already has an answer or the intent has moved on, for every other part selects from `saved`.
const SAVE: &str = "
WITH saved AS (
    INSERT INTO payment_intent AS stored (
        id, amount, currency, capture_method, status, payment_method, amount_authorized
      , amount_captured, amount_refunded, charge, cancellation_reason, canceled_at, return_url
      , last_payment_error, metadata, created_at, version
    )
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17 + 1
    WHERE NOT EXISTS (SELECT FROM idempotency_key WHERE key = $18)
    ON CONFLICT (id) DO UPDATE
    SET status = EXCLUDED.status
      , payment_method = EXCLUDED.payment_method
      , amount_authorized = EXCLUDED.amount_authorized
      , amount_captured = EXCLUDED.amount_captured
      , amount_refunded = EXCLUDED.amount_refunded
      , charge = EXCLUDED.charge
      , cancellation_reason = EXCLUDED.cancellation_reason
      , canceled_at = EXCLUDED.canceled_at
      , return_url = EXCLUDED.return_url
      , last_payment_error = EXCLUDED.last_payment_error
      , version = EXCLUDED.version
    WHERE stored.version = $17
    RETURNING id, currency, metadata
), entries AS (
    INSERT INTO ledger_entry (payment_intent, payment_id, kind, amount, currency, metadata, at)
    SELECT saved.id, $22, entry.kind, entry.amount, saved.currency, saved.metadata, $23
    FROM saved, unnest($24::text[], $25::bigint[]) WITH ORDINALITY AS entry (kind, amount, position)
    ORDER BY entry.position
), refunded AS (
    INSERT INTO refund (
        id, payment_intent, charge, amount, currency, reason, metadata, created_at, status
      , failure_reason, settles_to
    )
    SELECT $26, saved.id, $34, $27, saved.currency, $28, $29, $23, $35, $36, $37
    FROM saved
    WHERE $26 IS NOT NULL
    ON CONFLICT (id) DO UPDATE
    SET status = EXCLUDED.status
      , failure_reason = EXCLUDED.failure_reason
      , settles_to = EXCLUDED.settles_to
), happened AS (
    INSERT INTO event (id, type, payment_intent, payment_id, body, created_at)
    SELECT happening.id, happening.type, saved.id, $22, happening.body::jsonb, $23
    FROM saved, unnest($30::text[], $31::text[], $32::text[]) AS happening (id, type, body)
    RETURNING id
), queued AS (
    INSERT INTO webhook_delivery (event, url, due_at, created_at)
    SELECT happened.id, endpoint.url, $23, $23
    FROM happened, unnest($33::text[]) AS endpoint (url)
    ORDER BY happened.id
), keyed AS (
    INSERT INTO idempotency_key (key, fingerprint, status, body, created_at)
    SELECT $18, $19, $20, $21, $23
    FROM saved
    WHERE $18 IS NOT NULL
)
SELECT count(*) FROM saved";

/// What a command starts from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) intent: Option<Intent>,
    pub(crate) stored: Option<StoredAnswer>,
}

#[derive(sqlx::FromRow)]
struct IntentRow {
    id: String,
    amount: i64,
    currency: String,
    capture_method: String,
    status: String,
    payment_method: Option<String>,
    amount_authorized: i64,
    amount_captured: i64,
    amount_refunded: i64,
    charge: Option<String>,
    cancellation_reason: Option<String>,
    canceled_at: Option<DateTime<Utc>>,
    return_url: Option<String>,
    last_payment_error: Option<Value>,
    metadata: Json<BTreeMap<String, String>>,
    created_at: DateTime<Utc>,
    version: i64,
}

impl TryFrom<IntentRow> for Intent {
    type Error = Error;

    fn try_from(row: IntentRow) -> Result<Self, Error> {
        let corrupt = |column| Error::Corrupt { table: "payment_intent", column };
        Ok(Self {
            id: row.id,
            amount: row.amount,
            currency: row.currency,
            capture_method: row.capture_method.parse().map_err(|_| corrupt("capture_method"))?,
            status: row.status.parse().map_err(|_| corrupt("status"))?,
            payment_method: row.payment_method,
            amount_authorized: row.amount_authorized,
            amount_captured: row.amount_captured,
            amount_refunded: row.amount_refunded,
            charge: row.charge,
            cancellation_reason: row.cancellation_reason,
            canceled_at: row.canceled_at,
            return_url: row.return_url,
            last_payment_error: row.last_payment_error,
            metadata: row.metadata.0,
            created_at: row.created_at,
            version: row.version,
        })
    }
}

impl Store {
    /// Writes a change with its events, due at `urls`, and the answer it gives. `false` when nothing was written because the key is
    /// taken or the intent has changed since it was read: load again.
    pub(crate) async fn save(
        &self,
        change: &Change,
        events: &[EventRow],
        urls: &[String],
        key: Option<KeyRow<'_>>,
        at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let intent = &change.intent;
        let refund = change.refund.as_ref();
        let (kinds, amounts): (Vec<&str>, Vec<i64>) =
            change.entries.iter().map(|(kind, amount)| (kind.as_str(), *amount)).unzip();
        let event_ids: Vec<&str> = events.iter().map(|event| &*event.id).collect();
        let event_kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        let event_bodies: Vec<String> = events.iter().map(|event| event.body.to_string()).collect();
        let saved = sqlx::query_scalar::<_, i64>(SAVE)
            .bind(&intent.id)
            .bind(intent.amount)
            .bind(&intent.currency)
            .bind(intent.capture_method.as_str())
            .bind(intent.status.as_str())
            .bind(&intent.payment_method)
            .bind(intent.amount_authorized)
            .bind(intent.amount_captured)
            .bind(intent.amount_refunded)
            .bind(&intent.charge)
            .bind(&intent.cancellation_reason)
            .bind(intent.canceled_at)
            .bind(&intent.return_url)
            .bind(&intent.last_payment_error)
            .bind(Json(&intent.metadata))
            .bind(intent.created_at)
            .bind(intent.version)
            .bind(key.map(|row| &*row.key.value))
            .bind(key.map(|row| &row.key.fingerprint[..]))
            .bind(key.map(|row| i32::from(row.answer.status)))
            .bind(key.map(|row| &*row.answer.body))
            .bind(intent.metadata.get(PAYMENT_ID_METADATA_KEY))
            .bind(at)
            .bind(kinds)
            .bind(amounts)
            .bind(refund.map(|refund| &*refund.id))
            .bind(refund.map(|refund| refund.amount))
            .bind(refund.and_then(|refund| refund.reason.as_deref()))
            .bind(refund.map(|refund| Json(&refund.metadata)))
            .bind(event_ids)
            .bind(event_kinds)
            .bind(event_bodies)
            .bind(urls)
            .bind(refund.map(|refund| &*refund.charge))
            .bind(refund.map(|refund| refund.status.as_str()))
            .bind(refund.and_then(|refund| refund.failure_reason.as_deref()))
            .bind(refund.and_then(|refund| refund.settles_to).map(RefundStatus::as_str))
            .fetch_one(&self.pool)
            .await;
        match saved {
            Ok(count) => Ok(count == 1),
            // Another process answered under this key between our snapshot and our write.
            Err(sqlx::Error::Database(error)) if error.constraint() == Some(KEY_CONSTRAINT) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The intent and the answer kept under `key`, in one round trip.
    pub(crate) async fn load(&self, id: &str, key: Option<&str>) -> Result<Loaded, Error> {
        let row = sqlx::query(
            "SELECT intent.id, intent.amount, intent.currency, intent.capture_method, intent.status
                  , intent.payment_method, intent.amount_authorized, intent.amount_captured
                  , intent.amount_refunded, intent.charge, intent.cancellation_reason
                  , intent.canceled_at, intent.return_url, intent.last_payment_error
                  , intent.metadata, intent.created_at, intent.version
                  , known.fingerprint AS key_fingerprint, known.status AS key_status
                  , known.body AS key_body, known.created_at AS key_created_at
             FROM (SELECT $1::text AS id, $2::text AS key) AS asked
             LEFT JOIN payment_intent AS intent ON intent.id = asked.id
             LEFT JOIN idempotency_key AS known ON known.key = asked.key",
        )
        .bind(id)
        .bind(key)
        .fetch_one(&self.pool)
        .await?;
        let intent = match row.try_get::<Option<&str>, _>("id")? {
            Some(_) => Some(IntentRow::from_row(&row)?.try_into()?),
            None => None,
        };
        Ok(Loaded { intent, stored: StoredAnswer::from_joined(&row)? })
    }

    /// Newest first.
    pub(crate) async fn intents_list(&self, page: &Page<'_>) -> Result<Vec<Intent>, Error> {
        // 'pi_g' sorts after every id, whose UUIDs are hex.
        let rows: Vec<IntentRow> = sqlx::query_as(
            "SELECT id, amount, currency, capture_method, status, payment_method, amount_authorized
                  , amount_captured, amount_refunded, charge, cancellation_reason, canceled_at
                  , return_url, last_payment_error, metadata, created_at, version
             FROM payment_intent
             WHERE id < COALESCE($1, 'pi_g')
               AND id >= COALESCE($2, '')
               AND created_at >= COALESCE($3, '-infinity')
               AND created_at < COALESCE($4, 'infinity')
             ORDER BY id DESC
             LIMIT $5",
        )
        .bind(page.before)
        .bind(page.first_id("pi"))
        .bind(page.from)
        .bind(page.until)
        .bind(page.rows_max)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Intent::try_from).collect()
    }

    /// Intents whose metadata has all of `terms`, newest first. By the shop's reference it is an
    /// index probe; any other search reads the table, which a test network can bear.
    pub(crate) async fn intents_search(
        &self,
        terms: &BTreeMap<String, String>,
        before: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Intent>, Error> {
        const BY_PAYMENT_ID: &str = "
            SELECT id, amount, currency, capture_method, status, payment_method, amount_authorized
                 , amount_captured, amount_refunded, charge, cancellation_reason, canceled_at
                 , return_url, last_payment_error, metadata, created_at, version
            FROM payment_intent
            WHERE payment_id = $4 AND metadata @> $1 AND id < COALESCE($2, 'pi_g')
            ORDER BY id DESC
            LIMIT $3";
        const BY_ANY: &str = "
            SELECT id, amount, currency, capture_method, status, payment_method, amount_authorized
                 , amount_captured, amount_refunded, charge, cancellation_reason, canceled_at
                 , return_url, last_payment_error, metadata, created_at, version
            FROM payment_intent
            WHERE metadata @> $1 AND id < COALESCE($2, 'pi_g')
            ORDER BY id DESC
            LIMIT $3";
        let payment_id = terms.get(PAYMENT_ID_METADATA_KEY);
        let mut query = sqlx::query_as(if payment_id.is_some() { BY_PAYMENT_ID } else { BY_ANY })
            .bind(Json(terms))
            .bind(before)
            .bind(limit);
        if let Some(payment_id) = payment_id {
            query = query.bind(payment_id);
        }
        let rows: Vec<IntentRow> = query.fetch_all(&self.pool).await?;
        rows.into_iter().map(Intent::try_from).collect()
    }
}
