//! Bulks: many tasks of one model that come in one request and are asked after as one.
//!
//! A line of a bulk is a submit like any other: it passes the same bounds, is told to the same watchers and run by the same
//! drivers. What is its own is that a group of lines is accepted in one step of the store, in order, each once.

use std::sync::Arc;

use cresset_queue::{
    BULK_PAGE_MAX, Bulk, BulkAdded, BulkFound, BulkLine, BulkMade, BulkPage, BulkQuery, BulkSealed,
    IdempotencyKey, Lookup, NewBulk,
};
use cresset_task::{Attempt, BulkId, ModelName, Ownership, State, TaskId, TaskRecord, Tenant, Timestamp};
use tokio::task::JoinSet;

use crate::api::{EngineError, Submission};
use crate::engine::{Engine, invalid};
use crate::item::check_fit;
use crate::served::Served;
use crate::submit::task_of;

/// Tasks of a bulk that are cancelled at once: they share commits, and leave room for what else the store is asked.
const CANCELS_MAX: usize = 64;

/// A bulk to be begun, or gone on with.
#[derive(Clone, Debug)]
pub struct BulkStart {
    /// The model of all its tasks.
    pub model: ModelName,
    /// Whose it is, where callers are told apart by keys.
    pub tenant: Option<Tenant>,
    /// The caller's name for it: begun again under it, it is gone on with.
    pub key: Option<IdempotencyKey>,
    /// The caller's JSON object, given back untouched.
    pub metadata: Option<bytes::Bytes>,
}

/// A line as it came: a submission, or what is wrong with it.
pub type Line = Result<Box<Submission>, String>;

impl Engine {
    /// Begins a bulk, durably; or finds the one that has this key. True when it was found.
    pub async fn bulk_begin(&self, start: BulkStart) -> Result<(Bulk, bool), EngineError> {
        self.has_bulks()?;
        self.open(start.model.as_str())?;
        let shared = &self.inner.shared;
        let key = start.key.map(|key| match &start.tenant {
            Some(tenant) => key.within(tenant),
            None => key,
        });
        let new = NewBulk {
            id: BulkId::fresh(),
            model: start.model,
            tenant: start.tenant,
            key,
            metadata: start.metadata,
            created_at: Timestamp::now(),
        };
        let fresh = new.id;
        let made = shared
            .backend
            .bulk_make(new)
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        shared.store.works();
        let (id, is_known) = match made {
            BulkMade::New => (fresh, false),
            BulkMade::Known(id) => (id, true),
        };
        Ok((self.bulk(id).await?, is_known))
    }

    /// Accepts as many of these lines as there is room for now, the first of which has the number `first`; durable when this
    /// returns. Gives how many of them are accepted, now or since before: at least one. Where there is no room for any, says
    /// which bound was reached. Dropping the future does not take back what has begun.
    pub async fn bulk_add(&self, bulk: &Bulk, first: u64, lines: Vec<Line>) -> Result<usize, EngineError> {
        let served = self.open(bulk.model.as_str())?;
        let (engine, id) = (self.clone(), bulk.id);
        let add = async move { engine.add(&served, id, first, lines).await };
        self.see_through(add).await
    }

    async fn add(
        &self,
        served: &Arc<Served>,
        id: BulkId,
        first: u64,
        lines: Vec<Line>,
    ) -> Result<usize, EngineError> {
        let shared = &self.inner.shared;
        let now = Timestamp::now();
        // They come in one request.
        let client = (lines.iter().flatten()).find_map(|submission| submission.client.clone());
        let (mut taken, mut rooms, mut tasks) = (Vec::with_capacity(lines.len()), Vec::new(), Vec::new());
        for line in lines {
            let submission = match line.map(|submission| self.fitting(served, submission)) {
                Err(wrong) | Ok(Err(wrong)) => {
                    taken.push(BulkLine::Wrong(wrong));
                    tasks.push(None);
                    continue;
                }
                Ok(Ok(submission)) => submission,
            };
            let bytes = submission.input.weight() as u64;
            let room = self
                .admit_callback(submission.callback.as_ref())
                .and_then(|()| self.admit(served, bytes, client.as_ref()));
            match room {
                Ok(room) => rooms.push(room),
                // What will never fit is wrong with this line alone.
                Err(never @ (EngineError::TooLarge { .. } | EngineError::BadCallback(_))) => {
                    taken.push(BulkLine::Wrong(never.to_string()));
                    tasks.push(None);
                    continue;
                }
                Err(refusal) if taken.is_empty() => return Err(refusal),
                Err(_) => break,
            }
            let task = task_of(served, *submission, client.as_ref(), None, now);
            tasks.push(Some((task.id, task.expires_at)));
            taken.push(BulkLine::Task(Box::new(task)));
        }
        let count = taken.len();
        let added = shared
            .backend
            .bulk_add(id, first, taken, now)
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        drop(rooms); // the store has counted them
        shared.store.works();
        let new = match added {
            BulkAdded::Added(new) => new,
            BulkAdded::Gap(accepted) => return Err(EngineError::BulkGap { id, accepted }),
            BulkAdded::Sealed(total) => return Err(EngineError::BulkDiffers { id, total }),
            BulkAdded::Cancelled => return Err(EngineError::BulkCancelled(id)),
            BulkAdded::Unknown => return Err(EngineError::UnknownBulk(id)),
        };
        for (task, expires_at) in tasks.into_iter().skip(count.saturating_sub(new)).flatten() {
            if let Some(at) = expires_at {
                shared.expiries.earlier(at);
            }
            served.metrics.accepted();
            shared.tell(task, &served.config.name, State::Pending, Attempt(0));
        }
        served.wake.notify_one();
        Ok(count)
    }

