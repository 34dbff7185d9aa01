//! The worker process: reads its configuration once, wires the workflows and activities to the
//! database and the card provider, and runs until it is told to stop. No business decision is here.

use std::{future::Future, pin::Pin, process::ExitCode};

use clap::Parser as _;

mod audit;
mod carriers;
mod config;
mod engine;
mod health;
mod inbox;
mod notify;
mod reconciling;
mod relay;
mod run;
mod seed;

pub use self::config::{Command, Config, Database, Notify, Run};

/// Boxed, so that the binary does not compile the whole engine a second time.
type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Reads the command line and does what it says.
pub fn main() -> Boxed<ExitCode> {
    Box::pin(async {
        tracing_subscriber::fmt()
            .with_env_filter(
                tracing_subscriber::EnvFilter::try_from_default_env()
                    .unwrap_or_else(|_| "info,temporalio_sdk_core=warn,sqlx=warn".into()),
            )
            .with_writer(std::io::stderr)
            .init();
        match execute(Config::parse()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        }
    })
}

async fn execute(config: Config) -> anyhow::Result<()> {
    match config.command {
        Some(Command::Migrate(database)) => seed::migrate(&database).await,
        Some(Command::Seed { database, folder }) => seed::seed(&database, &folder).await,
        Some(Command::Audit(database)) => audit::audit(&database).await,
        Some(Command::Run(run)) => run::run(*run).await,
        None => run::run(config.run).await,
    }
}
