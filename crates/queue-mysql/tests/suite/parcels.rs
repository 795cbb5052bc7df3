//! The parcels in MariaDB keep every promise of their port.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::conformance::ParcelsHarness;
use cresset_queue::{Broker as _, Parcels};
use cresset_queue_mysql::{MysqlParcels, MysqlStore};
use uuid::Uuid;

use crate::common::{Database, block};

#[async_trait]
impl ParcelsHarness for Database {
    async fn open(&self) -> Arc<dyn Parcels> {
        Arc::new(MysqlParcels::open(self.options().target).await.unwrap())
    }

    async fn age(&self, by: Duration) {
        let micros = by.as_micros();
        self.run(&format!("UPDATE parcels SET kept_at = kept_at - {micros}"))
            .await;
    }

    async fn count(&self) -> i64 {
        self.number("SELECT COUNT(DISTINCT id) FROM parcels").await
    }
}

cresset_queue::parcels_suite!(or_skip block(Database::or_skip()));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opens_them_is_not_on_the_store() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let parcels = MysqlParcels::open(database.options().target).await.unwrap();
    assert_eq!(database.number("SELECT COUNT(*) FROM servers").await, 0);
    let store = MysqlStore::open(database.options()).await.unwrap();
    assert_eq!(
        database.number("SELECT COUNT(*) FROM servers").await,
        1,
        "the store's own"
    );
    store.close().await.unwrap();
    let id = Uuid::now_v7();
    parcels.put(id, vec![1; 100].into()).await.unwrap();
    // What lacks a part is not there.
    database.run("UPDATE parcels SET parts = 2").await;
    assert_eq!(parcels.get(id).await.unwrap(), None);
    parcels.close().await;
    let closed = parcels.get(id).await.unwrap_err();
    assert!(!closed.is_temporary(), "{closed}");
}
