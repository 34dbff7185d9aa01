//! The schedule by which the books are held against the card provider's: made once in a namespace, and
//! changed when a worker is told another pace.

use std::time::Duration;

use temporalio_client::{
    Client, RpcOptions,
    schedules::{
        CreateScheduleOptions, ScheduleAction, ScheduleError, ScheduleOverlapPolicy, ScheduleSpec,
    },
};
use tonic::Code;
use workflows::{
    ReconciliationInput, ReconciliationWorkflow, TASK_QUEUE, reconciliation::SCHEDULE_ID,
};

/// How long until the engine is asked again that did not take the schedule.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Sees to it that there is the schedule, at this pace.
pub(crate) async fn keep_scheduled(client: Client, every: Duration, input: ReconciliationInput) {
    while let Err(error) = schedule(&client, every, input.clone()).await {
        tracing::warn!(%error, "reconciling could not be scheduled; trying again");
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

async fn schedule(
    client: &Client,
    every: Duration,
    input: ReconciliationInput,
) -> Result<(), ScheduleError> {
    let action =
        ScheduleAction::start_workflow(ReconciliationWorkflow::run, input, TASK_QUEUE, SCHEDULE_ID);
    let spec = ScheduleSpec::from_interval(every);
    let options = CreateScheduleOptions::builder()
        .action(action.clone())
        .spec(spec.clone())
        .overlap_policy(ScheduleOverlapPolicy::Skip)
        .note("holds the books against the card provider's")
        .build();
    match client.create_schedule(SCHEDULE_ID, options).await {
        Err(ScheduleError::Rpc(status)) if status.code() == Code::AlreadyExists => {}
        created => return created.map(drop),
    }
    // Whoever paused it meant it; only its pace and reach are the settings'.
    let handle = client.get_schedule_handle(SCHEDULE_ID);
    handle
        .update(
            move |schedule| {
                schedule.set_spec(spec).set_action(action);
            },
            RpcOptions::default(),
        )
        .await
}
