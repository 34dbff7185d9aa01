//! Everything that a run found out, as it is written to a file.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde::Serialize;
use store::law::Breach;

use crate::{
    cells::Cell,
    engine::Weight,
    machine::Machine,
    processes::{Memory, Times},
};

/// The whole of it.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    pub(crate) machine: Machine,
    pub(crate) cells: Vec<Cell>,
    /// CPU milliseconds a second of the system at rest, by number of workers.
    pub(crate) rest: Vec<(u16, Times)>,
    pub(crate) weights: Weights,
    pub(crate) api_memory: Memory,
    pub(crate) worker_memory: Vec<Memory>,
    pub(crate) verdict: Verdict,
}

/// What the histories of the last few weigh.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Weights {
    pub(crate) checkout: Vec<Weight>,
    pub(crate) fulfilment: Vec<Weight>,
    pub(crate) bare: Vec<Weight>,
    pub(crate) bare_child: Vec<Weight>,
}

/// What must hold after any run.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    pub(crate) sold: i64,
    pub(crate) captured: i64,
    pub(crate) breaches: Vec<Breach>,
}

impl Verdict {
    pub(crate) fn sound(&self) -> bool {
        let completed = i64::try_from(self.completed).unwrap_or(i64::MAX);
        self.breaches.is_empty()
            && self.failed == 0
            && self.sold == completed
            && self.captured == completed
    }
}

impl Findings {
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, text + "\n").with_context(|| format!("could not write {}", file.display()))
    }
}
