//! Differences between books, and what became of them.

use domain::CaseState;
use store::case::CaseRow;

use super::timestamp;
use crate::{
    error::{Error, FieldError},
    grpc::proto,
    service::page::Page,
};

/// Which cases are asked for; any, if it is not said.
pub(in crate::grpc) fn state(number: i32) -> Result<Option<CaseState>, Error> {
    match proto::CaseState::try_from(number) {
        Ok(proto::CaseState::Unspecified) => Ok(None),
        Ok(proto::CaseState::Open) => Ok(Some(CaseState::Open)),
        Ok(proto::CaseState::Mended) => Ok(Some(CaseState::Mended)),
        Ok(proto::CaseState::Resolved) => Ok(Some(CaseState::Resolved)),
        Err(unknown) => {
            let detail = unknown.to_string();
            Err(Error::Invalid(vec![FieldError::at("/state", "invalid_value", detail)]))
        }
    }
}

impl From<Page<CaseRow>> for proto::Cases {
    fn from(Page { entries, next_cursor }: Page<CaseRow>) -> Self {
        Self { cases: entries.into_iter().map(Into::into).collect(), next_cursor }
    }
}

impl From<CaseRow> for proto::Case {
    fn from(row: CaseRow) -> Self {
        Self {
            id: row.id.to_string(),
            difference: row.difference.as_str().to_owned(),
            subject: row.subject,
            facts_json: row.facts.to_string(),
            state: proto::CaseState::from(row.state).into(),
            found_at: Some(timestamp(row.found_at)),
            resolved_at: row.resolved_at.map(timestamp),
            resolved_by: row.resolved_by,
            reason: row.reason,
        }
    }
}

impl From<CaseState> for proto::CaseState {
    fn from(state: CaseState) -> Self {
        match state {
            CaseState::Open => Self::Open,
            CaseState::Mended => Self::Mended,
            CaseState::Resolved => Self::Resolved,
        }
    }
}
