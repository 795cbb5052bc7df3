//! The port to where queued tasks live.
//!
//! ```text
//!   submit ---> [queue of a model] ---lease---> leased(attempt n) ---ResultStore::finish(n)---> gone
//!     |  due_at     ^    ^  |  |                    |          |
//!     +---> delayed-+    |  |  +-- expire, revoke --|----------|-------------> gone (REVOKED)
//!              ^         +--|-------- release(n) ---+          |      (also: every lease of a process that died)
//!              +------------|--------- retry(n) ---------------+
//! ```

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cresset_task::{
    Attempt, CacheUse, Callback, ClientKey, ModelName, Payload, RetryTerms, TaskId, Tenant, Timestamp, Trace,
};

use crate::error::QueueError;
use crate::idempotency::{Idempotency, Submitted};
use crate::turn::Turn;

/// What a backend can do. Differences are data: what a backend cannot do is refused at submit, never emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The name an operator knows it by: `sqlite`.
    pub name: &'static str,
    /// Broker and result store are one engine: `submit` also makes the PENDING record, `finish` also leaves the queue,
    /// each in one transaction.
    pub one_transaction: bool,
    /// `lease` honours [`NewTask::turn`]; without, tasks go in the order of acceptance.
    pub priorities: bool,
    /// `lease` honours [`NewTask::due_at`], and `retry` can delay.
    pub delays: bool,
    /// Several processes may use it at once: see the promises of [`Broker`] and [`Neighbours`](crate::Neighbours).
    pub shared: bool,
    /// An accepted task survives power loss (false in the named weaker durability modes).
    pub durable: bool,
    /// It keeps bulks: see [`Bulks`](crate::Bulks).
    pub bulks: bool,
    /// Applications may write tasks down in it, within transactions of their own: see [`Inbox`](crate::Inbox).
    pub inbox: bool,
}

/// A task to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Its id, fresh.
    pub id: TaskId,
    /// The model it is for.
    pub model: ModelName,
    /// Its input.
    pub payload: Payload,
    /// -100 (last) to 100 (first). Kept to be shown; what it is worth is in `turn`.
    pub priority: i8,
    /// Its place in the queue.
    pub turn: Turn,
    /// The caller's JSON object, given back untouched.
    pub metadata: Option<Bytes>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// It is not leased before this; `None` is at once.
    pub due_at: Option<Timestamp>,
    /// It is not leased after this, but revoked; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// It is not held after this, but revoked; `None` is never. Where it is queued, `expires_at` decides.
    pub deadline_at: Option<Timestamp>,
    /// It is not queued: who submits it runs it already, since this instant, and holds the lease of its first attempt once it is
    /// accepted. `None` is a task that waits for its turn. Its `due_at` says nothing then.
    pub started_at: Option<Timestamp>,
    /// How to recognise this submit when it is sent again; `None` when the caller gave it no key.
    pub idempotency: Option<Idempotency>,
    /// Whose it is, for [`Broker::client_load`]; `None` when clients are not told apart.
    pub client: Option<ClientKey>,
    /// What its submitter allows a result cache to do. Kept for its leases.
    pub cache: CacheUse,
    /// How its submitter has it tried again; `None` leaves that to its model. Kept for its leases, and shown by `fetch`.
    pub retry: Option<Box<RetryTerms>>,
    /// The trace that its submitter follows. Kept for its leases, and shown by `fetch`.
    pub trace: Option<Box<Trace>>,
    /// Whose it is, for [`ResultStore::owner`](crate::ResultStore::owner) and the lists; `None` where there are no keys.
    pub tenant: Option<Tenant>,
    /// Whom to tell of it; `None` when nobody. See [`Outbox`](crate::Outbox).
    pub callback: Option<Callback>,
}

impl NewTask {
    /// One that asks for nothing: it is queued at once, by when it was accepted, for good and for nobody.
    #[must_use]
    pub fn new(model: ModelName, payload: Payload, created_at: Timestamp) -> Self {
        Self {
            id: TaskId::fresh(),
            model,
            payload,
            priority: 0,
            turn: Turn::of(created_at, 0, Duration::ZERO),
            metadata: None,
            created_at,
            due_at: None,
            expires_at: None,
            deadline_at: None,
            started_at: None,
            idempotency: None,
            client: None,
            cache: CacheUse::default(),
            retry: None,
            trace: None,
            tenant: None,
            callback: None,
        }
    }
}

/// Which tasks to lease.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The model whose queue to take from.
    pub model: ModelName,
    /// At most this many.
    pub max_tasks: usize,
    /// Stop before the payloads together weigh more than this; the first one is given whatever it weighs.
    pub max_bytes: usize,
    /// The instant to record as their start; delayed tasks that are due by now are leased, expired ones are not.
    pub now: Timestamp,
}

/// The right to run a task, fenced by its attempt number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The task.
    pub id: TaskId,
    /// This delivery's number; `finish` and `release` must carry it.
    pub attempt: Attempt,
    /// The input; or why nobody can have it, and then whoever holds the lease ends the task.
    pub payload: Result<Payload, Unreadable>,
    /// The task's priority.
    pub priority: i8,
    /// Its place in the queue.
    pub turn: Turn,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// How often it has been tried again by the retry policy.
    pub retries: u32,
    /// What its submitter allows a result cache to do.
    pub cache: CacheUse,
    /// How its submitter has it tried again; `None` leaves that to its model.
    pub retry: Option<Box<RetryTerms>>,
    /// The trace that its submitter follows.
    pub trace: Option<Box<Trace>>,
}

