//! PostgreSQL as broker and result store: for a store that is kept, watched and copied by a database team, on another
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
//! One server at a time owns a schema: it holds an advisory lock on one connection, and every group of writes changes the
//! row `server` under the epoch that it was given. A server that has lost its lock, and knows it or not, writes nothing
//! more once another one has taken over.
//!
//! The connection may go at any time. The row `server` counts the groups that were committed, so that after a reconnect it
//! is known of the one group that was under way whether it was: it is answered then, or applied again.
//!
//! What must not happen here: policy. This crate keeps the promises written above the traits of `cresset-queue`, and
//! decides nothing about who runs a task, when, or how often.
//!
//! - [`Target`]: which database and schema, as a URL says it; never shows a password.
//! - [`PostgresOptions`]: how durable, how long things are kept.
//! - [`PostgresStore`]: the store; cheap to clone.
//! - [`look`]: what is in a store, for people, beside its server.

mod apply;
mod connect;
mod error;
mod group;
mod look;
mod op;
mod options;
mod owner;
mod read;
mod readers;
mod schema;
mod store;
mod submission;
mod target;
mod tls;
mod writer;

pub use look::{Looked, look};
pub use options::{Durability, PostgresOptions};
pub use store::{Opened, PostgresStore};
pub use target::{BadTarget, SslMode, Target};
