//! SQLite as broker and result store: the embedded default.
//!
//! ```text
//!   submit lease release finish retry cancel expire purge fetch position             depth
//!        \   |     |      |    /                            \     /                    |
//!      [inbox, bounded] -> writer thread              [inbox, bounded]            memory, kept
//!         one transaction per group                  reader threads, each         by the writer
//!         one commit, then all answers               a read-only connection
//!                   |                                        |
//!                   +------------- one WAL database ---------+
//! ```
//!
//! Why this way: a durable commit costs a disk flush, and one thread that commits whatever has gathered pays it once
//! for many callers, without any artificial delay. Readers never wait for the writer (WAL).
//!
//! Payloads too large for a row are files, beside the database: written before the row that names them, by their callers,
//! and removed after it, by a thread of its own (see `files`).
//!
//! What must not happen here: policy. This crate keeps the promises written above the traits of `cresset-queue`, and
//! decides nothing about who runs a task, when, or how often.
//!
//! - [`SqliteOptions`]: where, how durable, how long results are kept.
//! - [`SqliteStore`]: the store; cheap to clone.
//! - [`care`]: checking, copying and putting back a store as a whole.

mod apply;
mod bulk;
pub mod care;
mod checkpoint;
mod connect;
mod depth;
mod ends;
mod error;
mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod idempotency;
mod inbox;
mod lease;
mod letters;
mod listing;
mod lock;
mod op;
mod open;
mod options;
mod outbox;
mod place;
mod purge;
mod queries;
mod reader;
mod returns;
mod schema;
mod store;
mod trust;
mod writer;

pub use cresset_queue::kit::PURGE_ROWS_MAX;
pub use open::Opened;
pub use options::{Durability, SqliteOptions};
pub use store::SqliteStore;

/// The version of SQLite that this program has in it.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
