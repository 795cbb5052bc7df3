//! What the cases are told with: a store under test, and short ways to make and look at tasks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_task::{ClientKey, ModelName, Outcome, Payload, Redelivery, TaskId, TaskRecord, Timestamp};

use super::Harness;
use crate::{
    Backend, Cancelled, Completion, Depth, Finished, Lease, LeaseRequest, Lookup, NewTask, Release, Retry,
    Submitted, Turn,
};

/// More than any case queues.
pub const ALL: usize = 100_000;

/// A store under test.
pub(super) struct World {
    pub(super) harness: Box<dyn Harness>,
    pub(super) store: Arc<dyn Backend>,
}

impl World {
    pub(super) async fn open(harness: Box<dyn Harness>) -> Self {
        let store = harness.open().await;
        Self { harness, store }
    }

    /// The process dies and another starts.
    pub(super) async fn crash(self) -> Self {
        let store = self.harness.crash(self.store).await;
        Self {
            harness: self.harness,
            store,
        }
    }

    /// The process stops cleanly and another starts.
    pub(super) async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        drop(self.store);
        let store = self.harness.open().await;
        Self {
            harness: self.harness,
            store,
        }
    }

    pub(super) async fn submit(&self, task: NewTask) -> TaskId {
        let id = task.id;
        assert_eq!(self.store.submit(task).await.unwrap(), Submitted::New);
        id
    }

    /// Submits so many tasks of a model; their ids in order.
    pub(super) async fn submit_many(&self, name: &str, count: usize) -> Vec<TaskId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.submit(task(name)).await);
        }
        ids
    }

    pub(super) async fn lease(&self, name: &str, max_tasks: usize) -> Vec<Lease> {
        self.store.lease(request(name, max_tasks)).await.unwrap()
    }

    /// Leases exactly one.
    pub(super) async fn lease_one(&self, name: &str) -> Lease {
        let mut leases = self.lease(name, 1).await;
        assert_eq!(leases.len(), 1, "there is a task to lease");
        leases.remove(0)
    }

    pub(super) async fn release(&self, leases: &[Lease]) {
        self.store
            .release(leases.iter().map(giving_up).collect())
            .await
            .unwrap();
    }

    pub(super) async fn finish(&self, completion: Completion) -> Finished {
        let answers = self.store.finish(vec![completion]).await.unwrap();
        assert_eq!(answers.len(), 1, "one answer for one completion");
        answers[0]
    }

    pub(super) async fn retry(&self, retry: Retry) -> Finished {
        let answers = self.store.retry(vec![retry]).await.unwrap();
        assert_eq!(answers.len(), 1, "one answer for one retry");
        answers[0]
    }

    pub(super) async fn cancel(&self, id: TaskId) -> Cancelled {
        self.store
            .cancel(id, "no longer wanted", at(3_000))
            .await
            .unwrap()
    }

    /// Leases all that may be leased at this instant.
    pub(super) async fn lease_at(&self, name: &str, now: Timestamp) -> Vec<Lease> {
        self.store
            .lease(LeaseRequest {
                now,
                ..request(name, ALL)
            })
            .await
            .unwrap()
    }

    pub(super) async fn lookup(&self, id: TaskId) -> Lookup {
        self.store.fetch(id).await.unwrap()
    }

    /// The record of a task that is there.
    pub(super) async fn record(&self, id: TaskId) -> TaskRecord {
        match self.lookup(id).await {
            Lookup::Found(record) => *record,
            other => panic!("{id} should be found, is {other:?}"),
        }
    }

    pub(super) fn depth(&self, name: &str) -> Depth {
        self.store.depth(&model(name))
    }

    /// Purges until nothing is left to; how many went.
    pub(super) async fn purge_all(&self, now: Timestamp) -> usize {
        let mut sum = 0;
        loop {
            match self.store.purge(now).await.unwrap() {
                0 => return sum,
                count => sum += count,
            }
        }
    }

    /// Submits, leases and finishes a task at these instants.
    pub(super) async fn finished_task(&self, name: &str, finished_at: Timestamp) -> TaskId {
        let id = self.submit(task(name)).await;
        let lease = self.lease_one(name).await;
        assert_eq!(lease.id, id, "the queue holds nothing else");
        assert_eq!(
            self.finish(success(&lease, finished_at)).await,
            Finished::Recorded
        );
        id
    }
}

/// A model that is called so.
#[must_use]
pub fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// So many microseconds after some instant that all cases share.
#[must_use]
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

pub(super) const TICK: Duration = Duration::from_micros(1);

/// What a point of priority is worth in these cases, unless they say otherwise: more than any of them lasts.
pub(super) const STEP: Duration = Duration::from_secs(3600);

/// A fresh task that weighs seven bytes.
#[must_use]
pub fn task(name: &str) -> NewTask {
    NewTask::new(model(name), json("[1,2,3]"), at(0))
}

/// A client that is called so.
pub(super) fn client(name: &str) -> ClientKey {
    ClientKey::named(name).unwrap()
}

/// The depth of a queue in which none is delayed.
pub(super) fn queued(tasks: u64, bytes: u64) -> Depth {
    Depth {
        tasks,
        bytes,
        ..Depth::default()
    }
}

/// One reason in a task's history.
pub(super) fn because(lease: &Lease, when: Timestamp, reason: &str) -> Redelivery {
    Redelivery {
        attempt: lease.attempt,
        at: when,
        reason: reason.into(),
    }
}

/// The holder gives up until `due_at`.
pub(super) fn retrying(lease: &Lease, due_at: Timestamp) -> Retry {
    Retry {
        id: lease.id,
        attempt: lease.attempt,
        redeliveries: 0,
        history: vec![because(lease, at(2_000), "ValueError: not yet")],
        due_at,
    }
}

/// A fresh task of this priority, a point of which is worth `step`, accepted at this instant.
pub(super) fn prioritised(name: &str, priority: i8, step: Duration, created_at: Timestamp) -> NewTask {
    NewTask {
        priority,
        created_at,
        turn: Turn::of(created_at, priority, step),
        ..task(name)
    }
}

pub(super) fn json(text: &str) -> Payload {
    Payload::Json(Bytes::copy_from_slice(text.as_bytes()))
}

/// Asks for so many tasks of a model.
#[must_use]
pub fn request(name: &str, max_tasks: usize) -> LeaseRequest {
    LeaseRequest {
        model: model(name),
        max_tasks,
        max_bytes: usize::MAX,
        now: at(1_000),
    }
}

/// The holder gives the task back.
#[must_use]
pub fn giving_up(lease: &Lease) -> Release {
    Release {
        id: lease.id,
        attempt: lease.attempt,
    }
}

pub(super) fn ended(lease: &Lease, outcome: Outcome, finished_at: Timestamp) -> Completion {
    Completion {
        id: lease.id,
        attempt: lease.attempt,
        redeliveries: 0,
        history: Vec::new(),
        outcome,
        version: Some("3".into()),
        finished_at,
        evidence: None,
        cached: false,
    }
}

/// The holder has a result.
#[must_use]
pub fn success(lease: &Lease, finished_at: Timestamp) -> Completion {
    ended(lease, Outcome::Success(json("{\"label\":7}")), finished_at)
}

pub(super) fn ids(leases: &[Lease]) -> Vec<TaskId> {
    leases.iter().map(|l| l.id).collect()
}
