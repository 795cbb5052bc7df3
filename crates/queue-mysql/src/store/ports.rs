//! Each method of the ports: an operation for the writer, or a question for a reader.

use async_trait::async_trait;
use cresset_queue::kit::remote::{ask, tell};
use cresset_queue::kit::{Doom, IntoQueueError as _};
use cresset_queue::{
    About, Broker, Bulk, BulkAdded, BulkFound, BulkLine, BulkMade, BulkPage, BulkQuery, BulkSealed, Bulks,
    Cancelled, Capabilities, Completion, DeadLetters, DeliveryPage, DeliveryQuery, Depth, Expiries, Finished,
    Idempotency, Lease, LeaseRequest, LetterFilter, LetterPage, LetterQuery, Load, Lookup, Member,
    Neighbours, NewBulk, NewTask, News, Outbox, OutboxLoad, OutboxRequest, QueueError, Redelivered, Release,
    Replayed, ResultStore, Retry, Sendings, Submitted, TaskList, TaskPage, TaskQuery, Tried, check_lines,
};
use cresset_task::{
    BulkId, ClientKey, DeadLetter, EventId, ModelName, Ownership, Payload, TaskId, Timestamp,
};
use tokio::sync::watch;

use super::MysqlStore;
use crate::member;
use crate::op::{Line, Op};
use crate::read::{self, Glimpse};
use crate::submission::{Ending, Submission};

#[async_trait]
impl Broker for MysqlStore {
    fn capabilities(&self) -> Capabilities {
        Self::capabilities_with(self.inner.opened.flushes)
    }

    async fn submit(&self, task: NewTask) -> Result<Submitted, QueueError> {
        let task = Submission::in_row(task).map_err(Self::misused("submit"))?;
        tell!(self, "submit", |slot| Op::Submit { task, slot })
    }

    async fn recall(
        &self,
        model: &ModelName,
        idempotency: &Idempotency,
    ) -> Result<Option<Submitted>, QueueError> {
        let asked = [(model, idempotency)];
        let answers = ask!(self, "recall", |conn| read::recall(conn, &asked))?;
        Ok(answers.into_iter().flatten().next())
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, QueueError> {
        tell!(self, "lease", |slot| Op::Lease { request, slot }).map(crate::op::Given::take)
    }

    async fn release(&self, leases: Vec<Release>) -> Result<(), QueueError> {
        tell!(self, "release", |slot| Op::Release { leases, slot })
    }

    fn depth(&self, model: &ModelName) -> Depth {
        self.front().depths.get(model)
    }

    fn load(&self) -> Load {
        self.front().depths.total()
    }

    fn client_load(&self, client: &ClientKey) -> Load {
        self.front().depths.client(client)
    }

    async fn position(&self, id: TaskId) -> Result<Option<u64>, QueueError> {
        self.inner.positions.ask(self, id).await
    }

    async fn probe(&self) -> Result<(), QueueError> {
        tell!(self, "probe", |slot| Op::Probe { slot })
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.front().close().await;
        Ok(())
    }
}

impl MysqlStore {
    /// What is known of an id, the inbox left out.
    async fn look_up(&self, id: TaskId) -> Result<Lookup, QueueError> {
        match self.inner.fetches.ask(self, id).await? {
            Glimpse::Whole(record) => Ok(Lookup::Found(record)),
            Glimpse::Damaged(error) => Err(error.into_queue("fetch")),
            Glimpse::Part => ask!(self, "fetch", |conn| read::fetch(conn, id)),
        }
    }
}

#[async_trait]
impl ResultStore for MysqlStore {
    async fn finish(&self, completions: Vec<Completion>) -> Result<Vec<Finished>, QueueError> {
        let endings = completions
            .into_iter()
            .map(Ending::in_row)
            .collect::<Result<_, _>>();
        let endings = endings.map_err(Self::misused("finish"))?;
        tell!(self, "finish", |slot| Op::Finish { endings, slot })
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<Vec<Finished>, QueueError> {
        tell!(self, "retry", |slot| Op::Retry { retries, slot })
    }

    async fn cancel(&self, id: TaskId, reason: &str, now: Timestamp) -> Result<Cancelled, QueueError> {
        let reason = reason.to_owned();
        tell!(self, "cancel", |slot| Op::Cancel {
            id,
            reason,
            now,
            slot
        })
    }

    async fn expire(&self, now: Timestamp) -> Result<Expiries, QueueError> {
        tell!(self, "expire", |slot| Op::Expire { now, slot })
    }

    async fn fetch(&self, id: TaskId) -> Result<Lookup, QueueError> {
        let found = self.look_up(id).await?;
        if found != Lookup::Unknown || self.inner.inbox.is_none() {
            return Ok(found);
        }
        if let Some(record) = ask!(self, "fetch", |conn| read::inbox_record(conn, id))? {
            return Ok(Lookup::Found(Box::new(record)));
        }
        // It may have been taken in between.
        self.look_up(id).await
    }

    async fn owner(&self, id: TaskId) -> Result<Ownership, QueueError> {
        let found = ask!(self, "owner", |conn| read::owner(conn, id))?;
        if found != Ownership::Unknown || self.inner.inbox.is_none() {
            return Ok(found);
        }
        if ask!(self, "owner", |conn| read::inbox_has(conn, id))? {
            return Ok(Ownership::Of(self.inbox_tenant().cloned()));
        }
        ask!(self, "owner", |conn| read::owner(conn, id))
    }

    async fn purge(&self, now: Timestamp) -> Result<usize, QueueError> {
        tell!(self, "purge", |slot| Op::Purge { now, slot })
    }
}

#[async_trait]
impl Neighbours for MysqlStore {
    async fn news(&self) -> Vec<News> {
        self.inner.board.take().await
    }

