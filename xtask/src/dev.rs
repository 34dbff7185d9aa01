//! `cargo xtask dev`: the whole shop on one machine. Here stand what is started, with which settings, in which order;
//! how it is stopped is in `stack.rs`, what is shown at the end in `greeting.rs`.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use devstack::{
    Durability, Postgres, PostgresOptions, Program, Supervised, Temporal, TemporalOptions,
};

use crate::{
    cargo,
    data::{delete_data, fresh_log, lock, postgres_data, secret, temporal_file},
    greeting, interrupt,
    ports::{self, OwnServers, Ports},
    stack::{Stack, ready},
    tests::fetch,
};

/// The API key of the simulated card network, which takes any of this form.
const PAYMENTS_API_KEY: &str = "sk_test_dev";

/// Whose token is shown.
const OPERATOR: &str = "dev";

/// Migrations and seeding take seconds.
const SET_UP_LIMIT: Duration = Duration::from_mins(5);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many workers to start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=32))]
    workers: u16,
    /// Delete the data of earlier runs first
    #[arg(long)]
    fresh: bool,
    /// Build with optimizations
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    ports: Ports,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut stack = Stack::default();
    let ended = tokio::select! {
        ended = serve(&options, &mut stack) => ended,
        asked = interrupt::requested() => asked,
    };
    if !stack.empty() {
        println!("\nstopping");
    }
    tokio::select! {
        stopped = stack.stop() => stopped?,
        asked = interrupt::requested() => {
            asked?;
            stack.kill()?;
        }
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// Starts everything and then watches it; returns only with an error.
async fn serve(options: &Options, stack: &mut Stack) -> anyhow::Result<()> {
    let started = Instant::now();
    let own = OwnServers::from_environment();
    let directory = devstack::devstack_directory();
    let logs = directory.join("log");
    fs::create_dir_all(&logs).with_context(|| format!("could not make {}", logs.display()))?;
    let _lock = lock(&directory)?;
    for (port, flag, _) in options.ports.wanted(&own) {
        devstack::ports::check_free(port, Some(flag))?;
    }
    fetch(&own).await?;
    if options.fresh {
        delete_data(&own)?;
    }
    let settings = start_servers(options, &own, &logs, stack).await?;
    println!("building the worker, the API and paysim");
    cargo::build_programs(options.release).await?;
    let shop = Shop {
        options,
        logs: &logs,
        settings: &settings,
        secret: secret(&directory, "jwt-secret")?,
        webhook_secret: secret(&directory, "webhook-secret")?,
    };
    shop.set_up().await?;
    shop.start(stack).await?;
    let operator = shop.operator_token().await?;
    greeting::print(&options.ports, &settings, stack, &operator, started.elapsed()).await?;
    stack.watch().await
}

/// Where the shop finds its servers.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) database_url: String,
    pub(crate) paysim_database_url: String,
    pub(crate) temporal_address: String,
}

async fn start_servers(
    options: &Options,
    own: &OwnServers,
    logs: &Path,
    stack: &mut Stack,
) -> anyhow::Result<Settings> {
    let (database_url, paysim_database_url) = if let Some(url) = &own.database_url {
        println!("PostgreSQL: yours, from DATABASE_URL");
        let paysim = std::env::var("PAYSIM_DATABASE_URL");
        (url.clone(), paysim.map_or_else(|_| devstack::sibling_database(url, "paysim"), Ok)?)
    } else {
        let postgres = start_postgres(options, logs).await?;
        println!("PostgreSQL: ready on port {}", postgres.port());
        let postgres = stack.postgres.insert(postgres);
        (postgres.ensure_database("holdfast").await?, postgres.ensure_database("paysim").await?)
    };
    let temporal_address = if let Some(address) = &own.temporal_address {
        println!("Temporal: yours, from TEMPORAL_ADDRESS");
        address.clone()
    } else {
        let temporal = start_temporal(options, logs).await?;
        println!("Temporal: ready on port {}", temporal.port());
        stack.temporal.insert(temporal).address()
    };
    Ok(Settings { database_url, paysim_database_url, temporal_address })
}

async fn start_postgres(options: &Options, logs: &Path) -> anyhow::Result<Postgres> {
    let postgres = Postgres::start(PostgresOptions {
        data_directory: Some(postgres_data()?),
        port: options.ports.postgres_port,
        port_flag: Some(ports::POSTGRES_FLAG),
        durability: Durability::PowerLoss,
        log: Some(fresh_log(logs, "postgres")?),
        settings: Vec::new(),
    });
    Ok(postgres.await?)
}

