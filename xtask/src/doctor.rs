//! `cargo xtask doctor`: what this machine lacks to build and run the shop, and whether a running stack answers. It
//! changes nothing.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use devstack::{check_account, check_pip, ports::check_free, tools, workspace_root};
use sqlx::{Connection, PgConnection};
use tokio::{net::TcpStream, process::Command, time};

use crate::{
    cargo, http,
    ports::{API_FLAG, OwnServers, PAYSIM_FLAG, Ports, TEMPORAL_FLAG, UI_FLAG},
};

/// The oldest compiler that builds the workspace; `rust-toolchain.toml` asks rustup for a newer one.
const RUST_MINOR_MIN: u32 = 94;

/// Builds, servers and their data take about half of this.
const DISK_FREE_BYTES_MIN: u64 = 10_000_000_000;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// An audit reads every reservation there is.
const AUDIT_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    ports: Ports,
}

/// One line of the report: what is so, or what to do about it.
type Finding = Result<String, String>;

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let own = OwnServers::from_environment();
    let mut findings =
        vec![("Rust", rust().await), ("C compiler", c_compiler().await), ("disk", disk().await)];
    findings.extend(servers(&own));
    findings.extend(stack(&options.ports, &own).await);
    let mut missing = 0_usize;
    for (name, finding) in findings {
        match finding {
            Ok(good) => println!("ok       {name}: {good}"),
            Err(bad) => {
                missing += 1;
                println!("missing  {name}: {bad}");
            }
        }
    }
    if missing == 0 {
        println!("nothing is missing");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{missing} to be put right");
    Ok(ExitCode::FAILURE)
}

async fn rust() -> Finding {
    const GET: &str = "install it by https://rustup.rs, which reads rust-toolchain.toml";
    let version = first_line("rustc", &["--version"]).await.ok_or(format!("no rustc: {GET}"))?;
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(minor) if minor >= RUST_MINOR_MIN => Ok(version),
        _ => Err(format!("{version} is older than 1.{RUST_MINOR_MIN}: {GET}")),
    }
}

async fn c_compiler() -> Finding {
    first_line("cc", &["--version"]).await.ok_or_else(|| {
        "no cc, which the cryptography needs (Debian and Ubuntu: apt-get install gcc libc6-dev; \
         macOS: xcode-select --install)"
            .to_owned()
    })
}

async fn disk() -> Finding {
    let root = workspace_root();
    let kilobytes = output("df", &["-P", "-k", &root.to_string_lossy()])
        .await
        .and_then(|text| text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok())
        .ok_or("df does not say how much room is left")?;
    let free = kilobytes * 1024;
    let said = format!("{} GB free at {}", free / 1_000_000_000, root.display());
    if free >= DISK_FREE_BYTES_MIN {
        return Ok(said);
    }
    Err(format!("{said}, and {} GB are wanted: make room", DISK_FREE_BYTES_MIN / 1_000_000_000))
}

/// What fetching and starting our own servers needs, as far as they are to be ours.
fn servers(own: &OwnServers) -> Vec<(&'static str, Finding)> {
    let mut findings = Vec::new();
    let mut to_fetch = false;
    for (label, version, there) in tools::state() {
        let theirs = match label {
            tools::POSTGRES_LABEL => own.database_url.is_some(),
            _ => own.temporal_address.is_some(),
        };
        let said = match (theirs, there) {
            (true, _) => "yours, from the environment".to_owned(),
            (false, true) => format!("{version} is fetched"),
            (false, false) => format!("{version} will be fetched at the first start"),
        };
        to_fetch |= !theirs && !there;
        findings.push((label, Ok(said)));
    }
    // Without anything to fetch, Python is not needed.
    if to_fetch {
        findings.push(("Python with pip", check_pip().map_err(|error| error.to_string())));
    }
    if own.database_url.is_none() {
        findings.push(("account", check_account().map_err(|error| error.to_string())));
    }
    findings
}