    async fn introduce(&self, about: About, is_news: bool) -> Result<(), QueueError> {
        let about = self.inner.board.introduce(&about)?;
        tell!(self, "introduce", |slot| Op::Introduce { about, is_news, slot })
    }

    async fn members(&self, with_ended: bool) -> Result<Vec<Member>, QueueError> {
        ask!(self, "members", |conn| member::members(conn, with_ended))
    }

    async fn served_elsewhere(&self, models: Vec<ModelName>) -> Result<Vec<ModelName>, QueueError> {
        ask!(self, "served_elsewhere", |conn| member::served(conn, &models))
    }
}

#[async_trait]
impl TaskList for MysqlStore {
    async fn tasks(&self, query: TaskQuery) -> Result<TaskPage, QueueError> {
        ask!(self, "tasks", |conn| read::tasks(conn, &query))
    }
}

#[async_trait]
impl DeadLetters for MysqlStore {
    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, QueueError> {
        ask!(self, "letters", |conn| read::letters(conn, &query))
    }

    async fn letter(&self, id: TaskId) -> Result<Option<DeadLetter>, QueueError> {
        ask!(self, "letter", |conn| read::letter(conn, id))
    }

    async fn letter_input(&self, id: TaskId) -> Result<Option<Payload>, QueueError> {
        ask!(self, "letter_input", |conn| read::letter_input(conn, id))
    }

    async fn replay(&self, letter: TaskId, mut task: NewTask) -> Result<Replayed, QueueError> {
        task.idempotency = None;
        let task = Submission::in_row(task).map_err(Self::misused("replay"))?;
        tell!(self, "replay", |slot| Op::Replay { letter, task, slot })
    }

    async fn discard(&self, id: TaskId) -> Result<bool, QueueError> {
        let doom = Doom::One(id);
        tell!(self, "discard", |slot| Op::Discard { doom, slot }).map(|count| count > 0)
    }

    async fn discard_all(&self, filter: LetterFilter) -> Result<usize, QueueError> {
        let doom = Doom::Matching(filter);
        tell!(self, "discard", |slot| Op::Discard { doom, slot })
    }
}

#[async_trait]
impl Outbox for MysqlStore {
    fn outbox(&self) -> watch::Receiver<OutboxLoad> {
        self.front().depths.outbox.load()
    }

    fn outbox_of(&self, host: &str) -> u64 {
        self.front().depths.outbox.of(host)
    }

    async fn outbox_lease(&self, request: OutboxRequest) -> Result<Sendings, QueueError> {
        tell!(self, "outbox_lease", |slot| Op::OutboxLease { request, slot })
    }

    async fn outbox_settle(&self, tried: Tried) -> Result<Finished, QueueError> {
        tell!(self, "outbox_settle", |slot| Op::OutboxSettle { tried, slot })
    }

    async fn deliveries(&self, query: DeliveryQuery) -> Result<DeliveryPage, QueueError> {
        ask!(self, "deliveries", |conn| read::deliveries(conn, &query))
    }

    async fn redeliver(&self, id: EventId, now: Timestamp) -> Result<Redelivered, QueueError> {
        tell!(self, "redeliver", |slot| Op::Redeliver { id, now, slot })
    }
}

#[async_trait]
impl Bulks for MysqlStore {
    async fn bulk_make(&self, new: NewBulk) -> Result<BulkMade, QueueError> {
        tell!(self, "bulk_make", |slot| Op::BulkMake { new, slot })
    }

    async fn bulk_add(
        &self,
        id: BulkId,
        first: u64,
        lines: Vec<BulkLine>,
        now: Timestamp,
    ) -> Result<BulkAdded, QueueError> {
        check_lines(&lines)?;
        let line = |line| match line {
            BulkLine::Wrong(error) => Ok(Line::Wrong(error)),
            BulkLine::Task(mut task) => {
                task.idempotency = None;
                Submission::in_row(*task).map(Line::Task)
            }
        };
        let lines = lines.into_iter().map(line).collect::<Result<_, _>>();
        let lines = lines.map_err(Self::misused("bulk_add"))?;
        tell!(self, "bulk_add", |slot| Op::BulkAdd {
            id,
            first,
            lines,
            now,
            slot
        })
    }

    async fn bulk_seal(&self, id: BulkId, total: u64) -> Result<BulkSealed, QueueError> {
        tell!(self, "bulk_seal", |slot| Op::BulkSeal { id, total, slot })
    }

    async fn bulk_cancel(&self, id: BulkId, now: Timestamp) -> Result<bool, QueueError> {
        tell!(self, "bulk_cancel", |slot| Op::BulkCancel { id, now, slot })
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, QueueError> {
        ask!(self, "bulk", |conn| read::bulk(conn, id))
    }

    async fn bulk_owner(&self, id: BulkId) -> Result<Ownership, QueueError> {
        ask!(self, "bulk_owner", |conn| read::bulk_owner(conn, id))
    }

    async fn bulk_lines(&self, id: BulkId, from: u64, limit: usize) -> Result<Vec<BulkFound>, QueueError> {
        ask!(self, "bulk_lines", |conn| read::bulk_lines(conn, id, from, limit))
    }

    async fn bulk_open(&self, id: BulkId, limit: usize) -> Result<Vec<TaskId>, QueueError> {
        ask!(self, "bulk_open", |conn| read::bulk_open(conn, id, limit))
    }

    async fn bulks(&self, query: BulkQuery) -> Result<BulkPage, QueueError> {
        ask!(self, "bulks", |conn| read::bulks(conn, &query))
    }
}
