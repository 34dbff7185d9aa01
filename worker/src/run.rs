//! The run of a worker: start, work, drain.

use std::{sync::Arc, time::Duration};

use activities::{Fulfilment, Holds, Inventory, Orders, Payments, Reconciler, Refunds};
use anyhow::Context as _;
use payments::Stripe;
use temporalio_client::{
    Client, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
    errors::WorkflowStartError,
};
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, metrics::CoreMeter,
    start_prometheus_metric_exporter,
};
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    runtime::{
        AutoscalingOptions, PollerBehavior, RuntimeOptions,
        worker_tuner::{FixedSizeSlotSupplier, TunerHolder, WorkerTuner},
    },
};
use workflows::{
    CheckoutWorkflow, FulfilmentWorkflow, ReconciliationWorkflow, RefundWorkflow,
    ReservationExpiryInput, ReservationExpiryWorkflow, TASK_QUEUE, reservation_expiry,
};

use crate::{
    carriers, config::Run, engine, health::Health, inbox, notify::Notifier, reconciling, relay,
};

/// How long work that has begun may take to finish after the worker was told to stop.
const DRAIN: Duration = Duration::from_secs(25);
/// A cached workflow of a worker that died is offered to the others after this long.
const STICKY_TIMEOUT: Duration = Duration::from_secs(1);
/// The most workflow tasks at once. A checkout's steps run within its task, whose time-out is short:
/// more at once would only make all of them late.
const WORKFLOW_TASKS_MAX: usize = 32;
/// The most activities of either kind at once.
const ACTIVITIES_MAX: usize = 64;
/// How often the worker makes sure that the sweeper runs.
const SWEEPER_CHECK: Duration = Duration::from_secs(60);
/// The longest one call to the provider may take; the contract's step limits leave room around it.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);
const PROVIDER_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) async fn run(config: Run) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("a TLS provider is installed once")?;
    let pool = store::connect(&config.database.database_url, config.connections_max)?;
    let shards = config.database.shards(&pool, config.connections_max)?;
    shards.verify().await?;
    let provider = Stripe::new(payments::Config {
        base_url: config.payments_url.clone(),
        api_key: config.payments_api_key.clone(),
        timeout: PROVIDER_TIMEOUT,
        connect_timeout: PROVIDER_CONNECT_TIMEOUT,
        return_url: config.payments_return_url.clone(),
    })?;
    let notifier = Notifier::new(pool.clone(), &config.notify.settings())?;
    let health = Health::new(pool.clone());
    health.serve(config.health_listen).await?;

    let runtime = runtime(&config)?;
    let client = engine::connect().await?;
    engine::ensure(&client).await?;

    let stock = store::inventory::Inventory::new(shards);
    let holds = Holds::new(pool.clone(), stock.clone());
    let payments = Payments::new(pool.clone(), holds.clone(), provider.clone());
    let refunds = Refunds::new(pool.clone(), provider.clone());
    let options = WorkerOptions::new(TASK_QUEUE)
        .max_cached_workflows(config.cached_workflows_max)
        .workflow_task_poller_behavior(pollers())
        .activity_task_poller_behavior(pollers())
        .sticky_queue_schedule_to_start_timeout(STICKY_TIMEOUT)
        .graceful_shutdown_period(DRAIN)
        .tuner(slots())
        .register_workflow::<CheckoutWorkflow>()?
        .register_workflow::<FulfilmentWorkflow>()?
        .register_workflow::<ReconciliationWorkflow>()?
        .register_workflow::<RefundWorkflow>()?
        .register_workflow::<ReservationExpiryWorkflow>()?
        .register_activities(Orders::new(pool.clone(), holds.clone()))
        .register_activities(Inventory::new(pool.clone(), holds, payments.clone()))
        .register_activities(payments.clone())
        .register_activities(refunds.clone())
        .register_activities(Reconciler::new(pool.clone(), stock, payments.clone(), provider))
        .register_activities(Fulfilment::new(pool.clone()))
        .build();
    let mut worker = Worker::new(&runtime, client.clone(), options)?;

    let stop = worker.shutdown_handle();
    let draining = health.clone();
    tokio::spawn(async move {
        told_to_stop().await;
        tracing::info!("told to stop: finishing what has begun, for {} s at most", DRAIN.as_secs());
        draining.set_working(false);
        stop();
    });
    let carriers = tokio::spawn(carriers::run(pool.clone(), client.clone()));
    let relay = tokio::spawn(relay::run(pool.clone(), client.clone(), config.fulfilment_timing()));
    let inbox = tokio::spawn(inbox::run(pool, client.clone(), payments, refunds));
    let notifier = tokio::spawn(notifier.run());
    let reconciler = tokio::spawn(reconciling::keep_scheduled(
        client.clone(),
        Duration::from_millis(config.reconcile_every_ms),
        config.reconciliation(),
    ));
    let sweeper = tokio::spawn(keep_sweeping(client, config.sweep_sleep_max_ms));
    health.set_working(true);
    tracing::info!("worker takes work from {TASK_QUEUE}");
    let ended = worker.run().await;
    sweeper.abort();
    reconciler.abort();
    relay.abort();
    inbox.abort();
    carriers.abort();
    notifier.abort();
    ended.context("the worker stopped by itself")?;
    tracing::info!("worker stopped");
    Ok(())
}

