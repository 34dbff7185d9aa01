//! One Temporal dev server on loopback, with the settings that make it quick. Which workflows run on it is the caller's.

use std::{
    iter,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, process::Command, task};

use crate::{
    Error, Program, Result, Supervised,
    error::{io_error, log_tail},
    place::Scratch,
    ports, tools,
};

const READY_LIMIT: Duration = Duration::from_mins(1);
const READY_POLL: Duration = Duration::from_millis(20);

/// How long one question by the command line may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default)]
pub struct TemporalOptions {
    /// Made when missing. Without one everything is kept in memory and goes with the server.
    pub database_file: Option<PathBuf>,
    /// 0 for a free one.
    pub port: u16,
    /// `None` for no web UI.
    pub ui_port: Option<u16>,
    /// 0 for a free one.
    pub metrics_port: u16,
    /// The command line's flags for the ports, named in the error when one is taken.
    pub port_flag: Option<&'static str>,
    pub ui_port_flag: Option<&'static str>,
    /// Beside `default`, which always exists.
    pub namespaces: Vec<String>,
    /// Name and type (`Keyword`, `Int`, `Datetime`, ...), registered in every namespace.
    pub search_attributes: Vec<(String, String)>,
    /// Appended to. Without one it goes with the server.
    pub log: Option<PathBuf>,
}

/// A running server. Stopped when dropped.
#[derive(Debug)]
pub struct Temporal {
    // The order matters: fields are dropped from top to bottom.
    server: Supervised,
    cli: PathBuf,
    port: u16,
    ui_port: Option<u16>,
    metrics_port: u16,
    _scratch: Option<Scratch>,
}

