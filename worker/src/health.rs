//! Liveness and readiness over HTTP. Liveness asks only whether the process answers; readiness also
//! whether it takes work and can reach the database.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use sqlx::PgPool;

#[derive(Clone)]
pub(crate) struct Health {
    pool: PgPool,
    working: Arc<AtomicBool>,
}

impl Health {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, working: Arc::default() }
    }

    /// Says whether the worker takes work.
    pub(crate) fn set_working(&self, working: bool) {
        self.working.store(working, Ordering::Relaxed);
    }

    /// Answers in the background for as long as the process lives.
    pub(crate) async fn serve(&self, listen: std::net::SocketAddr) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind(listen)
            .await
            .with_context(|| format!("{listen} is taken: choose another with --health-listen"))?;
        tracing::info!("health at http://{}/readyz", listener.local_addr()?);
        let router = Router::new()
            .route("/livez", get(|| async { "alive" }))
            .route("/readyz", get(ready))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(())
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if !health.working.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "not taking work");
    }
    match sqlx::query("SELECT 1").execute(&health.pool).await {
        Ok(_) => (StatusCode::OK, "ready"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"),
    }
}
