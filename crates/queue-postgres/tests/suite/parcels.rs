//! The parcels in PostgreSQL keep every promise of their port.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::conformance::ParcelsHarness;
use cresset_queue::{Broker as _, Parcels};
use cresset_queue_postgres::{PostgresParcels, PostgresStore};
use uuid::Uuid;

use crate::common::{Schema, block};

#[async_trait]
impl ParcelsHarness for Schema {
    async fn open(&self) -> Arc<dyn Parcels> {
        Arc::new(PostgresParcels::open(self.target()).await.unwrap())
    }

    async fn age(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        let older = "UPDATE parcels SET kept_at = kept_at - $1";
        self.client().await.execute(older, &[&micros]).await.unwrap();
    }

    async fn count(&self) -> i64 {
        self.number("SELECT count(*) FROM parcels").await
    }
}

cresset_queue::parcels_suite!(or_skip block(Schema::or_skip()));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_opens_them_is_not_on_the_store() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let parcels = PostgresParcels::open(schema.target()).await.unwrap();
    assert_eq!(schema.number("SELECT count(*) FROM servers").await, 0);
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let id = Uuid::now_v7();
    parcels.put(id, vec![1; 100].into()).await.unwrap();
    assert_eq!(parcels.get(id).await.unwrap().unwrap().len(), 100);
    assert_eq!(
        schema.number("SELECT count(*) FROM servers").await,
        1,
        "the store's own"
    );
    store.close().await.unwrap();
    parcels.close().await;
    let closed = parcels.get(id).await.unwrap_err();
    assert!(!closed.is_temporary(), "{closed}");
}
