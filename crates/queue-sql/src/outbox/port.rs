//! The outbox as its callers hold it.

use async_trait::async_trait;
use cresset_queue::{
    DeliveryPage, DeliveryQuery, Finished, Outbox, OutboxLoad, OutboxRequest, QueueError, Redelivered,
    Sendings, Tried,
};
use cresset_task::{EventId, Timestamp};
use tokio::sync::watch;

use super::{OutboxOp, OutboxRead};
use crate::op::{Op, Slot};
use crate::reader::Read;
use crate::store::SqliteStore;

#[async_trait]
impl Outbox for SqliteStore {
    fn outbox(&self) -> watch::Receiver<OutboxLoad> {
        self.depths().outbox.load()
    }

    fn outbox_of(&self, host: &str) -> u64 {
        self.depths().outbox.of(host)
    }

    async fn outbox_lease(&self, request: OutboxRequest) -> Result<Sendings, QueueError> {
        let (slot, reply) = Slot::new();
        let op = Op::Outbox(OutboxOp::Lease { request, slot });
        self.write("outbox_lease", op, reply).await
    }

    async fn outbox_settle(&self, tried: Tried) -> Result<Finished, QueueError> {
        let (slot, reply) = Slot::new();
        let op = Op::Outbox(OutboxOp::Settle { tried, slot });
        self.write("outbox_settle", op, reply).await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<DeliveryPage, QueueError> {
        self.read("deliveries", |reply| Read::Outbox(OutboxRead { query, reply }))
            .await
    }

    async fn redeliver(&self, id: EventId, now: Timestamp) -> Result<Redelivered, QueueError> {
        let (slot, reply) = Slot::new();
        let op = Op::Outbox(OutboxOp::Redeliver { id, now, slot });
        self.write("redeliver", op, reply).await
    }
}
