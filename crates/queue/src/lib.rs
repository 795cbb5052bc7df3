//! The ports of durable work: [`Broker`], where queued tasks live, [`ResultStore`], where states and results live,
//! [`TaskList`], what tasks there are, [`DeadLetters`], where inputs are kept that took a model's process down, [`Outbox`], what
//! is to be told of tasks to the addresses that their submitters gave, [`Bulks`], many tasks that came in one request, [`Inbox`],
//! tasks that applications write into the store's database, and [`Neighbours`], what other servers on the same store do. Beside
//! them, [`Parcels`]: payloads that servers leave for each other. Their promises are written above the traits; [`conformance`] (feature `conformance`) holds every implementation to them, and
//! [`memory`], for tests, is one.
//!
//! A SQL engine is both at once ([`Capabilities::one_transaction`]): completing a task writes the result and leaves the
//! queue in one transaction. This crate names no backend, and the engine sees backends only through it.

mod broker;
mod bulks;
mod error;
mod idempotency;
mod inbox;
pub mod kit;
mod letters;
mod listing;
mod members;
mod news;
mod outbox;
mod parcels;
mod results;
mod revoke;
mod turn;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "conformance")]
pub mod memory;

pub use broker::{
    Broker, Capabilities, Depth, Lease, LeaseRequest, Load, NewTask, POSITION_MAX, Release, Unreadable,
};
pub use bulks::{
    BULK_LINES_MAX, BULK_PAGE_MAX, BULKS_MAX, Bulk, BulkAdded, BulkCounts, BulkCursor, BulkFound, BulkLine,
    BulkMade, BulkPage, BulkQuery, BulkSealed, Bulks, NewBulk, check_lines,
};
pub use error::{QueueError, QueueErrorKind};
pub use idempotency::{BadIdempotencyKey, IDEMPOTENCY_KEY_MAX, Idempotency, IdempotencyKey, Submitted};
pub use inbox::{
    INBOX_COUNT_MAX, Inbox, InboxEntry, InboxInput, InboxLoad, InboxQuery, InboxRow, InboxTaken,
};
pub use letters::{DeadLetters, LETTERS_MAX, LetterCursor, LetterFilter, LetterPage, LetterQuery, Replayed};
pub use listing::{TASKS_MAX, TaskCursor, TaskList, TaskPage, TaskQuery};
pub use members::{About, ENDED_SHOWN_MAX, Member, Offer, OfferLoad, Role};
pub use news::{Neighbours, News};
pub use outbox::{
    DELIVERIES_MAX, Delivery, DeliveryCursor, DeliveryPage, DeliveryQuery, DeliveryState, HOSTS_LOOK_MAX,
    NOTE_MAX, Outbox, OutboxLoad, OutboxRequest, Redelivered, Sending, Sendings, Told, Tried, cut_note,
};
pub use parcels::{PARCELS_SWEPT_MAX, Parcels};
pub use results::{Completion, Finished, Lookup, ResultStore, Retry};
pub use revoke::{Cancelled, Expiries};
pub use turn::Turn;

/// One backend that is everything at once.
pub trait Backend:
    Broker + ResultStore + TaskList + DeadLetters + Outbox + Bulks + Inbox + Neighbours
{
}

impl<T: Broker + ResultStore + TaskList + DeadLetters + Outbox + Bulks + Inbox + Neighbours> Backend for T {}
