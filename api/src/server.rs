//! The listening socket, the two faces behind it, and a shutdown that loses nobody.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{middleware, serve::ListenerExt};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    edge::{self, Edge},
    grpc, http,
    metrics::Metrics,
    service::Service,
};

/// How long readiness is refused before the socket is, so that a load balancer can notice.
const NOTICE: Duration = Duration::from_secs(1);
/// How long requests in progress may take to end.
const DRAIN: Duration = Duration::from_secs(24);

/// The server's whole life. It is boxed so that a caller need not know its shape.
pub type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Serves until the process is asked to end (SIGTERM or SIGINT), and then ends in order.
pub fn run(config: Config) -> Running {
    Box::pin(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Two TLS providers are in the tree; whoever comes first names the one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let service = Service::new(&config)?;
    service.verify_stock().await?;
    let metrics = Arc::new(Metrics::new());
    let (grpc, health) = grpc::router(&service)?;
    let edge = Edge {
        metrics: Arc::clone(&metrics),
        places: Arc::new(Semaphore::new(config.requests_max as usize)),
        grpc,
    };
    let app = http::router(service.clone(), metrics)
        .layer(middleware::from_fn_with_state(edge, edge::pass));
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listening on {} (API_LISTEN)", config.listen))?;
    announce(listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Without it a small answer may wait for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let stopping = CancellationToken::new();
    let server =
        axum::serve(listener, app).with_graceful_shutdown(stopping.clone().cancelled_owned());
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        ended = &mut server => return Ok(ended.context("the server panicked")??),
        asked = asked_to_end() => asked?,
    }
    tracing::info!("shutting down: not ready, then draining");
    service.drain();
    health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    sleep(NOTICE).await;
    service.stop_streams();
    stopping.cancel();
    if let Ok(ended) = timeout(DRAIN, server).await {
        ended.context("the server panicked")??;
    } else {
        tracing::warn!("some requests were still in progress after {DRAIN:?}");
    }
    tracing::info!("ended");
    Ok(())
}

fn announce(address: SocketAddr) {
    tracing::info!("listening on http://{address} (HTTP and gRPC; docs at /docs)");
}

async fn asked_to_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
