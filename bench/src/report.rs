//! The findings as a page of Markdown, the aims beside what was measured.

use std::fmt::Write as _;

use crate::{
    Options,
    cells::{Cell, ENGINE_AND_WORKERS, Kind, OURS, POSTGRES, Rounds},
    engine::Weight,
    findings::{Findings, Verdict},
    processes::{Memory, Part},
};

const IDLE_P50_MS_MAX: f64 = 60.0;
const EVENTS_MAX: usize = 24;
const HISTORY_BYTES_MAX: i64 = 24 * 1024;
const ENGINE_RATIO_MAX: f64 = 1.3;
const BUSY_CLIENTS: u16 = 32;
const BUSY_PER_S_MIN: f64 = 50.0;
const RESIDENT_BYTES_MAX: u64 = 200_000_000;
const MEGABYTE: u64 = 1_000_000;

pub(crate) fn markdown(options: &Options, findings: &Findings) -> String {
    let mut page = String::new();
    conditions(&mut page, options, findings);
    checkouts(&mut page, options, findings);
    postgres(&mut page, options, findings);
    rest(&mut page, findings);
    histories(&mut page, findings);
    aims(&mut page, options, findings);
    verdict(&mut page, &findings.verdict);
    page
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($page:expr) => { $page.push('\n') };
    ($page:expr, $($words:tt)*) => { writeln!($page, $($words)*).expect("a string takes everything") };
}

fn conditions(page: &mut String, options: &Options, findings: &Findings) {
    let machine = &findings.machine;
    line!(page, "## What a checkout costs");
    line!(page);
    line!(
        page,
        "{} CPUs ({}), {} GB, Linux {}; load {} before, {} after; {:.0} s in all.",
        machine.cpus,
        machine.cpu_model,
        machine.memory_bytes / 1_000_000_000,
        machine.kernel,
        machine.load_before,
        machine.load_after,
        machine.duration_s,
    );
    line!(
        page,
        "PostgreSQL {} (fsync and synchronous_commit on), {}; data on {}, 8 KiB durable in {:.2} ms; revision {}.",
        machine.postgres,
        machine.temporal,
        machine.file_system,
        machine.sync_ms,
        machine.revision,
    );
    line!(
        page,
        "Cells of at most {} checkouts and {} s, {} rounds, medians. One SKU, express, no delay at the card network.",
        options.checkouts,
        options.seconds,
        options.rounds,
    );
    line!(page);
}

fn checkouts(page: &mut String, options: &Options, findings: &Findings) {
    line!(
        page,
        "`bare` is a workflow of the same shape whose steps do nothing, measured in turns with the checkout."
    );
    line!(
        page,
        "CPU is in milliseconds for each one completed; `E+W` is Temporal and workers, checkout / bare."
    );
    line!(page);
    line!(
        page,
        "| workers | clients | | n | per s | p50 ms | p99 ms | api | workers | postgres | temporal | paysim | bench \
         | all | E+W | idle % | others % |"
    );
    line!(page, "|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for &workers in &options.workers {
        for &clients in &options.clients {
            let of = |kind| Rounds::of(&findings.cells, kind, workers, clients);
            let ratio =
                of(Kind::Checkout).ratio(&of(Kind::Bare), |cell| cell.cpu(&ENGINE_AND_WORKERS));
            for kind in Kind::ALL {
                let rounds = of(kind);
                let cpu = |parts: &[Part]| rounds.median(|cell| cell.cpu(parts));
                let shown =
                    if kind == Kind::Checkout { format!("{ratio:.2}") } else { String::new() };
                line!(
                    page,
                    "| {workers} | {clients} | {} | {} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} \
                     | {:.1} | {:.1} | {shown} | {:.0} | {:.0} |",
                    kind.name(),
                    rounds.total(|cell| cell.completed),
                    rounds.median(|cell| cell.per_s),
                    rounds.median(|cell| cell.p50_ms),
                    rounds.median(|cell| cell.p99_ms),
                    cpu(&[Part::Api]),
                    cpu(&[Part::Workers]),
                    cpu(&POSTGRES),
                    cpu(&[Part::Temporal]),
                    cpu(&[Part::Paysim]),
                    cpu(&[Part::Bench]),
                    cpu(&OURS),
                    rounds.median(Cell::idle_percent),
                    rounds.median(Cell::others_percent),
                );
            }
        }
    }
    line!(page);
}

fn postgres(page: &mut String, options: &Options, findings: &Findings) {
    line!(page, "PostgreSQL's CPU ms for each checkout, by whom it serves:");
    line!(page);
    line!(page, "| workers | clients | the shop | the card network | itself |");
    line!(page, "|--:|--:|--:|--:|--:|");
    for &workers in &options.workers {
        for &clients in &options.clients {
            let rounds = Rounds::of(&findings.cells, Kind::Checkout, workers, clients);
            let [shop, paysim, own] = POSTGRES.map(|part| rounds.median(|cell| cell.cpu(&[part])));
            line!(page, "| {workers} | {clients} | {shop:.1} | {paysim:.1} | {own:.1} |");
        }
    }
    line!(page);
}

