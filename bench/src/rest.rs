//! The system with nothing to do: waiting for it, and what it uses then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    processes::{Part, Reading, Times},
    stack::Stack,
};

/// The servers are at rest once they use less than this share of one CPU.
const REST_SHARE: f64 = 0.25;
const REST_LOOK: Duration = Duration::from_millis(100);
const REST_LIMIT: Duration = Duration::from_secs(3);
/// How long the system at rest is watched.
const REST_WATCH: Duration = Duration::from_secs(2);

/// Waits, for a while at most, until the servers have nothing left to do.
pub(crate) async fn reached(stack: &Stack) -> anyhow::Result<()> {
    let roots = stack.roots();
    let began = Instant::now();
    let mut before = Reading::take(&roots)?;
    while began.elapsed() < REST_LIMIT {
        sleep(REST_LOOK).await;
        let now = Reading::take(&roots)?;
        let used = now.since(&before, true);
        let servers =
            [Part::Temporal, Part::Workers, Part::IdleWorkers, Part::PostgresShop, Part::Api];
        let used_ms: f64 = servers.iter().filter_map(|part| used.get(part)).sum();
        if used_ms < REST_LOOK.as_secs_f64() * 1000.0 * REST_SHARE {
            break;
        }
        before = now;
    }
    Ok(())
}

/// What everything uses while it has nothing to do, in milliseconds of CPU time a second.
pub(crate) async fn used(stack: &Stack) -> anyhow::Result<Times> {
    reached(stack).await?;
    let roots = stack.roots();
    let before = Reading::take(&roots)?;
    sleep(REST_WATCH).await;
    let mut used = Reading::take(&roots)?.since(&before, true);
    for ms in used.values_mut() {
        *ms /= REST_WATCH.as_secs_f64();
    }
    Ok(used)
}
