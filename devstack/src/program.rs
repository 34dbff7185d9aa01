//! What to start and how to stop it: the description of a process, not the process. That is `supervised.rs`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::account::Account;

/// How long a program may take to stop when its parent is gone and nobody else said.
const GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// The signals this crate sends, beside the one that kills: `Supervised::kill_now` does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Interrupt,
    Quit,
    /// Freezes the process until [`Signal::Continue`].
    Stop,
    Continue,
}

impl Signal {
    /// As `kill -s` wants it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Output {
    Nowhere,
    File(PathBuf),
    Ours,
}

/// A program to run under supervision. It inherits the environment; its standard input is empty.
#[derive(Debug, Clone)]
pub struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) output: Output,
    pub(crate) account: Option<Account>,
    pub(crate) stop_signal: Signal,
    pub(crate) grace: Duration,
    pub(crate) remove: Option<PathBuf>,
    pub(crate) whole_group: bool,
}

impl Program {
    /// `name` is what messages call it.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            output: Output::Nowhere,
            account: None,
            stop_signal: Signal::Terminate,
            grace: GRACE_DEFAULT,
            remove: None,
            whole_group: false,
        }
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), Some(value.into())));
        self
    }

    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), None));
        self
    }

    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The file that standard output and standard error are appended to. Without one they are thrown away.
    #[must_use]
    pub fn log(mut self, log: impl Into<PathBuf>) -> Self {
        self.output = Output::File(log.into());
        self
    }

    /// Writes to our own standard output and standard error.
    #[must_use]
    pub fn inherit_output(mut self) -> Self {
        self.output = Output::Ours;
        self
    }

    /// Signals go to its children too, and those it leaves behind are killed: for a program like cargo, which leaves
    /// them to the terminal's Ctrl-C.
    #[must_use]
    pub fn whole_group(mut self) -> Self {
        self.whole_group = true;
        self
    }

    /// The signal that asks it to stop, [`Signal::Terminate`] unless said.
    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// How long it may take to stop before it is killed, when the handle is dropped or the parent has died.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// A directory to remove once the program has ended because its parent died.
    #[must_use]
    pub(crate) fn remove_afterwards(mut self, directory: impl Into<PathBuf>) -> Self {
        self.remove = Some(directory.into());
        self
    }

    /// The account it runs as, ours unless one is given.
    #[must_use]
    pub(crate) fn account(mut self, account: Option<Account>) -> Self {
        self.account = account;
        self
    }

    pub(crate) fn log_path(&self) -> Option<&Path> {
        match &self.output {
            Output::File(log) => Some(log),
            Output::Nowhere | Output::Ours => None,
        }
    }
}