fn rest(page: &mut String, findings: &Findings) {
    for (workers, used) in &findings.rest {
        let of = |parts: &[Part]| -> f64 { parts.iter().filter_map(|part| used.get(part)).sum() };
        line!(
            page,
            "At rest with {workers} of each worker, CPU ms a second: api {:.1}, shop's workers {:.1}, bare workers {:.1}, \
             postgres {:.1}, temporal {:.1}, paysim {:.1}.",
            of(&[Part::Api]),
            of(&[Part::Workers]),
            of(&[Part::IdleWorkers]),
            of(&POSTGRES),
            of(&[Part::Temporal]),
            of(&[Part::Paysim]),
        );
    }
    line!(page);
}

fn histories(page: &mut String, findings: &Findings) {
    let weights = &findings.weights;
    line!(page, "| history | n | events, median | most | bytes, median | most |");
    line!(page, "|---|--:|--:|--:|--:|--:|");
    let all = [
        ("checkout", &weights.checkout),
        ("its fulfilment, begun", &weights.fulfilment),
        ("bare", &weights.bare),
    ];
    for (name, weights) in all {
        let typical = typical(weights);
        let events = weights.iter().map(|weight| weight.events).max().unwrap_or_default();
        let bytes = weights.iter().map(|weight| weight.bytes).max().unwrap_or_default();
        line!(
            page,
            "| {name} | {} | {} | {events} | {} | {bytes} |",
            weights.len(),
            typical.events,
            typical.bytes
        );
    }
    line!(page);
}

fn aims(page: &mut String, options: &Options, findings: &Findings) {
    line!(page, "| aim | | measured | met |");
    line!(page, "|---|--:|--:|---|");
    let mut aim = |what: &str, aim: String, measured: String, met: bool| {
        line!(page, "| {what} | {aim} | {measured} | {} |", if met { "yes" } else { "**no**" });
    };
    let checkouts =
        |workers, clients| Rounds::of(&findings.cells, Kind::Checkout, workers, clients);
    for &workers in &options.workers {
        if options.clients.contains(&1) {
            let p50_ms = checkouts(workers, 1).median(|cell| cell.p50_ms);
            let met = p50_ms <= IDLE_P50_MS_MAX;
            aim(
                &format!("p50, one client, {workers} workers"),
                format!("≤ {IDLE_P50_MS_MAX} ms"),
                format!("{p50_ms:.0} ms"),
                met,
            );
        }
        if options.clients.contains(&BUSY_CLIENTS) {
            let per_s = checkouts(workers, BUSY_CLIENTS).median(|cell| cell.per_s);
            let what = format!("checkouts a second, {BUSY_CLIENTS} clients, {workers} workers");
            aim(
                &what,
                format!("≥ {BUSY_PER_S_MIN}"),
                format!("{per_s:.1}"),
                per_s >= BUSY_PER_S_MIN,
            );
        }
        for &clients in &options.clients {
            let bare = Rounds::of(&findings.cells, Kind::Bare, workers, clients);
            let ratio =
                checkouts(workers, clients).ratio(&bare, |cell| cell.cpu(&ENGINE_AND_WORKERS));
            let what =
                format!("engine and worker CPU against bare, {clients} clients, {workers} workers");
            aim(
                &what,
                format!("≤ {ENGINE_RATIO_MAX}"),
                format!("{ratio:.2}"),
                ratio <= ENGINE_RATIO_MAX,
            );
        }
    }
    let (checkout, fulfilment) =
        (typical(&findings.weights.checkout), typical(&findings.weights.fulfilment));
    let events = checkout.events + fulfilment.events;
    aim(
        "history events, both workflows",
        format!("≤ {EVENTS_MAX}"),
        events.to_string(),
        events <= EVENTS_MAX,
    );
    let bytes = checkout.bytes + fulfilment.bytes;
    let met = bytes <= HISTORY_BYTES_MAX;
    aim("history bytes, both workflows", format!("≤ {HISTORY_BYTES_MAX}"), bytes.to_string(), met);
    let mut resident = |who: &str, memory: &Memory| {
        let now = format!(
            "{} MB, at most {}",
            memory.resident_bytes / MEGABYTE,
            memory.peak_bytes / MEGABYTE
        );
        let met = memory.resident_bytes < RESIDENT_BYTES_MAX;
        aim(
            &format!("memory of {who}"),
            format!("< {} MB", RESIDENT_BYTES_MAX / MEGABYTE),
            now,
            met,
        );
    };
    resident("the API", &findings.api_memory);
    for (memory, number) in findings.worker_memory.iter().zip(1..) {
        resident(&format!("worker {number}"), memory);
    }
    line!(page);
}

fn verdict(page: &mut String, verdict: &Verdict) {
    line!(
        page,
        "{} checkouts completed (warm-up included), {} units sold, {} payments captured by the card network, {} failures.",
        verdict.completed,
        verdict.sold,
        verdict.captured,
        verdict.failed,
    );
    for breach in &verdict.breaches {
        line!(page, "**Broken law:** {}: {}.", breach.claim, breach.examples.join(", "));
    }
    if verdict.breaches.is_empty() {
        line!(page, "Every law of the shop holds.");
    }
    if !verdict.sound() {
        line!(page, "**These figures are not to be trusted: what must always hold does not.**");
    }
}

/// The medians.
fn typical(weights: &[Weight]) -> Weight {
    let mut sorted: Vec<Weight> = weights.to_vec();
    sorted.sort_by_key(|weight| weight.bytes);
    let bytes = sorted.get(sorted.len() / 2).map_or(0, |weight| weight.bytes);
    sorted.sort_by_key(|weight| weight.events);
    let events = sorted.get(sorted.len() / 2).map_or(0, |weight| weight.events);
    Weight { events, bytes }
}
