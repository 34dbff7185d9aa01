//! The unprivileged account that runs Postgres when we are root, which that server refuses. No account is ever
//! created, and no sudo, su or runuser is needed: root may simply start a process as somebody else.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::{
    Error, Result,
    error::{OWN_SERVERS, path_error},
};

/// Whether Postgres can be started by this user, as far as accounts go: a sentence on whom it runs as, or what to do.
pub fn check_account() -> Result<String> {
    Ok(match Account::for_postgres()? {
        Some(account) => format!("we are root, PostgreSQL runs as user number {}", account.uid),
        None => "PostgreSQL runs as the current user".to_owned(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// `None` when we are an ordinary user and need no other account.
    pub(crate) fn for_postgres() -> Result<Option<Self>> {
        static ROOT: OnceLock<bool> = OnceLock::new();
        static FOUND: OnceLock<Option<Account>> = OnceLock::new();

        if !*ROOT.get_or_init(we_are_root) {
            return Ok(None);
        }
        let found = FOUND.get_or_init(|| candidates().into_iter().find(|account| account.works()));
        if found.is_some() {
            return Ok(*found);
        }
        Err(Error::Missing(format!(
            "PostgreSQL refuses to run as root, and root may not start programs as another user here: \
             run this as an ordinary user, {OWN_SERVERS}"
        )))
    }

    /// Whether this account may enter the directory. Only the permission bits are looked at, which errs on the side of
    /// "no" where access lists would allow more.
    pub(crate) fn reaches(self, directory: &Path) -> bool {
        let Ok(directory) = directory.canonicalize() else {
            return false;
        };
        directory.ancestors().all(|ancestor| {
            fs::metadata(ancestor).is_ok_and(|metadata| {
                let owner = metadata.uid() == self.uid && metadata.mode() & 0o100 != 0;
                owner || metadata.mode() & 0o001 != 0
            })
        })
    }

    pub(crate) fn own(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(path_error("hand over", path))
    }

    /// In a container root may lack the right to become somebody else, or the account may not be mapped.
    fn works(self) -> bool {
        Command::new("/bin/sh")
            .args(["-c", ":"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .uid(self.uid)
            .gid(self.gid)
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// By a command that every system has, because the standard library cannot tell.
fn we_are_root() -> bool {
    let id = Command::new("id").arg("-u").stdin(Stdio::null()).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// `nobody` first, then whoever else has an entry, since initdb looks its user up by number.
fn candidates() -> Vec<Account> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut accounts: Vec<(bool, Account)> = passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (uid != 0).then_some((name != "nobody", Account { uid, gid }))
        })
        .collect();
    accounts.sort_by_key(|(other, _)| *other);
    accounts.into_iter().map(|(_, account)| account).collect()
}
