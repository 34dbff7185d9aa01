//! One Postgres server on loopback. Which databases it holds, and their tables, are the caller's.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::Connection;
use tokio::task;

use crate::{
    Error, Program, Result, Signal, Supervised,
    account::Account,
    database::{connect, create_database},
    error::{log_tail, path_error},
    place::{Scratch, make_directory},
    ports, tools,
};

/// The major version of the pinned server, which its data directory is bound to.
const MAJOR: &str = "18";

const INITDB_LIMIT: Duration = Duration::from_mins(2);

/// Long, because after a crash the server replays its log before it is ready.
const READY_LIMIT: Duration = Duration::from_mins(1);
const READY_POLL: Duration = Duration::from_millis(10);

/// How long the server may take to write everything down when asked to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What committed data must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Loss of power: the settings of production. For development and every benchmark.
    #[default]
    PowerLoss,
    /// Death of any process, the server's included, but not of the machine: `fsync` is off, and nothing else. For
    /// tests, which kill processes and throw the data away.
    ProcessDeath,
}

#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Made when missing. Without one the data lies in a temporary directory and goes with the server.
    pub data_directory: Option<PathBuf>,
    /// 0 for a free one.
    pub port: u16,
    /// The command line's flag for the port, named in the error when it is taken.
    pub port_flag: Option<&'static str>,
    pub durability: Durability,
    /// Appended to. Without one it lies beside the data, and goes with it.
    pub log: Option<PathBuf>,
    /// Further settings, as `name=value`.
    pub settings: Vec<String>,
}

/// A running server: superuser `postgres`, no password, reachable from this machine only. Stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    // The order matters: fields are dropped from top to bottom, and the server needs its directory until it has ended.
    server: Supervised,
    port: u16,
    _scratch: Option<Scratch>,
}

impl Postgres {
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        if options.port != 0 {
            ports::check_free(options.port, options.port_flag)?;
        }
        let programs = task::spawn_blocking(|| tools::postgres(&tools::tell))
            .await
            .expect("fetching does not panic")?;
        let account = Account::for_postgres()?;
        let scratch = match options.data_directory {
            Some(_) => None,
            None => Some(Scratch::new("postgres", account)?),
        };
        let data = match (&options.data_directory, &scratch) {
            (Some(data), _) => data.clone(),
            (None, Some(scratch)) => scratch.path().join("data"),
            (None, None) => unreachable!("without a data directory there is a scratch one"),
        };
        let log = options.log.clone().unwrap_or_else(|| data.with_file_name("postgres.log"));
        let site = Site {
            programs,
            account,
            data,
            log,
            scratch: scratch.as_ref().map(|scratch| scratch.path().to_owned()),
        };
        site.initialise(options.durability).await?;
        let (server, port) = site.serve_somewhere(&options).await?;
        Ok(Self { server, port, _scratch: scratch })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database that every server has.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    pub fn database_url(&self, database: &str) -> String {
        database_url(self.port, database)
    }

    /// Makes the database unless it exists, and returns its URL.
    pub async fn ensure_database(&self, database: &str) -> Result<String> {
        create_database(&self.url(), database).await?;
        Ok(self.database_url(database))
    }

    /// The process of the server itself (the postmaster).
    pub fn process(&self) -> &Supervised {
        &self.server
    }

    /// Stops in order: sessions are ended, everything is written down.
    pub async fn stop(self) -> Result<()> {
        self.server.terminate(STOP_LIMIT).await.map(drop)
    }
}

fn database_url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// Where one server lives.
struct Site {
    programs: PathBuf,
    account: Option<Account>,
    data: PathBuf,
    log: PathBuf,
    scratch: Option<PathBuf>,
}

