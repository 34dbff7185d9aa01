//! The shop's database alone, for claims about what its statements do and not about processes.

use devstack::TestDatabase;
use domain::Sku;
use sqlx::PgPool;
use store::{
    inventory::{self, Inventory, Places, Receipt, Shards},
    law::{self, When},
};
use uuid::Uuid;

use crate::shop::{SERVERS, migrate};

/// A database with the shop's schema and nothing in it.
pub struct Books {
    /// The way in, with enough connections for a crowd.
    pub db: PgPool,
    _database: TestDatabase,
}

impl Books {
    /// New books.
    pub async fn open() -> Self {
        let database = SERVERS.database("shop", migrate).await.expect("a database");
        Self { db: store::connect(database.url(), 20).expect("a pool"), _database: database }
    }

    /// Receives so many of a SKU.
    pub async fn stock(&self, sku: &str, quantity: i64) -> Sku {
        let sku: Sku = sku.parse().expect("a SKU");
        receive(&Shards::one(self.db.clone()), &sku, quantity).await;
        sku
    }

    /// The stock kept in them, with queues of its own.
    pub fn inventory(&self) -> Inventory {
        Inventory::new(Shards::one(self.db.clone()))
    }

    /// Where all of it is.
    pub fn here(&self) -> Places {
        Shards::one(self.db.clone()).only_place().expect("one place")
    }

    /// (available, reserved, sold) of a SKU.
    pub async fn counters(&self, sku: &Sku) -> (i64, i64, i64) {
        sqlx::query_as("SELECT available, reserved, sold FROM inventory WHERE sku = $1")
            .bind(sku.as_str())
            .fetch_one(&self.db)
            .await
            .expect("a SKU in stock")
    }

    /// Claims that every law holds which holds at every moment.
    pub async fn assert_lawful(&self) {
        let shards = Shards::one(self.db.clone());
        let audit = law::audit(&self.db, &shards, When::Always).await.expect("an audit");
        assert!(audit.breaches.is_empty(), "broken laws: {:#?}", audit.breaches);
    }
}

/// Books so many of a SKU in.
pub(crate) async fn receive(shards: &Shards, sku: &Sku, quantity: i64) {
    let reference = format!("test/{}", Uuid::new_v4());
    let receipt =
        Receipt { sku, delta: quantity, reason: "test", reference: &reference, actor: "test" };
    let mut conn = shards.acquire(shards.part_of(sku)).await.expect("a connection");
    inventory::receive(&mut conn, receipt).await.expect("a receipt");
}
