//! The port to the inbox: tasks that applications write down in the store's database, within transactions of their own.
//!
//! ```text
//!   an application's transaction             (one transaction)
//!        INSERT ... COMMIT  --->  row  --- inbox_take --->  task PENDING, or ended at once
//!                                  |
//!                                  +-- its id is another task's: kept with its error, for people
//! ```
//!
//! A row that is committed is a task in all that callers see: `ResultStore::fetch` and `owner` answer for it as for a queued
//! one. That it is not queued yet is the engine's business, which takes rows as there is room for them.

use async_trait::async_trait;
use bytes::Bytes;
use cresset_task::{ModelName, Outcome, TaskId, Tenant, Timestamp};
use tokio::sync::watch;

use crate::broker::NewTask;
use crate::error::QueueError;

/// Rows are counted only this far, so that asking never costs more than some pages of an index.
pub const INBOX_COUNT_MAX: u64 = 10_000;

/// What an application wrote down, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRow {
    /// The id that the task will have.
    pub id: TaskId,
    /// The model that it is for, whether there is such a model or not.
    pub model: ModelName,
    /// Its input.
    pub input: InboxInput,
    /// -100 to 100.
    pub priority: i8,
    /// It does not start before this.
    pub due_at: Option<Timestamp>,
    /// It does not start after this.
    pub expires_at: Option<Timestamp>,
    /// It is revoked if it has not ended by this.
    pub deadline_at: Option<Timestamp>,
    /// JSON, as a submit has it.
    pub metadata: Option<String>,
    /// JSON, as a submit has it.
    pub retry: Option<String>,
    /// JSON text: the address to tell of it.
    pub callback_url: Option<String>,
    /// JSON: a list of the events to tell of.
    pub callback_events: Option<String>,
    /// When it was inserted, by the database's clock.
    pub inserted_at: Timestamp,
    /// Whose it is: what the store was opened with says it, not the application.
    pub tenant: Option<Tenant>,
}

/// An input, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxInput {
    /// JSON.
    Json(Bytes),
    /// A body as a submit by HTTP would have it.
    Body {
        /// Of this type.
        content_type: String,
        /// Its bytes.
        bytes: Bytes,
    },
    /// It weighs so much, more than was asked for, and was left where it is.
    TooLarge(u64),
}

/// Which rows to give.
#[derive(Clone, Debug)]
pub struct InboxQuery {
    /// None of these models.
    pub skip: Vec<ModelName>,
    /// At most this many.
    pub max_rows: usize,
    /// Stop before their inputs together weigh more than this; the first one is given whatever it weighs.
    pub max_bytes: usize,
    /// An input that alone weighs more is not read.
    pub max_row_bytes: usize,
}

/// What a row becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxEntry {
    /// A queued task.
    Task(Box<NewTask>),
    /// A task that has ended without a run: it failed, or was cancelled.
    Ended(Box<NewTask>, Outcome),
    /// None: it stays, with this as its error.
    Unfit(Box<NewTask>, String),
}

impl InboxEntry {
    /// The task.
    #[must_use]
    pub fn task(&self) -> &NewTask {
        let (Self::Task(task) | Self::Ended(task, _) | Self::Unfit(task, _)) = self;
        task
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxTaken {
    /// It is a task now, and no row.
    Taken,
    /// There is no such row any more, or somebody else has it at the moment.
    Gone,
    /// It cannot be a task, as its id is another one's or the store cannot bear it: it stays, with its error, and is not given again.
    Refused,
}

/// How much lies in the inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxLoad {
    /// Rows to be taken, counted up to [`INBOX_COUNT_MAX`].
    pub rows: u64,
    /// When the first of them was inserted.
    pub oldest: Option<Timestamp>,
    /// Rows that are kept with an error, counted as far.
    pub refused: u64,
}

/// Where applications leave tasks.
///
/// Promises that every implementation with an inbox keeps:
///
/// - *If and only if.* A row becomes a task exactly if the transaction that inserted it commits; never twice, whatever
///   dies when, and however many take at once.
/// - *In order.* Of one model, those are given first that were inserted first, of those that are committed.
/// - *No model waits for another.* What is skipped costs the others nothing.
/// - *An id is one task.* A row whose id is taken changes nothing of the task that has it.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Counts up when there may be rows; `None` where there is no inbox.
    fn inbox(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Rows to be taken, those inserted first first. Takes nothing.
    async fn inbox_rows(&self, _query: InboxQuery) -> Result<Vec<InboxRow>, QueueError> {
        Ok(Vec::new())
    }

    /// The row with this id; its input whatever it weighs, up to `max_row_bytes`.
    async fn inbox_row(&self, _id: TaskId, _max_row_bytes: usize) -> Result<Option<InboxRow>, QueueError> {
        Ok(None)
    }

    /// Makes tasks of rows, each in one step with the end of its row; the answers stand in their order.
    async fn inbox_take(
        &self,
        _entries: Vec<InboxEntry>,
        _now: Timestamp,
    ) -> Result<Vec<InboxTaken>, QueueError> {
        Ok(Vec::new())
    }

    /// How much lies in it.
    async fn inbox_load(&self) -> Result<InboxLoad, QueueError> {
        Ok(InboxLoad::default())
    }
}
