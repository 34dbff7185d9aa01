//! What was measured: one cell per kind, workers, clients and round, and the medians over rounds.

use serde::Serialize;

use crate::processes::{Part, Times};

/// What a cell ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The shop's checkout over HTTP.
    Checkout,
    /// The bare workflow of the same shape.
    Bare,
}

impl Kind {
    /// In the order of their turns.
    pub(crate) const ALL: [Self; 2] = [Self::Checkout, Self::Bare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Bare => "bare",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) workers: u16,
    pub(crate) clients: u16,
    pub(crate) round: u16,
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    pub(crate) elapsed_s: f64,
    pub(crate) per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// For each that completed; of the machine's parts, in all.
    pub(crate) cpu_ms: Times,
}

impl Cell {
    pub(crate) fn cpu(&self, parts: &[Part]) -> f64 {
        parts.iter().map(|part| self.cpu_ms.get(part).copied().unwrap_or_default()).sum()
    }

    /// The share of the machine's CPU time that nobody used, in percent.
    pub(crate) fn idle_percent(&self) -> f64 {
        percent(self.cpu(&[Part::MachineIdle]), self.cpu(&MACHINE))
    }

    /// The share that went to processes which are none of ours, or to the machine's host.
    pub(crate) fn others_percent(&self) -> f64 {
        let ours = self.cpu(&OURS) * count(self.completed);
        let used = self.cpu(&[Part::MachineBusy, Part::MachineStolen]);
        percent((used - ours).max(0.0), self.cpu(&MACHINE))
    }
}

/// Everything that the run started, and itself.
pub(crate) const OURS: [Part; 9] = [
    Part::Api,
    Part::Workers,
    Part::IdleWorkers,
    Part::PostgresShop,
    Part::PostgresPaysim,
    Part::PostgresOwn,
    Part::Temporal,
    Part::Paysim,
    Part::Bench,
];
pub(crate) const POSTGRES: [Part; 3] =
    [Part::PostgresShop, Part::PostgresPaysim, Part::PostgresOwn];
/// What the ratio of the two kinds compares.
pub(crate) const ENGINE_AND_WORKERS: [Part; 2] = [Part::Temporal, Part::Workers];
const MACHINE: [Part; 3] = [Part::MachineBusy, Part::MachineIdle, Part::MachineStolen];

/// All rounds of one kind, workers and clients.
pub(crate) struct Rounds<'a>(Vec<&'a Cell>);

impl<'a> Rounds<'a> {
    pub(crate) fn of(cells: &'a [Cell], kind: Kind, workers: u16, clients: u16) -> Self {
        let wanted =
            |cell: &&Cell| (cell.kind, cell.workers, cell.clients) == (kind, workers, clients);
        Self(cells.iter().filter(wanted).collect())
    }

    pub(crate) fn median(&self, figure: impl Fn(&Cell) -> f64) -> f64 {
        median(&self.0.iter().map(|cell| figure(cell)).collect::<Vec<_>>())
    }

    pub(crate) fn total(&self, figure: impl Fn(&Cell) -> usize) -> usize {
        self.0.iter().map(|cell| figure(cell)).sum()
    }

    /// The median of the rounds' own ratios: what slows the machine for a while slows both.
    pub(crate) fn ratio(&self, other: &Self, figure: impl Fn(&Cell) -> f64) -> f64 {
        let ratios: Vec<f64> = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(ours, theirs)| figure(ours) / figure(theirs))
            .collect();
        median(&ratios)
    }
}

/// The middle one, or the mean of the middle two; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// The smallest value that so many percent of all do not exceed; 0 of nothing.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let sorted = sorted(values);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

/// Counts here are far below where a float loses one.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (100.0, 198.0));
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (7.0, 0.0));
    }

    #[test]
    fn a_median_does_not_care_for_the_order() {
        assert_eq!(
            (median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), median(&[])),
            (2.0, 2.5, 0.0)
        );
    }
}
