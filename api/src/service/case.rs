//! Differences between books: listed for people, and closed by them; and a reconciliation that is not to
//! wait for its time.

use domain::{CaseId, CaseState};
use store::case::{self, CaseRow};

use super::{Service, admin::checked_reason};
use crate::{auth::Operator, error::Error};

/// The most cases in one answer.
const CASES_MAX: u32 = 100;

impl Service {
    /// Cases in one state, or in any, the newest first.
    pub(crate) async fn cases(&self, state: Option<CaseState>) -> Result<Vec<CaseRow>, Error> {
        Ok(case::list(&mut *self.connection().await?, state, CASES_MAX).await?)
    }

    /// Closes an open case, for good as long as its facts stay the same. One that is not open is left as it
    /// is.
    pub(crate) async fn resolve_case(
        &self,
        operator: &Operator,
        id: CaseId,
        reason: &str,
    ) -> Result<CaseRow, Error> {
        checked_reason(reason)?;
        let mut conn = self.connection().await?;
        let case = case::resolve(&mut conn, id, operator.as_str(), reason).await?;
        let case = case.ok_or(Error::NotFound)?;
        tracing::info!(case.id = %id, operator = operator.as_str(), "{id} is {}", case.state.as_str());
        Ok(case)
    }

    /// Has the books compared now, unless they are being compared.
    pub(crate) async fn reconcile(&self, operator: &Operator) -> Result<(), Error> {
        self.0.engine.reconcile().await?;
        tracing::info!(operator = operator.as_str(), "the books are to be compared now");
        Ok(())
    }
}