impl Temporal {
    pub async fn start(options: TemporalOptions) -> Result<Self> {
        if options.port != 0 {
            ports::check_free(options.port, options.port_flag)?;
        }
        if let Some(port) = options.ui_port {
            ports::check_free(port, options.ui_port_flag)?;
        }
        if options.metrics_port != 0 {
            ports::check_free(options.metrics_port, None)?;
        }
        let cli = task::spawn_blocking(|| tools::temporal(&tools::tell))
            .await
            .expect("fetching does not panic")?;
        let scratch = match options.log {
            Some(_) => None,
            None => Some(Scratch::new("temporal", None)?),
        };
        let old_file = options.database_file.as_ref().is_some_and(|file| file.exists());
        let mut clashes = 0;
        loop {
            let port = or_free(options.port)?;
            let metrics_port = or_free(options.metrics_port)?;
            let mut program = program(&cli, &options, port, metrics_port);
            if let Some(scratch) = &scratch {
                program = program
                    .log(scratch.path().join("temporal.log"))
                    .remove_afterwards(scratch.path());
            }
            let server = Supervised::start(program)?;
            match wait_ready(&server, &cli, port, &options).await {
                Ok(()) => {
                    if old_file {
                        register_search_attributes(&cli, port, &options).await?;
                    }
                    return Ok(Self {
                        server,
                        cli,
                        port,
                        ui_port: options.ui_port,
                        metrics_port,
                        _scratch: scratch,
                    });
                }
                Err(Error::Ended { tail, .. })
                    if ports::clash(&tail) && clashes < ports::CLASHES_MAX =>
                {
                    clashes += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As `TEMPORAL_ADDRESS` wants it.
    pub fn address(&self) -> String {
        address(self.port)
    }

    pub fn ui_url(&self) -> Option<String> {
        self.ui_port.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// The server's own metrics, for Prometheus.
    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics_port)
    }

    /// The `temporal` command line that belongs to this server.
    pub fn cli(&self) -> &Path {
        &self.cli
    }

    pub fn process(&self) -> &Supervised {
        &self.server
    }

    pub async fn stop(self) -> Result<()> {
        self.server.terminate(STOP_LIMIT).await.map(drop)
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn or_free(port: u16) -> Result<u16> {
    match port {
        0 => ports::free(),
        wanted => Ok(wanted),
    }
}

fn program(cli: &Path, options: &TemporalOptions, port: u16, metrics_port: u16) -> Program {
    let mut program = Program::new("temporal", cli)
        .args(["server", "start-dev", "--ip", "127.0.0.1"])
        .args(["--log-level", "error", "--color", "never"])
        .args(["--port", &port.to_string()])
        .args(["--metrics-port", &metrics_port.to_string()])
        // Without this each hand-over of a task waits for a tick of 50 ms.
        .args(["--dynamic-config-value", "history.transferProcessorMaxPollRPS=10000"])
        // Less garbage collection: a fifth of the server's CPU time for some memory.
        .env("GOGC", "800")
        .env("TEMPORAL_VERSION_CHECK_DISABLED", "1")
        .grace(STOP_LIMIT);
    program = match options.ui_port {
        Some(ui_port) => {
            program.args(["--ui-port", &ui_port.to_string()]).arg("--ui-disable-news-fetch")
        }
        None => program.arg("--headless"),
    };
    if let Some(file) = &options.database_file {
        // The default journal costs twice the CPU time. A commit survives the death of the process, as it should; loss
        // of power may take the last ones with it.
        program = program
            .arg("--db-filename")
            .arg(file)
            .args(["--sqlite-pragma", "journal_mode=wal"])
            .args(["--sqlite-pragma", "synchronous=1"]);
    }
    for namespace in &options.namespaces {
        program = program.args(["--namespace", namespace]);
    }
    for (name, kind) in &options.search_attributes {
        program = program.args(["--search-attribute", &format!("{name}={kind}")]);
    }
    match &options.log {
        Some(log) => program.log(log),
        None => program,
    }
}

/// Ready when it says so and every namespace is known.
async fn wait_ready(
    server: &Supervised,
    cli: &Path,
    port: u16,
    options: &TemporalOptions,
) -> Result<()> {
    let started = Instant::now();
    let describe = namespaces(options)
        .map(|namespace| vec!["operator", "namespace", "describe", "--namespace", namespace]);
    let mut questions =
        iter::once(vec!["operator", "cluster", "health"]).chain(describe).peekable();
    while let Some(question) = questions.peek() {
        if let Some(status) = server.exited()? {
            return Err(server.ended_early(status));
        }
        // The port first, because each question costs a new process.
        let listening = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
        if listening && ask(cli, port, question).await?.status.success() {
            questions.next();
            continue;
        }
        if started.elapsed() > READY_LIMIT {
            return Err(Error::NotReady {
                name: server.name().to_owned(),
                waited: READY_LIMIT,
                tail: log_tail(server.log()),
            });
        }
        tokio::time::sleep(READY_POLL).await;
    }
    Ok(())
}

/// The server registers the search attributes it is started with only in namespaces that are new. One that is there
/// already is left alone; one of the same name and another type is an error.
async fn register_search_attributes(
    cli: &Path,
    port: u16,
    options: &TemporalOptions,
) -> Result<()> {
    if options.search_attributes.is_empty() {
        return Ok(());
    }
    for namespace in namespaces(options) {
        let mut command = vec!["operator", "search-attribute", "create", "--namespace", namespace];
        for (name, kind) in &options.search_attributes {
            command.extend(["--name", name, "--type", kind]);
        }
        let output = ask(cli, port, &command).await?;
        if !output.status.success() {
            return Err(Error::Missing(format!(
                "could not register the search attributes in the namespace {namespace}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
    }
    Ok(())
}

fn namespaces(options: &TemporalOptions) -> impl Iterator<Item = &str> {
    iter::once("default").chain(options.namespaces.iter().map(String::as_str))
}

async fn ask(cli: &Path, port: u16, question: &[&str]) -> Result<Output> {
    Command::new(cli)
        .args(question)
        .args(["--address", &address(port), "--color", "never"])
        .args(["--disable-config-env", "--disable-config-file"])
        .args(["--command-timeout", &format!("{}s", QUESTION_LIMIT.as_secs())])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(io_error(format!("run {}", cli.display())))
}
