//! The port to the outbox: what is to be told of tasks to the addresses that their submitters gave, until it has been told.
//!
//! ```text
//!   a task starts, is to be tried again, ends
//!        |  (same transaction)
//!        v                 outbox_lease             outbox_settle
//!     WAITING(due_at) --------------------> SENDING ------------> DELIVERED
//!        ^   ^                                 |  |
//!        |   +------------- again(due_at) -----+  +-------------> FAILED, or DISABLED (and all that waits for that address)
//!        |   (also: whatever was SENDING when its process died)             |
//!        +------------------------- redeliver ------------------------------+  (of DELIVERED too)
//! ```

use std::collections::HashMap;

use async_trait::async_trait;
use cresset_task::{CallbackUrl, EventId, ModelName, TaskId, Timestamp};
use tokio::sync::watch;

use crate::error::QueueError;
use crate::results::Finished;

/// Deliveries that one page lists, at most.
pub const DELIVERIES_MAX: usize = 100;

/// Hosts that one lease looks at, at most: a bounded time, however many there are. The next one goes on where it stopped.
pub const HOSTS_LOOK_MAX: usize = 256;

/// A note is cut to so many bytes: what went wrong fits into one line.
pub const NOTE_MAX: usize = 300;

/// Where something that is to be told stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It will be sent, at its `due_at`.
    Waiting,
    /// It is being sent.
    Sending,
    /// The other side has it.
    Delivered,
    /// It was tried as often as it is, or cannot be sent at all.
    Failed,
    /// The other side wants nothing more at this address.
    Disabled,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Sending,
        Self::Delivered,
        Self::Failed,
        Self::Disabled,
    ];

    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
        }
    }

    /// The number that a store keeps.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What is kept as this number; `None` when it is none of ours.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// It has not been told yet, and will be.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Sending)
    }
}

/// Something told of a task, or to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its name, the same however often it is sent.
    pub id: EventId,
    /// The task's model.
    pub model: ModelName,
    /// Whom it is told.
    pub url: CallbackUrl,
    /// When what it tells of happened.
    pub at: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was sent, since it was first due or since somebody had it sent again.
    pub tries: u32,
    /// When it is sent next, while it waits.
    pub due_at: Option<Timestamp>,
    /// When that was over.
    pub settled_at: Option<Timestamp>,
    /// The status of the newest answer.
    pub status: Option<u16>,
    /// What was wrong with the newest try.
    pub note: Option<String>,
}

/// The right to send something, fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// What.
    pub id: EventId,
    /// The task's model.
    pub model: ModelName,
    /// To whom.
    pub url: CallbackUrl,
    /// When what it tells of happened.
    pub at: Timestamp,
    /// The first instant at which it was due, or somebody had it sent again.
    pub since: Timestamp,
    /// Which try this is, from 1.
    pub tries: u32,
    /// This lease's number; `outbox_settle` must carry it.
    pub fence: u32,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct OutboxRequest {
    /// What is due by then. Kept as the start of the lease.
    pub now: Timestamp,
    /// At most so many in all.
    pub max: usize,
    /// At most so many for one host.
    pub per_host: usize,
    /// Instead of `per_host`, for these hosts.
    pub rooms: HashMap<String, usize>,
    /// Hosts behind this one only, in the order of their names.
    pub after: Option<String>,
}

/// What may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sendings {
    /// By host, and within one by when it is due.
    pub sendings: Vec<Sending>,
    /// The last host that was looked at, when there may be more behind it.
    pub next: Option<String>,
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The other side has it.
    Delivered,
    /// Not now: again then.
    Again(Timestamp),
    /// Not at all.
    Failed,
    /// The other side wants nothing more at this address.
    Disabled,
}

/// The end of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What was sent.
    pub id: EventId,
    /// Under which lease.
    pub fence: u32,
    /// When that was over.
    pub at: Timestamp,
    /// What became of it.
    pub told: Told,
    /// The status that was answered.
    pub status: Option<u16>,
    /// What was wrong, in a line; cut to [`NOTE_MAX`].
    pub note: Option<String>,
}

