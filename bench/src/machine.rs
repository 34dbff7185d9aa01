//! The conditions a run was made under, without which its figures say nothing.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Serialize;

/// How often the disk is asked to make something durable, and how much.
const SYNCS: usize = 50;
const SYNC_BYTES: usize = 8192;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    pub(crate) cpu_model: String,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// The kind of file system that the servers' data lies on.
    pub(crate) file_system: String,
    /// The median time of making 8 KiB durable there.
    pub(crate) sync_ms: f64,
    pub(crate) postgres: String,
    pub(crate) temporal: String,
    pub(crate) revision: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) duration_s: f64,
}

impl Machine {
    pub(crate) fn look(data: &Path, temporal_cli: &Path, postgres: String) -> anyhow::Result<Self> {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Ok(Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cpu_model: field("/proc/cpuinfo", "model name"),
            memory_bytes: kilobytes * 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            file_system: file_system(data),
            sync_ms: sync_ms(data)?,
            postgres,
            temporal: said_by(Command::new(temporal_cli).arg("--version")),
            revision: said_by(
                Command::new("git")
                    .args(["describe", "--always", "--dirty"])
                    .current_dir(devstack::workspace_root()),
            ),
            load_before: load(),
            load_after: String::new(),
            duration_s: 0.0,
        })
    }

    pub(crate) fn finish(&mut self, duration: Duration) {
        self.load_after = load();
        self.duration_s = duration.as_secs_f64();
    }
}

/// The load averages over 1, 5 and 15 minutes.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Of the mounts that hold the path, the innermost.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        path.starts_with(at).then_some((at.len(), kind))
    });
    holding
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// Tells a disk from one that only says it wrote.
fn sync_ms(directory: &Path) -> anyhow::Result<f64> {
    let path = directory.join("sync");
    let mut file =
        File::create(&path).with_context(|| format!("could not write {}", path.display()))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0; SYNC_BYTES])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    fs::remove_file(&path)?;
    Ok(crate::cells::median(&times))
}

/// The first line a program prints; it may be missing here.
fn said_by(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().filter(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}
