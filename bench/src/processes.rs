//! CPU time and memory of processes, from `/proc`. Whose processes they are is the caller's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::Context as _;
use serde::Serialize;

/// The unit of `/proc`'s times. The kernel shows them in hundredths of a second on every platform that
/// the servers are built for, whatever its own clock.
const TICK_MS: f64 = 10.0;

/// What time is booked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Api,
    /// The workers of what is measured: the shop's, or the bare ones.
    Workers,
    /// The workers of what is not measured, which only poll.
    IdleWorkers,
    /// Sessions in the shop's database.
    PostgresShop,
    /// Sessions in the card network's database.
    PostgresPaysim,
    /// The server's own processes: log writer, checkpointer and the rest.
    PostgresOwn,
    Temporal,
    Paysim,
    Bench,
    /// The whole machine, everybody's processes.
    MachineBusy,
    MachineIdle,
    /// Taken by the machine's host.
    MachineStolen,
}

/// CPU time, in milliseconds.
pub(crate) type Times = BTreeMap<Part, f64>;

/// The root processes to book, each with all below it.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    pub(crate) api: u32,
    pub(crate) shop_workers: Vec<u32>,
    pub(crate) bare_workers: Vec<u32>,
    pub(crate) postgres: u32,
    pub(crate) temporal: u32,
    pub(crate) paysim: u32,
}

/// What has been used so far.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    shop_workers_ms: f64,
    bare_workers_ms: f64,
    others: Times,
}

impl Reading {
    pub(crate) fn take(roots: &Roots) -> anyhow::Result<Self> {
        let table = Table::read()?;
        let all = |pids: &[u32]| pids.iter().map(|pid| table.below(*pid)).sum();
        let mut others = machine()?;
        others.insert(Part::Api, table.below(roots.api));
        others.insert(Part::Temporal, table.below(roots.temporal));
        others.insert(Part::Paysim, table.below(roots.paysim));
        // The servers are its children, so only its own.
        others.insert(Part::Bench, table.own(std::process::id()));
        for pid in table.tree(roots.postgres) {
            let time = table.own(pid) + table.reaped(pid);
            *others.entry(postgres_part(pid)).or_default() += time;
        }
        let (shop_workers_ms, bare_workers_ms) =
            (all(&roots.shop_workers), all(&roots.bare_workers));
        Ok(Self { shop_workers_ms, bare_workers_ms, others })
    }

    /// What was used between an earlier reading and this one. `shop` says whose workers are measured.
    pub(crate) fn since(&self, earlier: &Self, shop: bool) -> Times {
        let mut times = Times::new();
        for (part, now) in &self.others {
            // A session that ended in between is the server's from then on, so a part may shrink.
            let before = earlier.others.get(part).copied().unwrap_or_default();
            times.insert(*part, (now - before).max(0.0));
        }
        let shop_workers_ms = self.shop_workers_ms - earlier.shop_workers_ms;
        let bare_workers_ms = self.bare_workers_ms - earlier.bare_workers_ms;
        let (workers, idle) = if shop {
            (shop_workers_ms, bare_workers_ms)
        } else {
            (bare_workers_ms, shop_workers_ms)
        };
        times.insert(Part::Workers, workers);
        times.insert(Part::IdleWorkers, idle);
        times
    }
}

/// Every process of the machine: its parent, its own time, and that of its children that have ended.
struct Table(BTreeMap<u32, Row>);

struct Row {
    parent: u32,
    own_ms: f64,
    reaped_ms: f64,
}

impl Table {
    fn read() -> anyhow::Result<Self> {
        let mut table = BTreeMap::new();
        for entry in fs::read_dir("/proc").context("this needs Linux's /proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end while we look.
            if let Some(row) =
                fs::read_to_string(entry.path().join("stat")).ok().and_then(|text| parse(&text))
            {
                table.insert(pid, row);
            }
        }
        Ok(Self(table))
    }

    fn own(&self, pid: u32) -> f64 {
        self.0.get(&pid).map_or(0.0, |row| row.own_ms)
    }

    fn reaped(&self, pid: u32) -> f64 {
        self.0.get(&pid).map_or(0.0, |row| row.reaped_ms)
    }

    fn below(&self, root: u32) -> f64 {
        self.tree(root).into_iter().map(|pid| self.own(pid) + self.reaped(pid)).sum()
    }

    fn tree(&self, root: u32) -> BTreeSet<u32> {
        let mut tree = BTreeSet::from([root]);
        loop {
            let more: Vec<u32> = self
                .0
                .iter()
                .filter(|(pid, row)| tree.contains(&row.parent) && !tree.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                return tree;
            }
            tree.extend(more);
        }
    }
}

/// A line of `/proc/PID/stat`. The name in parentheses may hold anything, parentheses too.
fn parse(stat: &str) -> Option<Row> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Row {
        parent: fields.get(1)?.parse().ok()?,
        own_ms: (ticks(11)? + ticks(12)?) * TICK_MS,
        reaped_ms: (ticks(13)? + ticks(14)?) * TICK_MS,
    })
}

/// A session says in its title which database it is in.
fn postgres_part(pid: u32) -> Part {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let title = String::from_utf8_lossy(&title);
    match title.strip_prefix("postgres: postgres ").and_then(|rest| rest.split(' ').next()) {
        Some(crate::stack::SHOP_DATABASE) => Part::PostgresShop,
        Some(crate::stack::PAYSIM_DATABASE) => Part::PostgresPaysim,
        _ => Part::PostgresOwn,
    }
}

fn machine() -> anyhow::Result<Times> {
    let text = fs::read_to_string("/proc/stat").context("this needs Linux's /proc")?;
    let fields: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .map(|field| field.parse::<f64>().map(|ticks| ticks * TICK_MS))
        .collect::<Result<_, _>>()?;
    let field = |index: usize| fields.get(index).copied().unwrap_or_default();
    Ok(Times::from([
        // User, nice, system, and both kinds of interrupts; idle is idle and waiting for disks.
        (Part::MachineBusy, [0, 1, 2, 5, 6].into_iter().map(field).sum()),
        (Part::MachineIdle, field(3) + field(4)),
        (Part::MachineStolen, field(7)),
    ]))
}

/// What a process keeps in memory now, and the most it ever did, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    pub(crate) resident_bytes: u64,
    pub(crate) peak_bytes: u64,
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes =
            line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024)
            .with_context(|| format!("{path} does not say {name}"))
    };
    Ok(Memory { resident_bytes: field("VmRSS:")?, peak_bytes: field("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat =
            "42 (tmux: (x) y) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 30 10 20 0 1 0 100 1000 10";
        let row = parse(stat).expect("parses");
        assert_eq!((row.parent, row.own_ms, row.reaped_ms), (7, 2000.0, 400.0));
    }

    #[test]
    fn a_tree_holds_grandchildren_and_nobody_else() {
        let row = |parent| Row { parent, own_ms: 1.0, reaped_ms: 0.0 };
        let table = Table(BTreeMap::from([
            (1, row(0)),
            (2, row(5)),
            (5, row(1)),
            (6, row(1)),
            (9, row(2)),
        ]));
        assert_eq!(table.tree(5), BTreeSet::from([2, 5, 9]));
    }

    #[test]
    fn our_own_memory_is_read() {
        let memory = memory(std::process::id()).expect("we exist");
        assert!(memory.resident_bytes > 0 && memory.peak_bytes >= memory.resident_bytes);
    }
}
