//! What the stores have in common whose tables are in a database on another machine, beside what `kit` has for all of them:
//! connections that are opened, are lost, and are opened again.
//!
//! What must not happen here: a query, or a library of one database. A backend says by the traits below what its own does.

mod readers;

pub use self::readers::{Asking, Reader, Readers, STATEMENT_LIMIT};

use std::sync::Arc;

use super::IntoQueueError;
use crate::QueueErrorKind;

/// What goes wrong inside such a store.
pub trait Trouble: IntoQueueError + Clone + Send + Sync + 'static {
    /// There is no connection now, or it does not answer.
    fn away(why: String) -> Self;

    /// What kind of trouble that is for a caller.
    fn kind(&self) -> QueueErrorKind;

    /// True when the connection is gone, or must be given up, because of this.
    fn is_of_the_connection(&self) -> bool;

    /// True when the connection was lost, or was not to be had: the database has not said no, and nobody has waited for it in
    /// vain. The next one may do.
    fn was_lost(&self) -> bool;

    /// What happened, with the causes below it, in one line.
    fn whole(&self) -> String;
}

/// A connection to a database.
pub trait Link: Send + Sync + 'static {
    /// It is gone, or nobody can use it any more.
    fn is_over(&self) -> bool;
}

/// Opens connections to read on.
pub trait Dial: Send + Sync + 'static {
    /// Such a connection.
    type Conn: Link;
    /// Why there is none.
    type Error: Trouble;

    /// A connection answers many questions at once, and each by itself: one that fails takes no other with it.
    const ANSWERS_MANY: bool;

    /// A new one, or why there is none within a time that is bounded.
    fn open(&self) -> impl Future<Output = Result<Arc<Self::Conn>, Self::Error>> + Send;

    /// Waits until those have ended that nobody uses any more.
    fn end(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}
