//! The shop's database alone, for claims about what its statements do and not about processes.

use devstack::TestDatabase;
use domain::Sku;
use sqlx::PgPool;
use store::law::{self, When};
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
        let mut conn = self.db.acquire().await.expect("a connection");
        let reference = Uuid::new_v4().to_string();
        store::inventory::receive(&mut conn, &sku, quantity, "test", &reference)
            .await
            .expect("a receipt");
        sku
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
        let mut conn = self.db.acquire().await.expect("a connection");
        let breaches =
            law::breaches(&mut conn, When::Always).await.expect("the laws can be checked");
        assert!(breaches.is_empty(), "broken laws: {breaches:#?}");
    }
}
