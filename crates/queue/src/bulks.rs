//! The port to bulks: many tasks of one model that came in one request, line by line, and are asked after as one.
//!
//! ```text
//!   bulk_make(key) ---> open --bulk_add(first, lines)--> open, so many lines accepted --bulk_seal(total)--> sealed
//!      known key: the same one again      each line once, whoever sends it      \--bulk_cancel--> takes no more
//! ```
//!
//! A bulk is no batch: a batch is what a model computes in one go, and is nowhere in a store.

use async_trait::async_trait;
use bytes::Bytes;
use cresset_task::{BulkId, ModelName, Ownership, State, TaskId, Tenant, Timestamp};

use crate::error::{QueueError, QueueErrorKind};
use crate::{IdempotencyKey, NewTask};

/// Lines that one `bulk_add` brings, at most: a transaction of some ten milliseconds.
pub const BULK_LINES_MAX: usize = 256;
/// Lines that one page shows, and open tasks that one `bulk_open` gives, at most.
pub const BULK_PAGE_MAX: usize = 1_000;
/// Bulks that one page lists, at most: each may have its metadata.
pub const BULKS_MAX: usize = 100;

/// A bulk to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBulk {
    /// Its id, fresh.
    pub id: BulkId,
    /// The model of all its tasks.
    pub model: ModelName,
    /// Whose it is; `None` where there are no keys.
    pub tenant: Option<Tenant>,
    /// What it is recognised by when it is sent again; `None` when its caller gave it no key.
    pub key: Option<IdempotencyKey>,
    /// The caller's JSON object, given back untouched.
    pub metadata: Option<Bytes>,
    /// When it was begun.
    pub created_at: Timestamp,
}

/// What became of a `bulk_make`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkMade {
    /// It is there now, without a line.
    New,
    /// The key is known: this bulk has it, and nothing was made.
    Known(BulkId),
}

/// One line, as it is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkLine {
    /// A task to be queued. Its own idempotency is not looked at: the line's number is its name.
    Task(Box<NewTask>),
    /// What is wrong with it: kept, so that who asks for the results is told.
    Wrong(String),
}

/// What became of a `bulk_add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAdded {
    /// So many lines, the last ones of those given, are new and accepted now; those before them had been accepted before.
    Added(usize),
    /// Lines are missing before the first one: so many are accepted. Nothing changed.
    Gap(u64),
    /// It is sealed with so many lines, and there are some behind its end. Nothing changed.
    Sealed(u64),
    /// It was cancelled and takes no more. Nothing changed.
    Cancelled,
    /// There is no such bulk.
    Unknown,
}

/// What became of a `bulk_seal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkSealed {
    /// It has so many lines for good, now or since before.
    Sealed,
    /// It has another number of lines than that. Nothing changed.
    Differs(u64),
    /// There is no such bulk.
    Unknown,
}

/// How many of a bulk's lines are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkCounts {
    /// Queued.
    pub pending: u64,
    /// Leased.
    pub started: u64,
    /// Queued to be tried again.
    pub retry: u64,
    /// Ended with a result.
    pub success: u64,
    /// Ended without one.
    pub failure: u64,
    /// Cancelled, or expired.
    pub revoked: u64,
    /// Never a task: the line was wrong.
    pub wrong: u64,
    /// Purged since: it ended, and how is forgotten.
    pub forgotten: u64,
}

impl BulkCounts {
    /// Tasks that have not ended.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.pending + self.started + self.retry
    }

    /// Where tasks in this state are counted.
    pub fn of_state(&mut self, state: State) -> &mut u64 {
        match state {
            State::Pending => &mut self.pending,
            State::Started => &mut self.started,
            State::Retry => &mut self.retry,
            State::Success => &mut self.success,
            State::Failure => &mut self.failure,
            State::Revoked => &mut self.revoked,
        }
    }

    /// All lines.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.open() + self.success + self.failure + self.revoked + self.wrong + self.forgotten
    }
}

/// A bulk as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Its id.
    pub id: BulkId,
    /// The model of all its tasks.
    pub model: ModelName,
    /// Whose it is.
    pub tenant: Option<Tenant>,
    /// The caller's JSON object.
    pub metadata: Option<Bytes>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// Lines that are accepted: the first so many of the request, without a gap.
    pub accepted: u64,
    /// Lines that there are in all; `None` until the end of the request has come.
    pub total: Option<u64>,
    /// Since when it is to take no more.
    pub cancelled_at: Option<Timestamp>,
    /// When the last of its tasks ended; `None` while one is open, and when none is known to have ended.
    pub finished_at: Option<Timestamp>,
    /// Where its lines are; their sum is `accepted`.
    pub counts: BulkCounts,
}

impl Bulk {
    /// Every line that will ever be has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.counts.open() == 0 && (self.total.is_some() || self.cancelled_at.is_some())
    }
}

