//! What the API does, whatever the wire: one function per thing that can be asked for.
//!
//! Both faces call these and only these, so they cannot differ. Nothing here knows of statuses,
//! headers or generated types.

pub(crate) mod admin;
pub(crate) mod admission;
pub(crate) mod cart;
pub(crate) mod case;
pub(crate) mod checkout;
pub(crate) mod inbox;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod refund;
pub(crate) mod request;
pub(crate) mod restock;
pub(crate) mod shipment;
pub(crate) mod timeline;
pub(crate) mod webhooks;

use std::{
    ops::DerefMut,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use domain::CustomerId;
use payments::webhook::Secrets;
use store::{PgConnection, PgPool, inventory::Shards};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::Timing;

use self::admission::Admission;
use crate::{
    STREAMS_MAX,
    auth::{Auth, Operator, Session},
    carrier_secrets::CarrierSecrets,
    config::Config,
    engine::Engine,
    error::Error,
};

/// How long readiness waits for a neighbour.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything a request needs.
#[derive(Clone)]
pub(crate) struct Service(Arc<Inner>);

struct Inner {
    auth: Auth,
    carrier_secrets: CarrierSecrets,
    db: PgPool,
    engine: Engine,
    shards: Shards,
    admission: Admission,
    /// What the provider's webhooks are signed with; none are taken without.
    webhook_secrets: Option<Secrets>,
    timing: Timing,
    /// One permit for each client that watches.
    streams: Arc<Semaphore>,
    draining: AtomicBool,
    /// Ends the streams, which would never end by themselves.
    stop: CancellationToken,
}

impl Service {
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let db = store::connect(&config.database_url, config.connections_max)
            .context("reading DATABASE_URL")?;
        let shards = Shards::open(&db, &config.inventory_database_urls, config.connections_max)
            .context("reading INVENTORY_DATABASE_URLS")?;
        Ok(Self(Arc::new(Inner {
            auth: Auth::new(&config.jwt_secret),
            carrier_secrets: config.carrier_webhook_secrets.clone(),
            admission: Admission::watching(db.clone(), shards.clone()),
            db,
            shards,
            engine: Engine::connect()?,
            webhook_secrets: config.payments_webhook_secrets.read()?,
            timing: config.timing(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
        })))
    }

    /// A new guest.
    pub(crate) fn open_session(&self) -> Session {
        self.0.auth.open_session()
    }

    /// The customer that an `Authorization` header speaks for.
    pub(crate) fn caller(&self, authorization: Option<&str>) -> Result<CustomerId, Error> {
        self.0.auth.caller(authorization)
    }

    /// The operator that an `Authorization` header speaks for.
    pub(crate) fn operator(&self, authorization: Option<&str>) -> Result<Operator, Error> {
        self.0.auth.operator(authorization)
    }

    /// Refuses to serve with databases of the stock that hold other parts than they are given for.
    pub(crate) async fn verify_stock(&self) -> anyhow::Result<()> {
        Ok(self.0.shards.verify().await?)
    }

    /// Whether requests can be served: neither on the way out nor without a neighbour.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err(Error::Unavailable(anyhow::anyhow!("shutting down")));
        }
        // A read of nobody's cart proves that the schema is there, too.
        let database = self.cart(CustomerId::from(Uuid::nil()));
        let both = async { tokio::try_join!(database, self.0.engine.ping()) };
        timeout(READY_TIMEOUT, both).await.map_err(Error::unavailable)?.map(drop)
    }

    /// From now on, do not be sent requests.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Ends every stream.
    pub(crate) fn stop_streams(&self) {
        self.0.stop.cancel();
    }

    async fn connection(&self) -> Result<impl DerefMut<Target = PgConnection> + use<>, Error> {
        Ok(self.0.db.acquire().await.map_err(store::Error::from)?)
    }
}
