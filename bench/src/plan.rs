//! The run: which cells are measured in which order, and what is checked when they are.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, ensure};
use temporalio_client::Client;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::{
    Done, Options, Tell,
    bare::BareInput,
    cells::{Cell, Kind, count, percentile},
    engine,
    findings::{Findings, Verdict, Weights},
    load::{Customer, Driven, drive},
    machine::Machine,
    processes::{Part, Reading, memory},
    report, rest,
    stack::{SKU, Stack},
};

/// Of each kind, before anything is measured with a new number of workers.
const WARM_UP: u32 = 40;
const WARM_UP_CLIENTS: u16 = 4;
/// How many carts are filled at the same time.
const ENTERING: u16 = 8;
/// As many as the shop's relay starts side by side.
const RELAYED: u16 = 16;
/// How many histories of each kind are weighed.
const WEIGHED: usize = 20;
/// Beside its own time a cell may take as long to prepare; more means that something hangs.
const CELL_SLACK: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(300);

/// Measures, within a bound.
pub(crate) async fn run(mut options: Options, tell: Tell) -> anyhow::Result<Done> {
    for list in [&mut options.workers, &mut options.clients] {
        list.sort_unstable();
        list.dedup();
    }
    let cells = options.workers.len()
        * options.clients.len()
        * usize::from(options.rounds)
        * Kind::ALL.len();
    let each = Duration::from_secs(options.seconds) + CELL_SLACK;
    let limit = START_LIMIT + each * u32::try_from(cells).context("too many cells")?;
    timeout(limit, measure(options, cells, tell))
        .await
        .context("the run takes far too long: something hangs")?
}

async fn measure(options: Options, cells: usize, tell: Tell) -> anyhow::Result<Done> {
    let began = Instant::now();
    tell("starting PostgreSQL, Temporal, paysim and the API");
    let mut stack = Stack::start().await?;
    let postgres = sqlx::query_scalar("SHOW server_version").fetch_one(&stack.shop_db).await?;
    let mut machine = Machine::look(stack.folder(), stack.temporal().cli(), postgres)?;
    let engine = engine::connect(&stack.temporal().address()).await?;
    let mut bench = Bench {
        engine,
        customers: VecDeque::new(),
        last: Last::default(),
        completed: 0,
        failed: 0,
        number: 0,
        cells,
        limit: Duration::from_secs(options.seconds),
        checkouts: options.checkouts,
        tell,
    };
    let mut found = Vec::new();
    let mut at_rest = Vec::new();
    for &workers in &options.workers {
        tell(&format!("{workers} of each worker: starting and warming up"));
        stack.grow(workers).await?;
        bench.warm_up(&stack).await?;
        at_rest.push((workers, rest::used(&stack).await?));
        for round in 1..=options.rounds {
            for &clients in &options.clients {
                for kind in Kind::ALL {
                    found.push(bench.cell(&stack, kind, workers, clients, round).await?);
                }
            }
        }
    }
    tell("weighing histories, checking the laws");
    let verdict = Verdict::reach(&stack, bench.completed, bench.failed).await?;
    let weights = bench.weigh().await?;
    let roots = stack.roots();
    let api_memory = memory(roots.api)?;
    let worker_memory =
        roots.shop_workers.iter().map(|pid| memory(*pid)).collect::<Result<_, _>>()?;
    machine.finish(began.elapsed());
    let findings = Findings {
        machine,
        cells: found,
        rest: at_rest,
        weights,
        api_memory,
        worker_memory,
        verdict,
    };
    tell("stopping");
    stack.stop().await?;
    if let Some(file) = &options.json {
        findings.write(file)?;
    }
    Ok(Done::Measured {
        markdown: report::markdown(&options, &findings),
        sound: findings.verdict.sound(),
    })
}

/// The ids of the last few of each kind.
#[derive(Default)]
struct Last {
    checkouts: VecDeque<domain::CheckoutId>,
    bare: VecDeque<String>,
}

struct Bench {
    engine: Client,
    /// With full carts. Those that one cell had no time for serve the next.
    customers: VecDeque<Customer>,
    last: Last,
    completed: usize,
    failed: usize,
    number: usize,
    cells: usize,
    limit: Duration,
    checkouts: u32,
    tell: Tell,
}

impl Bench {
    async fn warm_up(&mut self, stack: &Stack) -> anyhow::Result<()> {
        self.enter(stack, WARM_UP).await?;
        let customers = std::mem::take(&mut self.customers);
        let sold = self.buy(stack, customers, WARM_UP_CLIENTS).await;
        ensure!(sold.failed == 0, "the shop does not sell: {}", sold.errors.join("; "));
        let bare = self.run_bare(WARM_UP, WARM_UP_CLIENTS).await;
        ensure!(bare.failed == 0, "the bare workflow does not run: {}", bare.errors.join("; "));
        Ok(())
    }

