//! MySQL and MariaDB as broker and result store: for a store that is kept, watched and copied by a database team, on another
//! machine than the server.
//!
//! ```text
//!   submit lease release finish retry cancel expire purge      fetch position lists       depth
//!        \   |     |      |    /                                   \      /                  |
//!      [inbox, bounded] -> writer task                        a few connections        memory, kept
//!         one transaction a group, one commit,                                         by the writer
//!         then all answers
//! ```
//!
//! One server at a time owns a database: it holds a named lock on one connection, and every group of writes changes the row
//! `server` under the epoch that it was given. A server that has lost its lock, and knows it or not, writes nothing more once
//! another one has taken over.
//!
//! The connection may go at any time. The row `server` counts the groups that were committed, so that after a reconnect it
//! is known of the one group that was under way whether it was: it is answered then, or applied again.
//!
//! Applications write tasks of their own into the table `inbox`, in their transactions; such a row is made a task in the
//! group that removes it. A connection of its own looks for new ones.
//!
//! Statements of a group are sent together, with their values in them (`sql`); payloads are in parts that fit into a packet
//! (`payload`).
//!
//! What must not happen here: policy. This crate keeps the promises written above the traits of `cresset-queue`, and
//! decides nothing about who runs a task, when, or how often.
//!
//! - [`Target`]: which database, as a URL says it; never shows a password.
//! - [`MysqlOptions`]: how long things are kept.
//! - [`MysqlStore`]: the store; cheap to clone.
//! - [`look`]: what is in a store, for people, beside its server.

mod apply;
mod connect;
mod error;
mod group;
mod look;
mod op;
mod options;
mod owner;
mod payload;
mod read;
mod schema;
mod sql;
mod store;
mod submission;
mod target;
mod writer;

pub use look::{Looked, look};
pub use options::MysqlOptions;
pub use store::{MysqlStore, Opened};
pub use target::{BadTarget, SslMode, Target};