async fn start_temporal(options: &Options, logs: &Path) -> anyhow::Result<Temporal> {
    let temporal = Temporal::start(TemporalOptions {
        database_file: Some(temporal_file()),
        port: options.ports.temporal_port,
        port_flag: Some(ports::TEMPORAL_FLAG),
        ui_port: Some(options.ports.ui_port),
        ui_port_flag: Some(ports::UI_FLAG),
        log: Some(fresh_log(logs, "temporal")?),
        ..TemporalOptions::default()
    });
    Ok(temporal.await?)
}

/// The shop's own programs and what they are told.
struct Shop<'a> {
    options: &'a Options,
    logs: &'a Path,
    settings: &'a Settings,
    secret: String,
    webhook_secret: String,
}

impl Shop<'_> {
    /// The tables, and the demo catalog in them. Both change nothing when they are there.
    async fn set_up(&self) -> anyhow::Result<()> {
        println!("setting up the database and the demo catalog");
        self.once("migrate", &["migrate"]).await?;
        self.once("seed", &["seed", "catalog"]).await
    }

    async fn once(&self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = self.program("worker", name)?.args(arguments);
        let running = Supervised::start(program)?;
        let status = running.wait_exit(SET_UP_LIMIT).await?;
        if !status.success() {
            return Err(running.ended_early(status).into());
        }
        Ok(())
    }

    async fn start(&self, stack: &mut Stack) -> anyhow::Result<()> {
        let ports = &self.options.ports;
        let paysim = self
            .program("paysim", "paysim")?
            .env("PAYSIM_DATABASE_URL", &self.settings.paysim_database_url)
            .env("PAYSIM_LISTEN", loopback(ports.paysim_port))
            .env("PAYSIM_WEBHOOK_URL", self.api_url("/v1/webhooks/stripe"))
            .env("PAYSIM_WEBHOOK_SECRET", &self.webhook_secret);
        let paysim = stack.paysim.insert(Supervised::start(paysim)?);
        ready(paysim, ports.paysim_port).await?;
        println!("paysim: ready on port {}", ports.paysim_port);

        let mut healths = Vec::new();
        for number in 1..=self.options.workers {
            let (health, metrics) = (devstack::ports::free()?, devstack::ports::free()?);
            let worker = self
                .program("worker", &format!("worker-{number}"))?
                .arg("run")
                .env("PAYMENTS_RETURN_URL", self.api_url("/v1/payments/return"))
                .env("HEALTH_LISTEN", loopback(health))
                .env("METRICS_LISTEN", loopback(metrics));
            stack.workers.push(Supervised::start(worker)?);
            healths.push((health, metrics));
        }
        for (worker, (health, metrics)) in stack.workers.iter().zip(healths) {
            ready(worker, health).await?;
            println!("{}: ready, health on port {health}, metrics on {metrics}", worker.name());
        }

        let api = self
            .program("api", "api")?
            .env("API_LISTEN", loopback(ports.api_port))
            .env("PAYMENTS_WEBHOOK_SECRETS", &self.webhook_secret);
        let api = stack.api.insert(Supervised::start(api)?);
        ready(api, ports.api_port).await?;
        println!("API: ready on port {}", ports.api_port);
        Ok(())
    }

    /// Where one of the API's paths is, which need not be up yet.
    fn api_url(&self, path: &str) -> String {
        format!("http://{}{path}", loopback(self.options.ports.api_port))
    }

    /// The API's program makes tokens for whoever knows its secret.
    async fn operator_token(&self) -> anyhow::Result<String> {
        let made = tokio::process::Command::new(cargo::program("api", self.options.release)?)
            .args(["--operator-token", OPERATOR])
            .env("JWT_SECRET", &self.secret)
            .output()
            .await?;
        if !made.status.success() {
            bail!("no operator's token: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        Ok(String::from_utf8(made.stdout).context("a token is text")?.trim().to_owned())
    }

    /// `name` is what it is called in messages, and its log.
    fn program(&self, program: &str, name: &str) -> anyhow::Result<Program> {
        let path = cargo::program(program, self.options.release)?;
        Ok(Program::new(name, path)
            .current_dir(devstack::workspace_root())
            .log(fresh_log(self.logs, name)?)
            .grace(Duration::from_secs(30))
            .env("DATABASE_URL", &self.settings.database_url)
            .env("TEMPORAL_ADDRESS", &self.settings.temporal_address)
            .env("PAYMENTS_URL", format!("http://{}", loopback(self.options.ports.paysim_port)))
            .env("PAYMENTS_API_KEY", PAYMENTS_API_KEY)
            .env("JWT_SECRET", &self.secret))
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