    async fn cell(
        &mut self,
        stack: &Stack,
        kind: Kind,
        workers: u16,
        clients: u16,
        round: u16,
    ) -> anyhow::Result<Cell> {
        if kind == Kind::Checkout {
            self.enter(stack, self.checkouts).await?;
        }
        let roots = stack.roots();
        rest::reached(stack).await?;
        let before = Reading::take(&roots)?;
        let (elapsed, latencies_ms, failed, errors) = match kind {
            Kind::Checkout => {
                let customers = std::mem::take(&mut self.customers);
                let mut sold = self.buy(stack, customers, clients).await;
                self.customers = std::mem::take(&mut sold.left);
                (sold.elapsed, sold.latencies_ms, sold.failed, sold.errors)
            }
            Kind::Bare => {
                let bare = self.run_bare(self.checkouts, clients).await;
                self.leave_sequels(&bare.done).await?;
                (bare.elapsed, bare.latencies_ms, bare.failed, bare.errors)
            }
        };
        // What an answered checkout still costs is its own.
        rest::reached(stack).await?;
        let mut cpu_ms = Reading::take(&roots)?.since(&before, kind == Kind::Checkout);
        ensure!(
            !latencies_ms.is_empty(),
            "not one {} succeeded: {}",
            kind.name(),
            errors.join("; ")
        );
        let completed = latencies_ms.len();
        for (part, ms) in &mut cpu_ms {
            if !matches!(part, Part::MachineBusy | Part::MachineIdle | Part::MachineStolen) {
                *ms /= count(completed);
            }
        }
        let cell = Cell {
            kind,
            workers,
            clients,
            round,
            completed,
            failed,
            elapsed_s: elapsed.as_secs_f64(),
            per_s: count(completed) / elapsed.as_secs_f64(),
            p50_ms: percentile(&latencies_ms, 50),
            p99_ms: percentile(&latencies_ms, 99),
            cpu_ms,
        };
        self.progress(&cell, &errors);
        Ok(cell)
    }

    fn progress(&mut self, cell: &Cell, errors: &[String]) {
        self.number += 1;
        (self.tell)(&format!(
            "{}/{}: round {}, {} workers, {} clients, {}: {:.1}/s, p50 {:.0} ms, p99 {:.0} ms, {} done",
            self.number,
            self.cells,
            cell.round,
            cell.workers,
            cell.clients,
            cell.kind.name(),
            cell.per_s,
            cell.p50_ms,
            cell.p99_ms,
            cell.completed,
        ));
        for error in errors {
            (self.tell)(&format!("  failed: {error}"));
        }
    }

    /// Lets customers in until so many stand before the till.
    async fn enter(&mut self, stack: &Stack, wanted: u32) -> anyhow::Result<()> {
        let missing = usize::try_from(wanted)?.saturating_sub(self.customers.len());
        let door = stack.door.clone();
        let entered = drive((0..missing).collect(), ENTERING, CELL_SLACK, move |_| {
            let door = door.clone();
            async move { door.enter(SKU).await }
        })
        .await;
        ensure!(entered.failed == 0, "customers cannot fill a cart: {}", entered.errors.join("; "));
        self.customers.extend(entered.done);
        Ok(())
    }

    async fn buy(
        &mut self,
        stack: &Stack,
        customers: VecDeque<Customer>,
        clients: u16,
    ) -> Driven<Customer, domain::CheckoutId> {
        let door = stack.door.clone();
        let sold = drive(customers, clients, self.limit, move |customer| {
            let door = door.clone();
            async move { door.buy(customer).await }
        })
        .await;
        self.completed += sold.done.len();
        self.failed += sold.failed;
        keep(&mut self.last.checkouts, &sold.done);
        sold
    }

    async fn run_bare(&mut self, wanted: u32, clients: u16) -> Driven<BareInput, String> {
        let inputs =
            (0..wanted).map(|_| BareInput { id: format!("bare-{}", Uuid::new_v4()) }).collect();
        let engine = self.engine.clone();
        let done = drive(inputs, clients, self.limit, move |input: BareInput| {
            let engine = engine.clone();
            async move {
                let id = input.id.clone();
                engine::run_bare(&engine, input).await.map(|()| id)
            }
        })
        .await;
        self.failed += done.failed;
        keep(&mut self.last.bare, &done.done);
        done
    }

    async fn leave_sequels(&self, ids: &[String]) -> anyhow::Result<()> {
        let engine = self.engine.clone();
        let left = drive(ids.iter().cloned().collect(), RELAYED, CELL_SLACK, move |id| {
            let engine = engine.clone();
            async move { engine::leave_sleeping(&engine, id).await }
        })
        .await;
        ensure!(left.failed == 0, "no sequel could be left: {}", left.errors.join("; "));
        Ok(())
    }

    async fn weigh(&self) -> anyhow::Result<Weights> {
        let mut weights = Weights::default();
        for id in &self.last.checkouts {
            weights.checkout.push(engine::weigh_closed(&self.engine, &id.to_string()).await?);
            weights
                .fulfilment
                .push(engine::weigh_asleep(&self.engine, &id.order().to_string()).await?);
        }
        for id in &self.last.bare {
            weights.bare.push(engine::weigh_closed(&self.engine, id).await?);
        }
        Ok(weights)
    }
}

fn keep<T: Clone>(last: &mut VecDeque<T>, done: &[T]) {
    last.extend(done.iter().cloned());
    last.drain(..last.len().saturating_sub(WEIGHED));
}
