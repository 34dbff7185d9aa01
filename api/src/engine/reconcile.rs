//! Reconciling, as the edge needs it of the engine: begun before its time.

use temporalio_client::schedules::{ScheduleOverlapPolicy, TriggerScheduleOptions};
use tokio::time::timeout;
use workflows::reconciliation::SCHEDULE_ID;

use super::{CALL_TIMEOUT, Engine, late, unavailable, within};
use crate::error::Error;

impl Engine {
    /// Begins a reconciliation unless one is under way, by the schedule that a worker has made.
    pub(crate) async fn reconcile(&self) -> Result<(), Error> {
        const DOING: &str = "beginning a reconciliation";
        let handle = self.client()?.get_schedule_handle(SCHEDULE_ID);
        let options = TriggerScheduleOptions::builder().rpc_options(within(CALL_TIMEOUT)).build();
        let begun = handle.trigger(ScheduleOverlapPolicy::Skip, options);
        let begun = timeout(CALL_TIMEOUT, begun).await.map_err(|_| late(DOING))?;
        begun.map_err(|error| unavailable(DOING, error))
    }
}
