//! The process that serves the bare workflow. Its settings are those of the shop's worker
//! (`worker/src/run.rs`), and must stay so, or the comparison is none.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    runtime::{AutoscalingOptions, PollerBehavior, RuntimeOptions},
};
use tokio::net::TcpListener;

use crate::{
    bare::{Bare, BareWorkflow, TASK_QUEUE},
    engine, told_to_stop,
};

const DRAIN: Duration = Duration::from_secs(25);
const STICKY_TIMEOUT: Duration = Duration::from_secs(1);
const CACHED_WORKFLOWS_MAX: usize = 1000;

pub(crate) async fn run(ready_listen: SocketAddr) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("info,temporalio_sdk_core=warn")
        .with_writer(std::io::stderr)
        .init();
    let options = RuntimeOptions::builder()
        .build()
        .map_err(|error| anyhow::anyhow!("the engine's runtime cannot be configured: {error}"))?;
    let runtime = Runtime::from_current_tokio(options)?;
    let address = std::env::var("TEMPORAL_ADDRESS").context("TEMPORAL_ADDRESS is not set")?;
    let client = engine::connect(&address).await?;
    let options = WorkerOptions::new(TASK_QUEUE)
        .max_cached_workflows(CACHED_WORKFLOWS_MAX)
        .workflow_task_poller_behavior(pollers())
        .activity_task_poller_behavior(pollers())
        .sticky_queue_schedule_to_start_timeout(STICKY_TIMEOUT)
        .graceful_shutdown_period(DRAIN)
        .register_workflow::<BareWorkflow>()?
        .register_activities(Bare)
        .build();
    let mut worker = Worker::new(&runtime, client, options)?;
    let stop = worker.shutdown_handle();
    tokio::spawn(async move {
        if told_to_stop().await.is_ok() {
            stop();
        }
    });
    let listener =
        TcpListener::bind(ready_listen).await.context("the port to be ready on is taken")?;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    worker.run().await.context("the worker stopped by itself")
}

fn pollers() -> PollerBehavior {
    PollerBehavior::Autoscaling(
        AutoscalingOptions::builder().minimum(2).maximum(40).initial(10).build(),
    )
}
