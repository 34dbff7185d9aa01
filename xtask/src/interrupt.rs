//! Being asked to stop: Ctrl-C, SIGTERM, or a closed terminal. What is stopped, and in which order, is up to the task.

use std::{future::Future, process::ExitCode};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell reports for a command ended by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Returns when one of the signals arrives.
pub(crate) async fn requested() -> anyhow::Result<()> {
    let listen = |kind| signal(kind).context("could not listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// The task, or its end when a signal arrives first: dropping it stops the processes it has started.
pub(crate) async fn or(
    task: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        done = task => done,
        asked = requested() => asked.map(|()| ExitCode::from(INTERRUPTED)),
    }
}
