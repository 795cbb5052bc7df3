//! The traits, each method one call of the store.

use async_trait::async_trait;
use cresset_task::{
    BulkId, ClientKey, DeadLetter, EventId, ModelName, Ownership, Payload, TaskId, Timestamp,
};

use tokio::sync::watch;

use super::fate::{Effect, Fate};
use super::tables::Tables;
use super::{MemoryStore, refused, taken};
use crate::{
    Broker, Bulk, BulkAdded, BulkFound, BulkLine, BulkMade, BulkPage, BulkQuery, BulkSealed, Bulks,
    Cancelled, Capabilities, Completion, DeadLetters, DeliveryPage, DeliveryQuery, Depth, Expiries, Finished,
    Idempotency, Inbox, Lease, LeaseRequest, LetterFilter, LetterPage, LetterQuery, Load, Lookup, Neighbours,
    NewBulk, NewTask, Outbox, OutboxLoad, OutboxRequest, QueueError, Redelivered, Release, Replayed,
    ResultStore, Retry, Sendings, Submitted, TaskList, TaskPage, TaskQuery, Tried, check_lines,
};

/// Leases on their way to their asker, given back if it goes away before it has them.
struct Given<'s> {
    store: &'s MemoryStore,
    leases: Vec<Lease>,
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        let back = |lease: &Lease| Release {
            id: lease.id,
            attempt: lease.attempt,
        };
        let back: Vec<_> = self.leases.iter().map(back).collect();
        if !back.is_empty() {
            // A dead process has nothing to give back: its leases end with it.
            let _dead = self.store.step("lease", |tables| tables.release(&back));
        }
    }
}

#[async_trait]
impl Broker for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "memory",
            one_transaction: true,
            priorities: true,
            delays: true,
            shared: false,
            durable: true,
            bulks: true,
            inbox: false,
        }
    }

    async fn submit(&self, task: NewTask) -> Result<Submitted, QueueError> {
        let Fate {
            before,
            effect,
            after,
        } = self.fates.fate("submit");
        before.take().await;
        let id = task.id;
        let answer = match effect {
            Effect::Done => self.step("submit", |tables| tables.submit(task, None)),
            Effect::Refused => {
                self.alive("submit")?;
                Err(refused("submit"))
            }
            Effect::Doubtful | Effect::Lost => {
                self.enter("submit")?.doubtful.push(task);
                Err(refused("submit"))
            }
            Effect::Dies { done } => {
                if done {
                    self.step("submit", |tables| tables.submit(task, None))?;
                }
                self.die().await
            }
        };
        after.take().await;
        answer?.ok_or_else(|| taken("submit", id))
    }

    async fn recall(
        &self,
        model: &ModelName,
        idempotency: &Idempotency,
    ) -> Result<Option<Submitted>, QueueError> {
        self.ask("recall", |tables| tables.recall(model, idempotency))
            .await
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, QueueError> {
        let Fate {
            before,
            effect,
            after,
        } = self.fates.fate("lease");
        before.take().await;
        let mut given = Given {
            store: self,
            leases: Vec::new(),
        };
        let lease = |tables: &mut Tables| tables.lease(&request);
        match effect {
            Effect::Done => given.leases = self.step("lease", lease)?,
            Effect::Refused | Effect::Doubtful => {
                self.alive("lease")?;
                return Err(refused("lease"));
            }
            Effect::Lost => {
                given.leases = self.step("lease", lease)?;
                after.take().await;
                return Err(refused("lease"));
            }
            Effect::Dies { done } => {
                if done {
                    self.step("lease", lease)?;
                }
                return self.die().await;
            }
        }
        after.take().await;
        Ok(std::mem::take(&mut given.leases))
    }

    async fn release(&self, leases: Vec<Release>) -> Result<(), QueueError> {
        self.call("release", |tables| tables.release(&leases)).await
    }

    fn depth(&self, model: &ModelName) -> Depth {
        self.stable.lock().tables.depth(model)
    }

    fn load(&self) -> Load {
        self.stable.lock().tables.load()
    }

    fn client_load(&self, client: &ClientKey) -> Load {
        self.stable.lock().tables.client_load(client)
    }

    async fn position(&self, id: TaskId) -> Result<Option<u64>, QueueError> {
        self.ask("position", |tables| tables.position(id)).await
    }

    async fn probe(&self) -> Result<(), QueueError> {
        self.call("probe", |_| ()).await
    }

    async fn close(&self) -> Result<(), QueueError> {
        let mut inner = self.stable.lock();
        if inner.life == self.life {
            inner.closed = true;
            inner.doubtful.clear();
        }
        Ok(())
    }
}

