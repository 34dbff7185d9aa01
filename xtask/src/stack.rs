//! What `cargo xtask dev` has running, in the order it is stopped in. What is started, and with which settings, is said
//! in `dev.rs`.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use devstack::{Postgres, Supervised, Temporal};
use tokio::time::{self, Instant};

use crate::http;

/// The shop's programs drain for at most 25 s; a little more, so that they are not killed at the last moment.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A first start migrates and connects; beyond this something is wrong.
const READY_LIMIT: Duration = Duration::from_mins(1);
const READY_POLL: Duration = Duration::from_millis(50);

/// How often we look whether everything still runs.
const WATCH_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(crate) struct Stack {
    pub(crate) api: Option<Supervised>,
    pub(crate) workers: Vec<Supervised>,
    pub(crate) paysim: Option<Supervised>,
    pub(crate) temporal: Option<Temporal>,
    pub(crate) postgres: Option<Postgres>,
}

impl Stack {
    pub(crate) fn empty(&self) -> bool {
        self.processes().next().is_none()
    }

    /// Returns only when something has ended that should not have.
    pub(crate) async fn watch(&self) -> anyhow::Result<()> {
        loop {
            for process in self.processes() {
                if let Some(status) = process.exited()? {
                    let log = process.log().map(Path::display);
                    let log = log.map(|log| format!("; its log is {log}")).unwrap_or_default();
                    bail!("{} ended by itself ({status}){log}", process.name());
                }
            }
            time::sleep(WATCH_EVERY).await;
        }
    }

    /// Those who take requests first, those who serve them last.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(api) = &self.api {
            stop(api).await?;
        }
        // All are asked before the first is waited for.
        for worker in &self.workers {
            worker.signal(devstack::Signal::Terminate)?;
        }
        for worker in &self.workers {
            stop(worker).await?;
        }
        if let Some(paysim) = &self.paysim {
            stop(paysim).await?;
        }
        if let Some(temporal) = self.temporal.take() {
            temporal.stop().await?;
        }
        if let Some(postgres) = self.postgres.take() {
            postgres.stop().await?;
        }
        Ok(())
    }

    /// At once, for somebody who has no more patience. Postgres recovers when it is started next.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        for process in self.processes() {
            process.kill_now()?;
        }
        Ok(())
    }

    fn processes(&self) -> impl Iterator<Item = &Supervised> {
        self.api
            .iter()
            .chain(&self.workers)
            .chain(&self.paysim)
            .chain(self.temporal.as_ref().map(Temporal::process))
            .chain(self.postgres.as_ref().map(Postgres::process))
    }
}

async fn stop(process: &Supervised) -> anyhow::Result<()> {
    process.terminate(STOP_LIMIT).await?;
    Ok(())
}

/// Waits until the process says by HTTP that it is ready; an error quotes its log.
pub(crate) async fn ready(process: &Supervised, port: u16) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        if let Some(status) = process.exited()? {
            return Err(process.ended_early(status).into());
        }
        let said = http::request("GET", port, "/readyz").await;
        if said.as_ref().is_ok_and(http::Answer::good) {
            return Ok(());
        }
        if started.elapsed() > READY_LIMIT {
            let log = process.log().map(|log| log.display().to_string()).unwrap_or_default();
            let said = match said {
                Ok(answer) => format!("status {}: {}", answer.status, answer.body.trim()),
                Err(error) => format!("{error:#}"),
            };
            return Err(anyhow::anyhow!("it last said: {said}")).with_context(|| {
                format!(
                    "{} was not ready after {} s (its log is {log})",
                    process.name(),
                    READY_LIMIT.as_secs()
                )
            });
        }
        time::sleep(READY_POLL).await;
    }
}
