//! A flash sale: a crowd that arrives at its own pace, wants one unit each of a few, and tries again when
//! it is refused. What is told to whom, how soon, and how many workflows it took.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use reqwest::StatusCode;
use temporalio_client::WorkflowCountOptions;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    Done, Tell,
    cells::percentile,
    engine,
    findings::breaches_at_rest,
    load::{Customer, Door, drive},
    machine::Machine,
    stack::{self, Stack},
};

const SKU: &str = "FLASH-1";
const TICK: Duration = Duration::from_millis(10);
const ENTERING: u16 = 16;
const ENTER_LIMIT: Duration = Duration::from_secs(900);

/// How big a sale.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How many units there are
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    units: i64,
    /// How many attempts to buy one are made in all
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    attempts: u32,
    /// How many of them a second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    per_second: u32,
    /// How many customers make them, one at a time each
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    customers: u32,
    /// How many worker processes serve them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    workers: u16,
}

/// What was told, by status and code, and how long it took each time.
type Told = BTreeMap<String, Vec<f64>>;

/// Holds the sale, and looks whether it was right.
pub(crate) async fn run(options: Options, tell: Tell) -> anyhow::Result<Done> {
    let began = Instant::now();
    tell("starting PostgreSQL, Temporal, paysim, the API and workers");
    let mut stack = Stack::start().await?;
    stack::stock(&stack.shop_db, SKU, options.units).await?;
    stack.grow(options.workers).await?;
    let postgres = sqlx::query_scalar("SHOW server_version").fetch_one(&stack.shop_db).await?;
    let mut machine = Machine::look(stack.folder(), stack.temporal().cli(), postgres)?;
    tell("letting the customers in, with a full cart each");
    let door = stack.door.clone();
    let entered = drive((0..options.customers).collect(), ENTERING, ENTER_LIMIT, move |_| {
        let door = door.clone();
        async move { door.enter(SKU).await }
    })
    .await;
    ensure!(entered.failed == 0, "customers cannot fill a cart: {}", entered.errors.join("; "));
    tell("the sale begins");
    let sale = Instant::now();
    let told = sell(&options, &stack.door, entered.done.into(), tell).await?;
    let sale = sale.elapsed();
    tell("waiting for what is under way, and checking the laws");
    let faults = faults(&stack, &options, &told).await?;
    let workflows = engine::connect(&stack.temporal().address())
        .await?
        .count_workflows("WorkflowType = 'checkout'", WorkflowCountOptions::default())
        .await?
        .count();
    machine.finish(began.elapsed());
    let markdown = report(&options, &machine, &told, sale, workflows, &faults)?;
    tell("stopping");
    stack.stop().await?;
    Ok(Done::Measured { markdown, sound: faults.is_empty() })
}

/// Makes the attempts at their pace. An attempt waits for a customer if all are busy.
async fn sell(
    options: &Options,
    door: &Door,
    customers: VecDeque<Customer>,
    tell: Tell,
) -> anyhow::Result<Told> {
    let idle = Arc::new(Mutex::new(customers));
    let told = Arc::new(Mutex::new(Told::new()));
    let mut crowd = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let each_tick = (options.per_second / 100).max(1);
    let mut made = 0;
    while made < options.attempts {
        ticks.tick().await;
        for _ in 0..each_tick.min(options.attempts - made) {
            let customer = idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(customer) = customer else { break };
            made += 1;
            let (door, idle, told) = (door.clone(), Arc::clone(&idle), Arc::clone(&told));
            crowd.spawn(async move {
                let asked = Instant::now();
                let (answer, sold) = match door.attempt(&customer).await {
                    Ok((StatusCode::CREATED, _)) => ("201 sold".to_owned(), true),
                    Ok((StatusCode::ACCEPTED, _)) => ("202 under way".to_owned(), true),
                    Ok((status, code)) => (format!("{} {code}", status.as_u16()), false),
                    Err(error) => (format!("no answer: {error:#}"), false),
                };
                let took_ms = asked.elapsed().as_secs_f64() * 1000.0;
                told.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(answer)
                    .or_default()
                    .push(took_ms);
                if !sold {
                    idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(customer);
                }
            });
            if made % 10_000 == 0 {
                tell(&format!("{made} attempts made"));
            }
        }
        while crowd.try_join_next().is_some() {}
    }
    crowd.join_all().await;
    let told = Arc::into_inner(told).context("an attempt is still being made")?;
    Ok(told.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What is wrong with how it came out, if anything is.
async fn faults(stack: &Stack, options: &Options, told: &Told) -> anyhow::Result<Vec<String>> {
    let breaches = breaches_at_rest(&stack.shop_db).await?;
    let mut conn = stack.shop_db.acquire().await?;
    let mut faults: Vec<String> = breaches
        .into_iter()
        .map(|breach| format!("{}: {}", breach.claim, breach.examples.join(", ")))
        .collect();
    let (available, sold): (i64, i64) =
        sqlx::query_as("SELECT available, sold FROM inventory WHERE sku = $1")
            .bind(SKU)
            .fetch_one(&mut *conn)
            .await?;
    if (available, sold) != (0, options.units) {
        faults.push(format!("{sold} of {} units are sold, and {available} left", options.units));
    }
    let successes: usize = told
        .iter()
        .filter(|(answer, _)| answer.starts_with("20"))
        .map(|(_, took)| took.len())
        .sum();
    if i64::try_from(successes)? != options.units {
        faults.push(format!("{successes} customers were told that they have one"));
    }
    Ok(faults)
}

fn report(
    options: &Options,
    machine: &Machine,
    told: &Told,
    sale: Duration,
    workflows: usize,
    faults: &[String],
) -> anyhow::Result<String> {
    let mut page = format!(
        "## A flash sale\n\n\
         {} CPUs ({}), {} GB, Linux {}; load {} before, {} after; PostgreSQL {}; {}; revision {}.\n\
         {} attempts by {} customers at {} a second, one unit each of {}; {} workers. The crowd runs in the same machine. It took {:.0} s.\n\n\
         | told | times | p50 ms | p99 ms | longest ms |\n|---|--:|--:|--:|--:|\n",
        machine.cpus,
        machine.cpu_model,
        machine.memory_bytes / 1_000_000_000,
        machine.kernel,
        machine.load_before,
        machine.load_after,
        machine.postgres,
        machine.temporal,
        machine.revision,
        options.attempts,
        options.customers,
        options.per_second,
        options.units,
        options.workers,
        sale.as_secs_f64(),
    );
    for (answer, took) in told {
        writeln!(
            page,
            "| {answer} | {} | {:.1} | {:.1} | {:.1} |",
            took.len(),
            percentile(took, 50),
            percentile(took, 99),
            percentile(took, 100),
        )?;
    }
    writeln!(page, "\n{workflows} workflows were started.")?;
    for fault in faults {
        writeln!(page, "**These figures are not to be trusted:** {fault}.")?;
    }
    Ok(page)
}