    /// The submission, with whom its model has told; or what is wrong with it.
    fn fitting(&self, served: &Served, mut submission: Box<Submission>) -> Result<Box<Submission>, String> {
        check_fit(&submission.input, &served.config).map_err(|why| invalid(&why).to_string())?;
        submission.callback = submission.callback.or_else(|| served.config.webhook.clone());
        Ok(submission)
    }

    /// Says that a bulk has so many lines in all, durably.
    pub async fn bulk_seal(&self, id: BulkId, total: u64) -> Result<(), EngineError> {
        let shared = &self.inner.shared;
        let sealed = shared
            .backend
            .bulk_seal(id, total)
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        match sealed {
            BulkSealed::Sealed => Ok(()),
            BulkSealed::Differs(total) => Err(EngineError::BulkDiffers { id, total }),
            BulkSealed::Unknown => Err(EngineError::UnknownBulk(id)),
        }
    }

    /// A bulk as it is now.
    pub async fn bulk(&self, id: BulkId) -> Result<Bulk, EngineError> {
        self.has_bulks()?;
        let bulk = self.inner.shared.backend.bulk(id).await?;
        bulk.ok_or(EngineError::UnknownBulk(id))
    }

    /// Whose a bulk is.
    pub async fn bulk_owner(&self, id: BulkId) -> Result<Ownership, EngineError> {
        self.has_bulks()?;
        Ok(self.inner.shared.backend.bulk_owner(id).await?)
    }

    /// Some of its lines, from number `from` on.
    pub async fn bulk_lines(&self, id: BulkId, from: u64) -> Result<Vec<BulkFound>, EngineError> {
        let backend = &self.inner.shared.backend;
        Ok(backend.bulk_lines(id, from, BULK_PAGE_MAX).await?)
    }

    /// A task as the store has it, without its place in the queue; `None` when it is not there, or no longer.
    pub async fn record(&self, id: TaskId) -> Result<Option<TaskRecord>, EngineError> {
        match self.inner.shared.backend.fetch(id).await? {
            Lookup::Found(record) => Ok(Some(*record)),
            Lookup::Expired | Lookup::Unknown => Ok(None),
        }
    }

    /// A page of the bulks, those begun last first.
    pub async fn bulks(&self, query: BulkQuery) -> Result<BulkPage, EngineError> {
        self.has_bulks()?;
        Ok(self.inner.shared.backend.bulks(query).await?)
    }

    /// Has a bulk take no more lines, then cancels every task of it that has not ended; one that is over stays as it is. Dropping the future does not take it
    /// back, and doing so again goes on where a crash ended it.
    pub async fn bulk_cancel(&self, id: BulkId) -> Result<Bulk, EngineError> {
        self.has_bulks()?;
        let engine = self.clone();
        self.see_through(async move { engine.revoke_all(id).await }).await
    }

    async fn revoke_all(&self, id: BulkId) -> Result<Bulk, EngineError> {
        let shared = &self.inner.shared;
        let bulk = self.bulk(id).await?;
        if bulk.is_over() {
            return Ok(bulk); // too late: an end stays as it is
        }
        let is_there = shared
            .backend
            .bulk_cancel(id, Timestamp::now())
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        if !is_there {
            return Err(EngineError::UnknownBulk(id));
        }
        loop {
            // Each round ends all that it finds, and no task comes to it any more.
            let open = shared.backend.bulk_open(id, BULK_PAGE_MAX).await?;
            if open.is_empty() {
                return self.bulk(id).await;
            }
            let (mut open, mut ends) = (open.into_iter(), JoinSet::new());
            loop {
                while ends.len() < CANCELS_MAX
                    && let Some(task) = open.next()
                {
                    let engine = self.clone();
                    ends.spawn(async move { engine.revoke(task).await });
                }
                match ends.join_next().await {
                    None => break,
                    // Purged meanwhile: it had ended.
                    Some(Ok(Ok(_) | Err(EngineError::ExpiredTask(_) | EngineError::UnknownTask(_)))) => {}
                    Some(Ok(Err(error))) => return Err(error),
                    Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The only other way: the runtime shuts down.
                    Some(Err(_)) => return Err(EngineError::ShuttingDown),
                }
            }
        }
    }

    fn has_bulks(&self) -> Result<(), EngineError> {
        let capabilities = self.inner.shared.backend.capabilities();
        match capabilities.bulks {
            true => Ok(()),
            false => Err(EngineError::NoBulks(capabilities.name)),
        }
    }
}