/// A port is in order when it is free, or when what we would start there answers.
async fn stack(ports: &Ports, own: &OwnServers) -> Vec<(&'static str, Finding)> {
    let mut findings = vec![
        ("API", web(ports.api_port, API_FLAG, "/readyz").await),
        ("paysim", web(ports.paysim_port, PAYSIM_FLAG, "/readyz").await),
    ];
    if let Some(address) = &own.temporal_address {
        findings.push(("Temporal", temporal(address).await));
    } else {
        findings.push(("Temporal's web UI", web(ports.ui_port, UI_FLAG, "/").await));
        findings.push((
            "Temporal",
            match check_free(ports.temporal_port, Some(TEMPORAL_FLAG)) {
                Ok(()) => Ok(free(ports.temporal_port)),
                Err(taken) => temporal(&format!("127.0.0.1:{}", ports.temporal_port))
                    .await
                    .map_err(|_| taken.to_string()),
            },
        ));
    }
    findings.push(("PostgreSQL", postgres(ports, own).await));
    findings.push(("books", books(ports, own).await));
    findings
}

/// Every law of the shop's books, by the worker that knows them.
async fn books(ports: &Ports, own: &OwnServers) -> Finding {
    let port = ports.postgres_port;
    if own.database_url.is_none() && check_free(port, None).is_ok() {
        return Ok("nothing runs whose books could be checked".to_owned());
    }
    let worker = cargo::program("worker", false).map_err(|error| error.to_string())?;
    if !worker.is_file() {
        return Ok("not checked: build the worker with `cargo build -p worker`".to_owned());
    }
    let url = own
        .database_url
        .clone()
        .unwrap_or_else(|| format!("postgres://postgres@127.0.0.1:{port}/holdfast"));
    let audit = Command::new(worker)
        .args(["audit", "--database-url", &url])
        .env("RUST_LOG", "info,sqlx=warn")
        .kill_on_drop(true)
        .output();
    match time::timeout(AUDIT_LIMIT, audit).await {
        Ok(Ok(output)) if output.status.success() => Ok("every law holds".to_owned()),
        Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not checked within {} s", AUDIT_LIMIT.as_secs())),
    }
}

async fn web(port: u16, flag: &'static str, path: &str) -> Finding {
    let Err(taken) = check_free(port, Some(flag)) else {
        return Ok(free(port));
    };
    match http::request("GET", port, path).await {
        Ok(answer) if answer.good() => Ok(format!("answers on port {port}")),
        Ok(answer) => Err(format!("{taken} (it answers {path} with {})", answer.status)),
        Err(_) => Err(taken.to_string()),
    }
}

/// Asked through its command line when that is fetched; else only whether somebody listens.
async fn temporal(address: &str) -> Finding {
    let no_answer = || format!("{address} does not answer");
    if let Some(cli) = tools::fetched_temporal() {
        let health = ["operator", "cluster", "health", "--address", address];
        let cli = cli.to_string_lossy().into_owned();
        let said = first_line(&cli, &health).await.ok_or_else(no_answer)?;
        return Ok(format!("{said} on {address}"));
    }
    let connected = time::timeout(ANSWER_LIMIT, TcpStream::connect(address)).await;
    match connected {
        Ok(Ok(_)) => Ok(format!("listens on {address}")),
        _ => Err(no_answer()),
    }
}

async fn postgres(ports: &Ports, own: &OwnServers) -> Finding {
    let port = ports.postgres_port;
    let (url, taken) = match &own.database_url {
        Some(url) => (url.clone(), "DATABASE_URL".to_owned()),
        None => match check_free(port, Some(crate::ports::POSTGRES_FLAG)) {
            Ok(()) => return Ok(free(port)),
            Err(taken) => {
                (format!("postgres://postgres@127.0.0.1:{port}/postgres"), taken.to_string())
            }
        },
    };
    let version = async {
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::query_scalar::<_, String>("SHOW server_version").fetch_one(&mut connection).await
    };
    match time::timeout(ANSWER_LIMIT, version).await {
        Ok(Ok(version)) => Ok(format!("version {version} answers")),
        Ok(Err(error)) => Err(format!("{taken}: {error}")),
        Err(_) => Err(format!("{taken}: no answer in {} s", ANSWER_LIMIT.as_secs())),
    }
}

fn free(port: u16) -> String {
    format!("not running, port {port} is free")
}

/// The first line of what a command says, if it succeeds.
async fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let text = output(program, arguments).await?;
    Some(text.lines().next().unwrap_or_default().to_owned())
}

/// What a command says, if it succeeds.
async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let command = Command::new(program).args(arguments).kill_on_drop(true).output();
    let output = time::timeout(ANSWER_LIMIT, command).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