/// One line, as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkFound {
    /// It is this task.
    Task(TaskId),
    /// It was wrong: so.
    Wrong(String),
    /// Its task has been purged.
    Forgotten,
}

/// A place in the list of bulks. The number is the store's own; callers pass it back as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkCursor(pub u64);

/// Which bulks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkQuery {
    /// Of this tenant only.
    pub tenant: Option<Tenant>,
    /// Those that come behind this place only.
    pub after: Option<BulkCursor>,
    /// At most so many, and never more than [`BULKS_MAX`].
    pub limit: usize,
}

/// A part of the list of bulks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkPage {
    /// Those begun last come first.
    pub bulks: Vec<Bulk>,
    /// Where the next page begins; `None` when this was the last one.
    pub next: Option<BulkCursor>,
}

/// Bulks.
///
/// Where [`Capabilities::bulks`](crate::Capabilities::bulks) is false every method is answered `Unsupported`. Else, promises
/// that every implementation keeps, and the conformance suite checks by name:
///
/// - *Accepted means durable.* When a method that changes something returns, it is on stable storage, as a submit is.
/// - *One key, one bulk.* Of all `bulk_make` for a model with one key, across crashes, the first makes its bulk; the others are
///   answered with that. A key is kept as long as its bulk.
/// - *Each line once.* Lines are accepted in order and without a gap, however often, by however many and after whatever crash
///   they are added. What was accepted is never replaced.
/// - *All or none.* Of one `bulk_add` all new lines are accepted, or none. A task of it is as one that was submitted.
/// - *Counted as it is.* The counts of a bulk are those of one moment, and their sum is what is accepted.
/// - *Kept as its tasks are.* A bulk is forgotten when it has no task left and has taken no line for as long as results are
///   kept; not before.
#[async_trait]
pub trait Bulks: Send + Sync {
    /// Makes a bulk, unless its key is known.
    async fn bulk_make(&self, _new: NewBulk) -> Result<BulkMade, QueueError> {
        Err(unsupported("bulk_make"))
    }

    /// Adds lines, the first of which has the number `first` (from 0), at most [`BULK_LINES_MAX`].
    async fn bulk_add(
        &self,
        _id: BulkId,
        _first: u64,
        _lines: Vec<BulkLine>,
        _now: Timestamp,
    ) -> Result<BulkAdded, QueueError> {
        Err(unsupported("bulk_add"))
    }

    /// Says that there are `total` lines in all.
    async fn bulk_seal(&self, _id: BulkId, _total: u64) -> Result<BulkSealed, QueueError> {
        Err(unsupported("bulk_seal"))
    }

    /// From now on it takes no more lines; its tasks stay as they are. False when there is no such bulk. Doing so twice does no
    /// harm.
    async fn bulk_cancel(&self, _id: BulkId, _now: Timestamp) -> Result<bool, QueueError> {
        Err(unsupported("bulk_cancel"))
    }

    /// The bulk as it is now; `None` when there is none, or it is forgotten.
    async fn bulk(&self, _id: BulkId) -> Result<Option<Bulk>, QueueError> {
        Err(unsupported("bulk"))
    }

    /// Whose it is, from the first moment to the last. Counts nothing, unlike `bulk`.
    async fn bulk_owner(&self, _id: BulkId) -> Result<Ownership, QueueError> {
        Err(unsupported("bulk_owner"))
    }

    /// Its lines from number `from` on, in order, at most `limit` and never more than [`BULK_PAGE_MAX`]. Empty behind the last
    /// accepted one, and for no bulk.
    async fn bulk_lines(&self, _id: BulkId, _from: u64, _limit: usize) -> Result<Vec<BulkFound>, QueueError> {
        Err(unsupported("bulk_lines"))
    }

    /// Some of its tasks that have not ended, at most `limit` and never more than [`BULK_PAGE_MAX`]; empty when all have.
    async fn bulk_open(&self, _id: BulkId, _limit: usize) -> Result<Vec<TaskId>, QueueError> {
        Err(unsupported("bulk_open"))
    }

    /// A page of the list of bulks.
    async fn bulks(&self, _query: BulkQuery) -> Result<BulkPage, QueueError> {
        Err(unsupported("bulks"))
    }
}

/// Refuses more lines at once than `bulk_add` promises to take.
pub fn check_lines(lines: &[BulkLine]) -> Result<(), QueueError> {
    match lines.len() {
        ..=BULK_LINES_MAX => Ok(()),
        many => {
            let said = format!("{many} lines at once; at most {BULK_LINES_MAX} go");
            Err(QueueError::new(QueueErrorKind::Internal, "bulk_add", said))
        }
    }
}

fn unsupported(operation: &'static str) -> QueueError {
    QueueError::new(QueueErrorKind::Unsupported, operation, "")
}
