//! What things cost: a checkout, a reservation (`inventory.rs`), a flash sale (`flash.rs`).
//!
//! For the checkout, the whole shop runs as real processes on real servers and sells over HTTP;
//! interleaved with it, in the same run, a bare workflow of the same shape that does nothing. The
//! difference is ours, the rest is the engine's. No figure is judged here beyond the aims in
//! `report.rs`; what must always hold (the laws, the counts) fails the run.

mod bare;
mod bare_worker;
mod cells;
mod engine;
mod findings;
mod flash;
mod inventory;
mod load;
mod machine;
mod plan;
mod processes;
mod report;
mod rest;
mod stack;

use std::{future::Future, net::SocketAddr, path::PathBuf, pin::Pin};

use anyhow::Context as _;
pub use clap::Parser;
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Boxed, so that the binary does not compile the whole engine a second time.
type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Says how far it is.
pub(crate) type Tell = fn(&str);

/// Measures the shop.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench", about = "Measure the shop", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What a checkout costs, beside a bare workflow of the same shape
    Checkout(Options),
    /// What a reservation costs: plain transactions, bare updates, and the shop's queues
    Inventory(inventory::Options),
    /// A crowd at a few units: who is told what, how soon, and how many workflows it takes
    Flash(flash::Options),
    /// Serve the bare workflow; started by `checkout`
    #[command(hide = true)]
    BareWorker {
        /// Accepts connections here once it takes work
        #[arg(long)]
        ready_listen: SocketAddr,
    },
}

/// How much to measure. Every cell is bounded by a count and a time, whichever comes first.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How many clients buy at the same time
    #[arg(long, value_delimiter = ',', default_value = "1,8,32", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) clients: Vec<u16>,
    /// How many worker processes serve them
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) workers: Vec<u16>,
    /// The most checkouts of a cell
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) checkouts: u32,
    /// The most seconds of a cell
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// How often each cell is measured; medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(crate) rounds: u16,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// A worker worked, until it was told to stop.
    Worked,
    /// Something was measured.
    Measured {
        /// The report.
        markdown: String,
        /// Whether what must always hold did.
        sound: bool,
    },
}

/// Does what the command line says.
pub fn run(arguments: Arguments, tell: fn(&str)) -> Boxed<anyhow::Result<Done>> {
    Box::pin(async move {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok()
            .context("a TLS provider is installed once")?;
        match arguments.command {
            Command::BareWorker { ready_listen } => {
                bare_worker::run(ready_listen).await?;
                Ok(Done::Worked)
            }
            Command::Checkout(options) => unless_stopped(Box::pin(plan::run(options, tell))).await,
            Command::Flash(options) => unless_stopped(Box::pin(flash::run(options, tell))).await,
            Command::Inventory(options) => {
                unless_stopped(Box::pin(inventory::run(options, tell))).await
            }
        }
    })
}

/// Dropping a run ends every process it started.
async fn unless_stopped(run: Boxed<anyhow::Result<Done>>) -> anyhow::Result<Done> {
    tokio::select! {
        done = run => done,
        stopped = told_to_stop() => {
            stopped?;
            anyhow::bail!("stopped before it was done")
        }
    }
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
