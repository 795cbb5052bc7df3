//! What the stores that keep tasks in SQL tables have in common, whatever their SQL: numbers and texts that are in the
//! tables, counts that are kept in memory, bounds.
//!
//! What must not happen here: a query, a connection, a file. A backend that needs one of its own has it in its own crate;
//! [`remote`] knows connections by a trait alone.

mod bulk;
mod codec;
mod depth;
mod fault;
pub mod fleet;
mod inbox;
mod names;
mod outbox;
mod pages;
pub mod remote;
mod returns;
mod told;
mod ttl;
mod work;

pub use self::bulk::{BulkPlace, Line};
pub use self::codec::{
    Content, PENDING, STARTED, Stored, as_number, retry_of, retry_text, state_after, state_number, state_of,
    trace_of,
};
pub use self::depth::{Change, Depths, Owner};
pub use self::fault::Fault;
pub use self::inbox::{EndedUnrun, Entry, InboxOptions, Taking, inbox_input, inbox_record};
pub use self::names::{client_of, event_id, model_of, owner_of, tenant_of, url_of};
pub use self::outbox::{OutboxChange, OutboxCounts};
pub use self::pages::{LOOK_MAX, Place, next_place, place_of};
pub use self::returns::{Given, Returns};
pub use self::told::Word;
pub use self::ttl::{PURGE_BYTES_MAX, PURGE_ROWS_MAX, Ttl, before};
pub use self::work::{Ending, IntoQueueError, Reply, Slot, Submission};

use cresset_task::TaskId;

use crate::{Capabilities, LetterFilter};

/// What a store in SQL tables can do that belongs to one server at a time.
#[must_use]
pub const fn capabilities(name: &'static str, durable: bool) -> Capabilities {
    Capabilities {
        name,
        one_transaction: true,
        priorities: true,
        delays: true,
        shared: false,
        durable,
        bulks: true,
        inbox: false,
    }
}

/// Which dead letters are to go.
#[derive(Clone, Debug)]
pub enum Doom {
    /// This one.
    One(TaskId),
    /// These.
    Matching(LetterFilter),
}

/// Tasks that one expiry revokes, at most: about 10 ms of a writer's time.
pub const EXPIRED_MAX: i64 = 1_000;

/// Delayed tasks that one lease queues, at most: as many as any lease takes at once, and a bounded time.
pub const PROMOTED_MAX: i64 = 10_000;

/// What the caller of an expired task reads.
pub const EXPIRED: &str = "it expired before it could run";

/// What the caller of a task reads that ran past its deadline.
pub const OVERDUE: &str = "its deadline passed while it ran";

/// What a task's history says of a lease that ended with its process.
pub const SERVER_ENDED: &str = "the server ended while it ran";

/// What is said of a delivery whose address wants nothing more.
pub const DISABLED: &str = "the address answered 410 Gone before, and is disabled";
