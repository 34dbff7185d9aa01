//! The API's binary: reads the environment, runs the server, and says why when it cannot.

use std::io::{IsTerminal as _, Write as _};

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    let config = api::Config::parse();
    if let Some(operator) = &config.operator_token {
        writeln!(std::io::stdout(), "{}", api::operator_token(&config.jwt_secret, operator))?;
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "info,temporalio_client=warn".into()),
        )
        .init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(api::run(config))
}
