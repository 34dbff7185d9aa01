//! Differences between books: listed for people, and closed by them; and a reconciliation that is not to
//! wait for its time.

use domain::{CaseId, CaseState};
use store::{
    Position,
    case::{self, CaseRow},
};

use super::{
    Service,
    admin::checked_reason,
    page::{Page, Wanted},
};
use crate::{auth::Operator, error::Error};

impl Service {
    /// Cases in one state, or in any, the newest first.
    pub(crate) async fn cases(
        &self,
        state: Option<CaseState>,
        wanted: Wanted,
    ) -> Result<Page<CaseRow>, Error> {
        let mut conn = self.connection().await?;
        let cases = case::list(&mut conn, state, wanted.after, wanted.rows()).await?;
        Ok(wanted.page(cases, |case| Position { at: case.found_at, id: case.id.uuid() }))
    }

    /// One case.
    pub(crate) async fn case(&self, id: CaseId) -> Result<CaseRow, Error> {
        case::find(&mut *self.connection().await?, id).await?.ok_or(Error::NotFound)
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