#[async_trait]
impl ResultStore for MemoryStore {
    async fn finish(&self, completions: Vec<Completion>) -> Result<Vec<Finished>, QueueError> {
        let finish = |tables: &mut Tables| completions.into_iter().map(|c| tables.finish(c)).collect();
        self.call("finish", finish).await
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<Vec<Finished>, QueueError> {
        let retry = |tables: &mut Tables| retries.into_iter().map(|r| tables.retry(r)).collect();
        self.call("retry", retry).await
    }

    async fn cancel(&self, id: TaskId, reason: &str, now: Timestamp) -> Result<Cancelled, QueueError> {
        self.call("cancel", |tables| tables.cancel(id, reason, now)).await
    }

    async fn expire(&self, now: Timestamp) -> Result<Expiries, QueueError> {
        self.call("expire", |tables| tables.expire(now)).await
    }

    async fn fetch(&self, id: TaskId) -> Result<Lookup, QueueError> {
        self.ask("fetch", |tables| tables.fetch(id)).await
    }

    async fn owner(&self, id: TaskId) -> Result<Ownership, QueueError> {
        self.ask("owner", |tables| tables.owner(id)).await
    }

    async fn purge(&self, now: Timestamp) -> Result<usize, QueueError> {
        let ttl = self.stable.ttl;
        self.call("purge", |tables| tables.purge(now, ttl)).await
    }
}

#[async_trait]
impl TaskList for MemoryStore {
    async fn tasks(&self, query: TaskQuery) -> Result<TaskPage, QueueError> {
        self.ask("tasks", |tables| tables.list(&query)).await
    }
}

#[async_trait]
impl DeadLetters for MemoryStore {
    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, QueueError> {
        self.ask("letters", |tables| tables.letters.list(&query)).await
    }

    async fn letter(&self, id: TaskId) -> Result<Option<DeadLetter>, QueueError> {
        self.ask("letter", |tables| tables.letters.get(id)).await
    }

    async fn letter_input(&self, id: TaskId) -> Result<Option<Payload>, QueueError> {
        self.ask("letter_input", |tables| tables.letters.input(id)).await
    }

    async fn replay(&self, letter: TaskId, task: NewTask) -> Result<Replayed, QueueError> {
        let id = task.id;
        let replayed = self.call("replay", |tables| tables.replay(letter, task)).await?;
        replayed.ok_or_else(|| taken("replay", id))
    }

    async fn discard(&self, id: TaskId) -> Result<bool, QueueError> {
        self.call("discard", |tables| tables.letters.discard(id)).await
    }

    async fn discard_all(&self, filter: LetterFilter) -> Result<usize, QueueError> {
        self.call("discard_all", |tables| tables.letters.discard_all(&filter))
            .await
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    fn outbox(&self) -> watch::Receiver<OutboxLoad> {
        self.stable.lock().tables.outbox.load()
    }

    fn outbox_of(&self, host: &str) -> u64 {
        self.stable.lock().tables.outbox.of(host)
    }

    async fn outbox_lease(&self, request: OutboxRequest) -> Result<Sendings, QueueError> {
        self.call("outbox_lease", |tables| tables.outbox.lease(&request))
            .await
    }

    async fn outbox_settle(&self, tried: Tried) -> Result<Finished, QueueError> {
        self.call("outbox_settle", |tables| tables.outbox.settle(tried))
            .await
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<DeliveryPage, QueueError> {
        self.ask("deliveries", |tables| tables.outbox.list(&query)).await
    }

    async fn redeliver(&self, id: EventId, now: Timestamp) -> Result<Redelivered, QueueError> {
        self.call("redeliver", |tables| tables.outbox.redeliver(id, now))
            .await
    }
}

/// It has none: nobody else writes here.
impl Inbox for MemoryStore {}

#[async_trait]
impl Bulks for MemoryStore {
    async fn bulk_make(&self, new: NewBulk) -> Result<BulkMade, QueueError> {
        self.call("bulk_make", |tables| tables.bulks.make(new)).await
    }

    async fn bulk_add(
        &self,
        id: BulkId,
        first: u64,
        lines: Vec<BulkLine>,
        now: Timestamp,
    ) -> Result<BulkAdded, QueueError> {
        check_lines(&lines)?;
        let add = |tables: &mut Tables| tables.bulk_add(id, first, lines, now);
        let added = self.call("bulk_add", add).await?;
        added.map_err(|id| taken("bulk_add", id))
    }

    async fn bulk_seal(&self, id: BulkId, total: u64) -> Result<BulkSealed, QueueError> {
        self.call("bulk_seal", |tables| tables.bulks.seal(id, total))
            .await
    }

    async fn bulk_cancel(&self, id: BulkId, now: Timestamp) -> Result<bool, QueueError> {
        self.call("bulk_cancel", |tables| tables.bulks.cancel(id, now))
            .await
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, QueueError> {
        self.ask("bulk", |tables| tables.bulk(id)).await
    }

    async fn bulk_owner(&self, id: BulkId) -> Result<Ownership, QueueError> {
        self.ask("bulk_owner", |tables| tables.bulk_owner(id)).await
    }

    async fn bulk_lines(&self, id: BulkId, from: u64, limit: usize) -> Result<Vec<BulkFound>, QueueError> {
        self.ask("bulk_lines", |tables| tables.bulk_lines(id, from, limit))
            .await
    }

    async fn bulk_open(&self, id: BulkId, limit: usize) -> Result<Vec<TaskId>, QueueError> {
        self.ask("bulk_open", |tables| tables.bulk_open(id, limit)).await
    }

    async fn bulks(&self, query: BulkQuery) -> Result<BulkPage, QueueError> {
        self.ask("bulks", |tables| tables.bulk_list(&query)).await
    }
}

/// There is one process at a time.
impl Neighbours for MemoryStore {}
