//! Cases: what reconciling found, mended or left to people, and what people decided about it.

use chrono::{DateTime, Utc};
use domain::{CaseId, CaseState, Difference, OrderId};
use serde_json::Value;
use sqlx::PgConnection;

use crate::{Error, Position, outbox};

/// A difference that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// In which way books differ.
    pub difference: Difference,
    /// What differs, by its public id.
    pub subject: String,
    /// Which order it is about, if it is about one.
    pub order_id: Option<OrderId>,
    /// Ids and amounts; no personal data, and nothing that changes by itself.
    pub facts: Value,
}

/// A case as it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseRow {
    /// Which.
    pub id: CaseId,
    /// In which way books differed.
    pub difference: Difference,
    /// What differed.
    pub subject: String,
    /// How.
    pub facts: Value,
    /// Where it stands.
    pub state: CaseState,
    /// When it was found.
    pub found_at: DateTime<Utc>,
    /// When people had seen to it.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Who.
    pub resolved_by: Option<String>,
    /// What they say of it.
    pub reason: Option<String>,
}

/// Opens a case, with word of it in the outbox. `false` if there is this case already, or was.
pub async fn open(conn: &mut PgConnection, finding: &Finding) -> Result<bool, Error> {
    let id = id(finding);
    let opened = sqlx::query!(
        r#"
        INSERT INTO reconciliation_case (id, difference, subject, facts, state)
        VALUES ($1, $2, $3, $4, 'open') ON CONFLICT (id) DO NOTHING
        "#,
        id.uuid(),
        finding.difference.as_str(),
        finding.subject,
        finding.facts,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if opened == 0 {
        return Ok(false);
    }
    let mut payload = serde_json::json!({
        "case_id": id, "difference": finding.difference, "subject": finding.subject,
    });
    if let Some(order_id) = finding.order_id {
        payload["order_id"] = order_id.to_string().into();
    }
    outbox::announce(conn, outbox::CASE_OPENED, &id.to_string(), &payload).await?;
    Ok(true)
}

/// Writes down that a difference was mended; again, if it had to be mended again.
pub async fn note_mended(conn: &mut PgConnection, finding: &Finding) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO reconciliation_case (id, difference, subject, facts, state)
        VALUES ($1, $2, $3, $4, 'mended')
        ON CONFLICT (id) DO UPDATE SET found_at = now() WHERE reconciliation_case.state = 'mended'
        "#,
        id(finding).uuid(),
        finding.difference.as_str(),
        finding.subject,
        finding.facts,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Cases in one state, or in any, the newest first, from a position on.
pub async fn list(
    conn: &mut PgConnection,
    state: Option<CaseState>,
    after: Option<Position>,
    limit: u32,
) -> Result<Vec<CaseRow>, Error> {
    read(conn, None, state, after, limit).await
}

/// The case of that id.
pub async fn find(conn: &mut PgConnection, id: CaseId) -> Result<Option<CaseRow>, Error> {
    Ok(read(conn, Some(id), None, None, 1).await?.pop())
}

/// Writes down, once, what somebody decided about an open case. The case after that, if there is one.
pub async fn resolve(
    conn: &mut PgConnection,
    id: CaseId,
    actor: &str,
    reason: &str,
) -> Result<Option<CaseRow>, Error> {
    sqlx::query!(
        r#"
        UPDATE reconciliation_case
        SET state = 'resolved', resolved_at = now(), resolved_by = $2, reason = $3
        WHERE id = $1 AND state = 'open'
        "#,
        id.uuid(),
        actor,
        reason,
    )
    .execute(&mut *conn)
    .await?;
    find(conn, id).await
}

fn id(finding: &Finding) -> CaseId {
    CaseId::derive(finding.difference.as_str(), &finding.subject, &finding.facts.to_string())
}

async fn read(
    conn: &mut PgConnection,
    id: Option<CaseId>,
    state: Option<CaseState>,
    after: Option<Position>,
    limit: u32,
) -> Result<Vec<CaseRow>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT id, difference, subject, facts, state, found_at, resolved_at, resolved_by, reason
        FROM reconciliation_case
        WHERE ($1::uuid IS NULL OR id = $1) AND ($2::text IS NULL OR state = $2)
            AND ($3::timestamptz IS NULL OR found_at < $3 OR (found_at = $3 AND id > $4))
        ORDER BY found_at DESC, id LIMIT $5
        "#,
        id.map(CaseId::uuid),
        state.map(CaseState::as_str),
        after.map(|position| position.at),
        after.map(|position| position.id),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let difference = Difference::parse(&row.difference)
                .ok_or(Error::corrupt("reconciliation_case", "difference"))?;
            let state = CaseState::parse(&row.state)
                .ok_or(Error::corrupt("reconciliation_case", "state"))?;
            Ok(CaseRow {
                id: row.id.into(),
                difference,
                subject: row.subject,
                facts: row.facts,
                state,
                found_at: row.found_at,
                resolved_at: row.resolved_at,
                resolved_by: row.resolved_by,
                reason: row.reason,
            })
        })
        .collect()
}
