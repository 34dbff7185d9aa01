//! A database server of one test's own, which is killed, and comes back with what it had on disk.

use std::path::{Path, PathBuf};

use devstack::{Durability, Postgres, PostgresOptions};
use uuid::Uuid;

use crate::eventually;

/// A Postgres server that keeps its promises when it is killed. What it has is deleted with it.
pub struct DatabaseServer {
    postgres: Option<Postgres>,
    place: PathBuf,
    port: u16,
}

impl DatabaseServer {
    /// A server with nothing on it.
    pub async fn start() -> Self {
        let place = std::env::temp_dir().join(format!("holdfast-server-{}", Uuid::new_v4()));
        let postgres = Postgres::start(options(&place, 0)).await.expect("a server");
        Self { port: postgres.port(), postgres: Some(postgres), place }
    }

    /// The address of a database on it, which is made if it is not there.
    pub async fn database(&self, name: &str) -> String {
        let postgres = self.postgres.as_ref().expect("a running server");
        postgres.ensure_database(name).await.expect("a database")
    }

    /// Kills it at once, as the machine's failure would.
    pub fn kill(&mut self) {
        let postgres = self.postgres.take().expect("a running server");
        postgres.process().kill_now().expect("it is killed");
    }

    /// Starts it again, on the same port.
    pub async fn restart(&mut self) {
        // Its backends must notice first that it is gone.
        let postgres = eventually("the server starts again", || async {
            Postgres::start(options(&self.place, self.port)).await.ok()
        })
        .await;
        self.postgres = Some(postgres);
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        drop(self.postgres.take());
        // Nothing depends on it, and the system clears its folder for temporary things in the end.
        drop(std::fs::remove_dir_all(&self.place));
    }
}

fn options(place: &Path, port: u16) -> PostgresOptions {
    PostgresOptions {
        data_directory: Some(place.join("data")),
        port,
        durability: Durability::PowerLoss,
        ..PostgresOptions::default()
    }
}
