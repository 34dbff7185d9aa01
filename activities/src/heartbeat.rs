//! Tells the engine that a slow step is still alive, so that a dead worker is noticed soon.

use std::{future::Future, time::Duration};

use temporalio_sdk::activities::ActivityContext;

/// Well below the heartbeat timeouts of the contract.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the work, heartbeating meanwhile where the engine expects it.
pub(crate) async fn during<T>(ctx: &ActivityContext, work: impl Future<Output = T>) -> T {
    if ctx.info().is_local {
        return work.await;
    }
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                // A unit cannot fail to serialize, and a missed heartbeat is no reason to stop.
                let _unsent = ctx.record_heartbeat(()).await;
            }
        }
    }
}
