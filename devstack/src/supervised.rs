//! A running process that cannot outlive the one that started it. What the process is for is not known here.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Error, Program, Result, Signal,
    error::{io_error, log_tail, path_error},
    program::Output,
};

const SUPERVISE: &str = include_str!("supervise.sh");

/// How often we look whether a process has ended.
const POLL: Duration = Duration::from_millis(5);

/// How long the kernel may take to end a process after SIGKILL; longer means it hangs in a system call.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A child process in its own process group (so that Ctrl-C in a terminal reaches only its parent), stopped when this
/// value is dropped.
///
/// It is started through a shell that `exec`s it, leaving a watcher behind which holds the reading end of a pipe. The
/// writing end is held here and by nobody else: when this process dies, by whatever signal, the kernel closes it, the
/// watcher wakes up, asks the program to stop and kills it after [`Program::grace`]. That needs nothing beyond a
/// POSIX shell, and no thread or handler of ours that could fail to run.
#[derive(Debug)]
pub struct Supervised {
    program: Program,
    pid: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    status: Option<ExitStatus>,
}

impl Supervised {
    pub fn start(program: Program) -> Result<Self> {
        let doing = format!("start {} ({})", program.name, program.path.display());
        // The shell would start all right, and only say in the log what is wrong.
        if program.path.components().count() > 1 && !program.path.is_file() {
            return Err(io_error(doing)(io::ErrorKind::NotFound.into()));
        }
        let grace_tenths = program.grace.as_millis().div_ceil(100);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &script(), "supervise"])
            .arg(program.stop_signal.name())
            .arg(grace_tenths.to_string())
            .arg(program.remove.as_deref().unwrap_or(Path::new("")))
            .arg(if program.whole_group { "-" } else { "" })
            .arg(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .process_group(0);
        for (name, value) in &program.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = &program.directory {
            command.current_dir(directory);
        }
        if let Some(account) = program.account {
            command.uid(account.uid).gid(account.gid);
        }
        match &program.output {
            Output::File(log) => {
                let log = open_log(log)?;
                let copy = log.try_clone().map_err(io_error(&doing))?;
                command.stdout(copy).stderr(log);
            }
            Output::Nowhere => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
            Output::Ours => {}
        }
        let child = command.spawn().map_err(io_error(doing))?;
        Ok(Self { pid: child.id(), program, state: Mutex::new(State { child, status: None }) })
    }

    /// The number of the program's own process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn name(&self) -> &str {
        &self.program.name
    }

    pub fn log(&self) -> Option<&Path> {
        self.program.log_path()
    }

    /// How it ended, or `None` while it runs.
    pub fn exited(&self) -> Result<Option<ExitStatus>> {
        self.look(&mut self.lock())
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut state = self.lock();
        if self.look(&mut state)?.is_some() {
            return Ok(());
        }
        // Through the watcher, since the standard library sends no signal but one.
        tell_watcher(&mut state, signal.name())
            .map_err(io_error(format!("signal {}", self.program.name)))
    }

    /// SIGKILL, as a crash would be. The process is gone when this returns.
    pub fn kill_now(&self) -> Result<ExitStatus> {
        let doing = || format!("kill {}", self.program.name);
        // Does nothing when the process has been waited for, so it cannot hit another of the same number.
        self.lock().child.kill().map_err(io_error(doing()))?;
        self.wait(KILL_LIMIT)
    }

    /// Asks it to stop, and kills it if it has not after `grace`.
    pub async fn terminate(&self, grace: Duration) -> Result<ExitStatus> {
        self.signal(self.program.stop_signal)?;
        match self.wait_exit(grace).await {
            Err(Error::StillRunning { .. }) => self.kill_now(),
            ended => ended,
        }
    }

    /// Waits for it to end by itself.
    pub async fn wait_exit(&self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if started.elapsed() >= limit {
                return Err(self.still_running(limit));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts the same program once more, after this one has ended or been killed.
    pub fn restart(self) -> Result<Self> {
        self.kill_now()?;
        Self::start(self.program.clone())
    }

    /// The error for a process that ended when it should not have.
    pub fn ended_early(&self, status: ExitStatus) -> Error {
        Error::Ended {
            name: self.program.name.clone(),
            status,
            tail: log_tail(self.program.log_path()),
        }
    }

    pub(crate) fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if started.elapsed() >= limit {
                return Err(self.still_running(limit));
            }
            thread::sleep(POLL);
        }
    }

    fn still_running(&self, waited: Duration) -> Error {
        Error::StillRunning { name: self.program.name.clone(), waited }
    }

    fn look(&self, state: &mut State) -> Result<Option<ExitStatus>> {
        if state.status.is_none() {
            state.status = state
                .child
                .try_wait()
                .map_err(io_error(format!("wait for {}", self.program.name)))?;
            if state.status.is_some() {
                // It may be gone already, killed by the same hand as the program.
                let _ = tell_watcher(state, "released");
                state.child.stdin = None;
            }
        }
        Ok(state.status)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let asked = self.signal(self.program.stop_signal);
        if asked.and_then(|()| self.wait(self.program.grace)).is_err() {
            // What resists even this is left to its watcher: the pipe closes with this value.
            let _ = self.kill_now();
        }
    }
}

/// Without its comments, since it shows in every list of processes.
fn script() -> String {
    let lines = SUPERVISE.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

fn tell_watcher(state: &mut State, word: &str) -> io::Result<()> {
    let Some(pipe) = &mut state.child.stdin else {
        return Ok(());
    };
    pipe.write_all(format!("{word}\n").as_bytes())
}

fn open_log(log: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(log).map_err(path_error("write", log))
}