/// Why a task's stored input cannot be read: missing, damaged, or written by a newer version. Free of paths: callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored input cannot be read: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

impl AsRef<Self> for Lease {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A lease given back unfinished: the task is PENDING again and stands where it stood before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The task.
    pub id: TaskId,
    /// The attempt that gives up.
    pub attempt: Attempt,
}

/// How much is queued for a model, leased tasks not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Depth {
    /// Tasks, the delayed ones included.
    pub tasks: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Those of them that were not due when last looked at.
    pub delayed: u64,
    /// When the first of the delayed ones is due.
    pub next_due: Option<Timestamp>,
}

impl Depth {
    /// Whether a lease at `now` would find anything.
    #[must_use]
    pub fn has_work(&self, now: Timestamp) -> bool {
        self.tasks > self.delayed || self.next_due.is_some_and(|due| due <= now)
    }
}

/// How much is queued, of whatever it is told of; leased tasks not counted, delayed ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Load {
    /// Tasks.
    pub tasks: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// Positions are counted only this far, so that asking never costs more than a page of an index.
pub const POSITION_MAX: u64 = 10_000;

/// Where queued tasks live.
///
/// Promises that every implementation keeps, and the conformance suite checks by name:
///
/// - *Accepted means durable.* When `submit` returns `New` or `Replayed`, the task is on stable storage, unless
///   [`Capabilities::durable`] is false. When it returns an error, the task does not exist;
///   only where the process dies right after a failed disk flush may it be found, whole, at the next opening.
/// - *Ids are unique.* A second `submit` of an id is an error and changes nothing.
/// - *One key, one task.* Of all submits to a model with one idempotency key, however many at once and across crashes, the
///   first makes its task. A later one is `Replayed` when its digest is the same and `KeyReused` when it is not, and
///   changes nothing either way. A key is kept as long as its task, whether open or ended; once the task is purged, the
///   key is free. Each model has keys of its own.
/// - *One holder.* A task is leased by at most one holder at a time. Each lease carries an attempt number one above the
///   last; a `release` with another attempt than the current one changes nothing.
/// - *Born leased.* A task that is submitted with a `started_at` is leased from the beginning, as attempt 1, by who submits it:
///   STARTED, told as started, and not counted as queued. In all else it is a leased task like any other.
/// - *Order.* Within a model: by turn, then first accepted first. A released task keeps its place, and so does one that was
///   delayed, once it is due.
/// - *Not before, not after.* A task is leased only when its `due_at` has come and its `expires_at` has not passed, by the
///   `now` of the request. Both are on stable storage with the task.
/// - *Damage is told.* A task whose stored input cannot be read is leased as every other one, and its lease says why. It does
///   not hide those behind it.
/// - *Counted as it is.* `depth`, `load` and `client_load` are exact: a `submit` that has been answered is counted, and so is
///   what a release or a retry brings back; what was leased, revoked or expired is not. A crash changes nothing of it.
///   Where the store is [`shared`](Capabilities::shared), they are exact for what this process did, and follow what others
///   do within a moment.
/// - *Nothing leaks.* Leases do not outlive the process that holds them: after a crash and reopening, they are queued
///   again, with their attempts counted. Where the store is shared, another process that lives gives them back within
///   seconds, and those of one that lives stay.
/// - *Each for itself.* Where the store is shared, a lease is released, retried and ended by the process that took it, and
///   by no other.
/// - *Cancel safety.* Dropping a returned future never loses a task: either the operation happened whole, or not at all.
///   A `lease` whose future was dropped is given back. Who submits a task that is born leased sees its future through: dropped,
///   it may leave a lease that ends with the process only.
#[async_trait]
pub trait Broker: Send + Sync {
    /// What this backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Queues a task (or accepts one that runs already), durably, unless its idempotency key is known. Without a key the answer is always `New`.
    async fn submit(&self, task: NewTask) -> Result<Submitted, QueueError>;

    /// What `submit` would answer to a known idempotency key; `None` when the key is free. Never `New`. A hint, for callers
    /// that will not submit: only `submit` decides.
    async fn recall(
        &self,
        model: &ModelName,
        idempotency: &Idempotency,
    ) -> Result<Option<Submitted>, QueueError>;

    /// Takes up to `max_tasks` queued tasks of a model; an empty answer means that none is there that is due and has not
    /// expired. Does not wait.
    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, QueueError>;

    /// Gives leases back. Stale ones are ignored.
    async fn release(&self, leases: Vec<Release>) -> Result<(), QueueError>;

    /// How much is queued for a model now. Cheap: read from memory.
    fn depth(&self, model: &ModelName) -> Depth;

    /// How much is queued in all, for whatever model. Cheap: read from memory.
    fn load(&self) -> Load;

    /// How much of a client's is queued, for whatever model. Cheap: read from memory.
    fn client_load(&self, client: &ClientKey) -> Load;

    /// How many queued tasks of the same model go before this one (0 = next), counted up to
    /// [`POSITION_MAX`]; `None` when the task is not queued, or not due yet.
    async fn position(&self, id: TaskId) -> Result<Option<u64>, QueueError>;

    /// Finds out whether work can be stored now, by storing something small as durably as a task and removing it again. The
    /// error says why not.
    async fn probe(&self) -> Result<(), QueueError>;

    /// Finishes what was begun and closes. Later calls answer `Closed`. Idempotent.
    async fn close(&self) -> Result<(), QueueError>;
}
