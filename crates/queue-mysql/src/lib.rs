//! MySQL and MariaDB as broker and result store: for a store that is kept, watched and copied by a database team, on another
//! machine than the server.
//!
//! ```text
//!   submit lease release finish retry cancel expire purge      fetch position lists       depth
//!        \   |     |      |    /                                   \      /                  |
//!      [inbox, bounded] -> writer task  <- what others did    a few connections        memory, kept
//!         one transaction a group, one commit,   |                                     by the writer
//!         then all answers             a connection that looks
//! ```
//!
//! Several servers may be on a database. Each has a row in `servers` and a named lock with its session, and every group of its
//! writes changes that row. A lease says which server has it, and no other can end it. Who finds another's lock free gives its
//! leases back and notes that it has ended; from then on that one writes nothing more under its number, whether it knows it or
//! not. What a group does to the counts, and to which tasks, is a row of the table `news` in its transaction, as long as others
//! are there; each looks for those often while there is work, and seldom while there is none.
//!
//! The connection may go at any time. The server's row counts the groups that were committed, so that after a reconnect it
//! is known of the one group that was under way whether it was: it is answered then, or applied again.
//!
//! Applications write tasks of their own into the table `inbox`, in their transactions; such a row is made a task in the
//! group that removes it. A connection of its own looks for new ones.
//!
//! Statements of a group are sent together, with their values in them (`sql`), and those that need no answer with the next that
//! does or with the commit (`tx`); payloads are in parts that fit into a packet (`payload`). What many callers ask of single tasks
//! goes together too (`store::together`).
//!
//! What must not happen here: policy. This crate keeps the promises written above the traits of `cresset-queue`, and
//! decides nothing about who runs a task, when, or how often.
//!
//! - [`Target`]: which database, as a URL says it; never shows a password.
//! - [`MysqlOptions`]: how long things are kept.
//! - [`MysqlStore`]: the store; cheap to clone.
//! - [`MysqlParcels`]: payloads that gateways and workers with a broker between them leave for each other, and nothing else of the store.
//! - [`look`]: what is in a store, for people, beside its server.

mod apply;
mod connect;
mod ear;
mod error;
mod group;
mod locks;
mod look;
mod member;
mod notes;
mod op;
mod options;
mod pace;
mod parcels;
mod payload;
mod read;
mod schema;
mod sql;
mod store;
mod submission;
mod target;
mod tx;
mod writer;

pub use look::{Looked, look};
pub use options::MysqlOptions;
pub use parcels::MysqlParcels;
pub use store::{MysqlStore, Opened};
pub use target::{BadTarget, SslMode, Target};
