//! Why a server could not be fetched or started, in words for the person in front of the terminal.
//! No recovery is decided here.

use std::{io, path::Path, process::ExitStatus, time::Duration};

/// How much of a log an error quotes.
const LOG_TAIL_LINES: usize = 12;

/// Ends every message about something this machine lacks.
pub(crate) const OWN_SERVERS: &str =
    "or set DATABASE_URL / TEMPORAL_ADDRESS to use servers of your own";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "port {port} is already in use: stop what uses it or choose another{}",
        flag.map(|flag| format!(" with {flag}")).unwrap_or_default()
    )]
    PortTaken { port: u16, flag: Option<&'static str> },
    /// Something is missing on this machine; the text says what to do about it.
    #[error("{0}")]
    Missing(String),
    #[error("{name} ended early ({status}){}", quoted(tail))]
    Ended { name: String, status: ExitStatus, tail: String },
    #[error("{name} was not ready after {} s{}", waited.as_secs(), quoted(tail))]
    NotReady { name: String, waited: Duration, tail: String },
    #[error("{name} did not end within {} s", waited.as_secs())]
    StillRunning { name: String, waited: Duration },
    #[error("could not {doing}")]
    Io { doing: String, source: io::Error },
    #[error("could not {doing}")]
    Sql { doing: String, source: sqlx::Error },
    #[error("could not fill the template database {template}")]
    Template { template: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

fn quoted(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!("; its log ends with:\n{tail}") }
}

/// For `map_err`: `could not {doing}`.
pub(crate) fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.into();
    move |source| Error::Io { doing, source }
}

/// For `map_err`: `could not {doing} PATH`.
pub(crate) fn path_error(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    io_error(format!("{doing} {}", path.display()))
}

/// The last lines of a log, or nothing when there is none to read.
pub(crate) fn log_tail(log: Option<&Path>) -> String {
    let text = log.and_then(|log| std::fs::read(log).ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let first = lines.len().saturating_sub(LOG_TAIL_LINES);
    lines[first..].join("\n")
}