impl Site {
    /// Fills the data directory unless it is filled. Beside its place and then renamed, so that it is whole or absent.
    async fn initialise(&self, durability: Durability) -> Result<()> {
        let version = self.data.join("PG_VERSION");
        match fs::read_to_string(&version) {
            Ok(found) if found.trim() == MAJOR => return Ok(()),
            Ok(found) => {
                return Err(Error::Missing(format!(
                    "{} was written by PostgreSQL {}, and this is {MAJOR}: remove it to start afresh",
                    self.data.display(),
                    found.trim()
                )));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(path_error("read", &version)(error)),
        }
        let parent = self.data.parent().unwrap_or(Path::new("/"));
        make_directory(parent)?;
        let unfinished = self.data.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(path_error("remove", &unfinished))?;
        }
        fs::create_dir(&unfinished).map_err(path_error("make", &unfinished))?;
        if let Some(account) = self.account {
            account.own(&unfinished)?;
        }
        let mut initdb = self
            .program("initdb")
            .arg("-D")
            .arg(&unfinished)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            // The same order of text on every machine, whatever its C library.
            .args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"])
            .args(["--data-checksums", "--no-instructions"])
            .current_dir(&unfinished);
        if durability == Durability::ProcessDeath {
            initdb = initdb.arg("--no-sync");
        }
        let initdb = Supervised::start(initdb)?;
        let status = initdb.wait_exit(INITDB_LIMIT).await?;
        if !status.success() {
            return Err(initdb.ended_early(status));
        }
        fs::rename(&unfinished, &self.data).map_err(path_error("put in place", &self.data))
    }

    /// On the wanted port, or on a free one, anew when another process was quicker to take it.
    async fn serve_somewhere(&self, options: &PostgresOptions) -> Result<(Supervised, u16)> {
        let mut clashes = 0;
        loop {
            let port = match options.port {
                0 => ports::free()?,
                wanted => wanted,
            };
            match self.serve(port, options).await {
                Err(Error::Ended { tail, .. }) if ports::clash(&tail) => {
                    clashes += 1;
                    if options.port != 0 || clashes == ports::CLASHES_MAX {
                        let flag = options.port_flag;
                        return Err(Error::PortTaken { port, flag });
                    }
                }
                served => return served.map(|server| (server, port)),
            }
        }
    }

    async fn serve(&self, port: u16, options: &PostgresOptions) -> Result<Supervised> {
        let fsync = match options.durability {
            Durability::PowerLoss => "fsync=on",
            Durability::ProcessDeath => "fsync=off",
        };
        // What is thrown away needs no orderly end, which would write it all down once more.
        let stop_signal = match self.scratch {
            Some(_) => Signal::Quit,
            None => Signal::Interrupt,
        };
        let mut program = self
            .program("postgres")
            .arg("-D")
            .arg(&self.data)
            .arg("-p")
            .arg(port.to_string())
            .stop_signal(stop_signal)
            .grace(STOP_LIMIT)
            .current_dir(&self.data);
        let fixed = [
            fsync,
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "synchronous_commit=on",
            "max_connections=300",
            "timezone=UTC",
            "log_timezone=UTC",
            "log_checkpoints=off",
        ];
        for setting in fixed.into_iter().chain(options.settings.iter().map(String::as_str)) {
            program = program.arg("-c").arg(setting);
        }
        let server = Supervised::start(program)?;
        self.wait_ready(&server, port).await?;
        Ok(server)
    }

    async fn wait_ready(&self, server: &Supervised, port: u16) -> Result<()> {
        let started = Instant::now();
        let url = database_url(port, "postgres");
        loop {
            if let Some(status) = server.exited()? {
                return Err(server.ended_early(status));
            }
            if let Ok(connection) = connect(&url, "connect").await {
                let _ = connection.close().await;
                return Ok(());
            }
            if started.elapsed() > READY_LIMIT {
                return Err(Error::NotReady {
                    name: server.name().to_owned(),
                    waited: READY_LIMIT,
                    tail: log_tail(Some(&self.log)),
                });
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    fn program(&self, name: &str) -> Program {
        let program =
            Program::new(name, self.programs.join(name)).account(self.account).log(&self.log);
        match &self.scratch {
            Some(scratch) => program.remove_afterwards(scratch),
            None => program,
        }
    }
}
