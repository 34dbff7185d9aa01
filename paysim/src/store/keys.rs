//! The answers kept under idempotency keys.

use chrono::{DateTime, Utc};
use sqlx::{FromRow as _, Row as _, postgres::PgRow};

use super::{Error, Store};
use crate::{idempotency::Key, view::Answer};

/// A key and the answer it shall stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyRow<'a> {
    pub(crate) key: &'a Key,
    pub(crate) answer: &'a Answer,
    pub(crate) at: DateTime<Utc>,
}

/// The first answer given under a key.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct StoredAnswer {
    #[sqlx(rename = "key_fingerprint")]
    pub(crate) fingerprint: Vec<u8>,
    #[sqlx(rename = "key_status")]
    status: i32,
    #[sqlx(rename = "key_body")]
    body: String,
    #[sqlx(rename = "key_created_at")]
    pub(crate) created_at: DateTime<Utc>,
}

impl StoredAnswer {
    /// Reads the key's columns of a row in which the key may be missing.
    pub(super) fn from_joined(row: &PgRow) -> Result<Option<Self>, Error> {
        match row.try_get::<Option<i32>, _>("key_status")? {
            Some(_) => Ok(Some(Self::from_row(row)?)),
            None => Ok(None),
        }
    }

    pub(crate) fn answer(self) -> Result<Answer, Error> {
        let status = u16::try_from(self.status)
            .map_err(|_| Error::Corrupt { table: "idempotency_key", column: "status" })?;
        Ok(Answer { status, body: self.body })
    }
}

impl Store {
    pub(crate) async fn key_find(&self, key: &str) -> Result<Option<StoredAnswer>, Error> {
        let found = sqlx::query_as(
            "SELECT fingerprint AS key_fingerprint
                  , status AS key_status
                  , body AS key_body
                  , created_at AS key_created_at
             FROM idempotency_key
             WHERE key = $1",
        )
        .bind(key)
        .fetch_optional(&self.pool)
        .await?;
        Ok(found)
    }

    /// Keeps an answer that changed nothing. `false` when the key is taken.
    pub(crate) async fn key_save(&self, row: KeyRow<'_>) -> Result<bool, Error> {
        let done = sqlx::query(
            "INSERT INTO idempotency_key (key, fingerprint, status, body, created_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (key) DO NOTHING",
        )
        .bind(&row.key.value)
        .bind(&row.key.fingerprint[..])
        .bind(i32::from(row.answer.status))
        .bind(&row.answer.body)
        .bind(row.at)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Forgets one key if it is older than `cutoff`.
    pub(crate) async fn key_forget(&self, key: &str, cutoff: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query("DELETE FROM idempotency_key WHERE key = $1 AND created_at < $2")
            .bind(key)
            .bind(cutoff)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(crate) async fn keys_prune(&self, cutoff: DateTime<Utc>) -> Result<u64, Error> {
        let done = sqlx::query("DELETE FROM idempotency_key WHERE created_at < $1")
            .bind(cutoff)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }

    /// Records that a fault from metadata strikes now. `false` when it already has.
    pub(crate) async fn fault_fire(
        &self,
        scope: &str,
        operation: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let done = sqlx::query(
            "INSERT INTO fault_fired (scope, operation, fired_at)
             VALUES ($1, $2, $3)
             ON CONFLICT (scope, operation) DO NOTHING",
        )
        .bind(scope)
        .bind(operation)
        .bind(at)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