/// What became of a wish to have something sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redelivered {
    /// It waits, and is due at once.
    Queued,
    /// It is being sent at this moment: nothing changed.
    UnderWay,
    /// There is no such delivery: nothing changed.
    Unknown,
}

/// How much is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OutboxLoad {
    /// What waits or is being sent.
    pub open: u64,
    /// When the first of what waits is due.
    pub next_due: Option<Timestamp>,
    /// When the oldest of what is open happened.
    pub oldest: Option<Timestamp>,
}

/// A place in the list. The number is the store's own; callers pass it back as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryCursor(pub u64);

/// Which deliveries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// In this state only.
    pub state: Option<DeliveryState>,
    /// Of this task only.
    pub task: Option<TaskId>,
    /// To this host (`name:port`) only.
    pub host: Option<String>,
    /// Those that come behind this place only.
    pub after: Option<DeliveryCursor>,
    /// At most so many, and never more than [`DELIVERIES_MAX`].
    pub limit: usize,
}

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The newest first.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins; `None` when this was the last one.
    pub next: Option<DeliveryCursor>,
}

/// Where what is to be told waits.
///
/// Promises that every implementation keeps, and the conformance suite checks by name:
///
/// - *Written with what it tells of.* A task with a [`callback`](crate::NewTask::callback) whose filter has the event leaves a
///   delivery in the same step that starts it, puts it off or ends it, whatever ends it: both are there after a crash, or
///   neither. A stale completion leaves none. An end is told once.
/// - *In order.* Of one task at most one delivery is sent at a time, and what came before is not sent after what came later:
///   a new one takes the place of those of its task that still wait. The last one is never replaced.
/// - *One holder.* A delivery is leased by one holder at a time, under a number that is never given twice; a settlement under
///   another number is `Stale` and changes nothing. Leases do not outlive their process.
/// - *Not before.* It is leased when its `due_at` has come, those due first first, within a host.
/// - *Each host for itself.* Whatever waits for one host, a lease finds what is due for the others, and gives no host more
///   than its room.
/// - *Gone is gone.* Once `Disabled` is settled for an address, what waits for it, and what is written for it later, is
///   `Disabled` and not leased, until something to it is redelivered or the memory of it is purged.
/// - *It outlives its task.* What is open stays until it is settled, though the task be purged.
/// - *Settled is kept.* A settlement is on stable storage when it is answered, is kept for the store's time to live of
///   deliveries, and is purged after it by [`ResultStore::purge`](crate::ResultStore::purge).
/// - *Counted as it is.* The load is exact: see [`Outbox::outbox`].
/// - *Newest first.* A list walked page by page shows each delivery that stays there, and that matches, once. One page costs a
///   bounded time, and may have fewer than were asked for and still a `next`.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// How much is to be told, as it is now and whenever it changes. Cheap: read from memory.
    fn outbox(&self) -> watch::Receiver<OutboxLoad>;

    /// What is open for a host (`name:port`). Cheap: read from memory.
    fn outbox_of(&self, host: &str) -> u64;

    /// Takes what is due. Does not wait.
    async fn outbox_lease(&self, request: OutboxRequest) -> Result<Sendings, QueueError>;

    /// Says what became of a try.
    async fn outbox_settle(&self, tried: Tried) -> Result<Finished, QueueError>;

    /// A page of the list.
    async fn deliveries(&self, query: DeliveryQuery) -> Result<DeliveryPage, QueueError>;

    /// Has something sent again, now, under the same name; its address is no longer disabled.
    async fn redeliver(&self, id: EventId, now: Timestamp) -> Result<Redelivered, QueueError>;
}

/// A note as it is kept.
#[must_use]
pub fn cut_note(mut note: String) -> String {
    if note.len() > NOTE_MAX {
        let end = (0..=NOTE_MAX).rev().find(|at| note.is_char_boundary(*at));
        note.truncate(end.unwrap_or(0));
    }
    note
}