fn runtime(config: &Run) -> anyhow::Result<Runtime> {
    let metrics = match config.metrics_listen {
        None => None,
        Some(listen) => {
            let options = PrometheusExporterOptions::builder().socket_addr(listen).build();
            let server = start_prometheus_metric_exporter(options).with_context(|| {
                format!("{listen} is taken: choose another with --metrics-listen")
            })?;
            tracing::info!("metrics at http://{}/metrics", server.bound_addr);
            Some(server.meter as Arc<dyn CoreMeter>)
        }
    };
    let telemetry = TelemetryOptions::builder().maybe_metrics(metrics).build();
    let options = RuntimeOptions::builder()
        .telemetry_options(telemetry)
        .build()
        .map_err(|error| anyhow::anyhow!("the engine's runtime cannot be configured: {error}"))?;
    Ok(Runtime::from_current_tokio(options)?)
}

/// What waits for a slot waits at the engine, where its time-out does not run yet.
fn slots() -> WorkerTuner {
    let fixed = FixedSizeSlotSupplier::new;
    TunerHolder::builder()
        .workflow_task_slot_supplier(fixed(WORKFLOW_TASKS_MAX))
        .activity_task_slot_supplier(fixed(ACTIVITIES_MAX))
        .local_activity_task_slot_supplier(fixed(ACTIVITIES_MAX))
        .nexus_task_slot_supplier(fixed(1))
        .build()
        .into()
}

fn pollers() -> PollerBehavior {
    PollerBehavior::Autoscaling(
        AutoscalingOptions::builder().minimum(2).maximum(40).initial(10).build(),
    )
}

/// Starts the one sweeper of the namespace unless it runs, again and again: whoever ended it by hand
/// did not mean to stop giving stock back.
async fn keep_sweeping(client: Client, sleep_max_ms: u64) {
    loop {
        let options = WorkflowStartOptions::new(TASK_QUEUE, reservation_expiry::WORKFLOW_ID)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .static_summary("gives back holds that ran out".to_owned())
            .build();
        let input = ReservationExpiryInput { sleep_max_ms };
        match client.start_workflow(ReservationExpiryWorkflow::run, input, options).await {
            Ok(_) | Err(WorkflowStartError::AlreadyStarted { .. }) => {}
            Err(error) => tracing::warn!(%error, "the sweeper could not be started; trying again"),
        }
        tokio::time::sleep(SWEEPER_CHECK).await;
    }
}

async fn told_to_stop() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("a process may listen for SIGTERM");
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.expect("a process may listen for SIGINT"),
    }
}
