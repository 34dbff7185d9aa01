//! The ports of the development stack and the flags that change them, shared by the tasks that start and inspect it.

use std::env;

use clap::Args;

#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_field_names, reason = "the fields are the flags' names")]
pub(crate) struct Ports {
    /// Port of the shop's API
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) api_port: u16,
    /// Port of Temporal
    #[arg(long, value_name = "PORT", default_value_t = 7233)]
    pub(crate) temporal_port: u16,
    /// Port of Temporal's web UI
    #[arg(long, value_name = "PORT", default_value_t = 8233)]
    pub(crate) ui_port: u16,
    /// Port of Postgres
    #[arg(long, value_name = "PORT", default_value_t = 54320)]
    pub(crate) postgres_port: u16,
    /// Port of the simulated card network
    #[arg(long, value_name = "PORT", default_value_t = 8090)]
    pub(crate) paysim_port: u16,
}

pub(crate) const API_FLAG: &str = "--api-port";
pub(crate) const TEMPORAL_FLAG: &str = "--temporal-port";
pub(crate) const UI_FLAG: &str = "--ui-port";
pub(crate) const POSTGRES_FLAG: &str = "--postgres-port";
pub(crate) const PAYSIM_FLAG: &str = "--paysim-port";

/// Servers that somebody else runs, as the environment names them.
#[derive(Debug, Clone)]
pub(crate) struct OwnServers {
    pub(crate) database_url: Option<String>,
    pub(crate) temporal_address: Option<String>,
}

impl OwnServers {
    pub(crate) fn from_environment() -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            database_url: variable("DATABASE_URL"),
            temporal_address: variable("TEMPORAL_ADDRESS"),
        }
    }
}

impl Ports {
    /// What will be listened on, unless the servers are somebody else's: port, flag, what for.
    pub(crate) fn wanted(&self, own: &OwnServers) -> Vec<(u16, &'static str, &'static str)> {
        let mut wanted =
            vec![(self.api_port, API_FLAG, "the API"), (self.paysim_port, PAYSIM_FLAG, "paysim")];
        if own.temporal_address.is_none() {
            wanted.push((self.temporal_port, TEMPORAL_FLAG, "Temporal"));
            wanted.push((self.ui_port, UI_FLAG, "Temporal's web UI"));
        }
        if own.database_url.is_none() {
            wanted.push((self.postgres_port, POSTGRES_FLAG, "PostgreSQL"));
        }
        wanted
    }
}
