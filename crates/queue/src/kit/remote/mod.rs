//! What the stores have in common whose tables are in a database on another machine, beside what `kit` has for all of them:
//! one task that writes and a few connections that read, all of which are lost and had again.
//!
//! ```text
//!   callers -> Front -> [inbox, bounded] -> Writer: one transaction a group, one commit, then all answers
//!                  \ -> Readers             keeps what is in doubt while the database is away (`away`)
//! ```
//!
//! What must not happen here: a query, or a library of one database. A backend says by the traits below what its own does.

mod away;
mod front;
mod group;
mod op;
mod readers;
mod writer;

pub use self::front::Front;
pub use self::group::{Failed, answered, commit};
pub use self::op::{Operation, Undo, Waiting};
pub use self::readers::{Asking, Questions, Reader, Readers, STATEMENT_LIMIT};
pub use self::writer::Writer;
pub use crate::{ask_reader as ask, tell_writer as tell};

use std::sync::Arc;
use std::time::Duration;

use super::{Change, IntoQueueError};
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

    /// True when somebody else's transaction was in the way: the same again finds what is there now.
    fn met_another(&self) -> bool;

    /// True when the database, which said so of a commit, has undone the transaction or can be told to. Otherwise what became
    /// of it is looked up on another connection.
    fn is_no_commit(&self) -> bool;

    /// What happened, with the causes below it, in one line.
    fn whole(&self) -> String;
}

/// A connection to a database.
pub trait Link: Send + Sync + 'static {
    /// Why it did not do something.
    type Error: Trouble;

    /// It is gone, or nobody can use it any more.
    fn is_over(&self) -> bool;

    /// Several statements without values.
    fn batch(&self, doing: &'static str, sql: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;
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

/// What the writer must know of a database, and of this server's place in it: a row that counts the groups that were
/// committed under its number.
pub trait Database: Sized + Send + Sync + 'static {
    /// The connection that has that place, and on which alone is written.
    type Conn: Link<Error = Self::Error>;
    /// What it is asked to do.
    type Op: Operation<Error = Self::Error>;
    /// What goes wrong.
    type Error: Trouble;
    /// The place, taken again on a new connection.
    type Held: Send;
    /// What it hears beside what it is asked to do.
    type Heard: Send;
    /// What of a group is sent together with its commit.
    type Rest: Send;

    /// The longest pause between attempts to connect.
    const PAUSE_LONGEST: Duration;

    /// Groups that were committed, as far as is known.
    fn commits(&self) -> i64;

    /// The group of this number is.
    fn committed(&mut self, number: i64);

    /// Begins a transaction, which counts itself as this number, and carries these out in it, but for the rest; what that does
    /// to the counts.
    fn work(
        &self,
        conn: &Self::Conn,
        number: i64,
        ops: &mut [Self::Op],
    ) -> impl Future<Output = Result<(Change, Self::Rest), Self::Error>> + Send;

    /// Carries out the rest and commits. An error is one of the commit: what became of it is not known then, unless the error
    /// says so.
    fn end(
        &self,
        conn: &Self::Conn,
        rest: Self::Rest,
    ) -> impl Future<Output = Result<Ended<Self::Error>, Self::Error>> + Send;

    /// Waits for something to hear; `None` when the connection is over. May be given up and begun again.
    fn hear(&mut self, conn: &Self::Conn) -> impl Future<Output = Option<Self::Heard>> + Send {
        let _unheard = conn;
        std::future::pending()
    }

    /// Does what must be done of it.
    fn take_in(writer: &mut Writer<Self>, heard: Self::Heard) -> impl Future<Output = ()> + Send;

    /// Says that this server is there, which has had nothing to write; or has it written.
    fn beat(&self, conn: &Self::Conn) -> impl Future<Output = Result<Option<Self::Op>, Self::Error>> + Send;

    /// Connects, and takes the place again that this server had, or another.
    fn come_back(&self) -> impl Future<Output = Result<Self::Held, Self::Error>> + Send + use<Self>;

    /// What became of the place.
    fn fate(&self, held: &Self::Held) -> Fate;

    /// Goes on in the place that is held: groups that the database has `forgotten` can do no harm, and what is to be undone is
    /// undone, both before anything else. May be given up in the middle, and begun again on another connection. What is
    /// counted then.
    fn go_on(
        &mut self,
        held: Self::Held,
        forgotten: i64,
        undo: &Undo,
    ) -> impl Future<Output = Result<(Change, Arc<Self::Conn>), Self::Error>> + Send;

    /// The store is closed: others need not wait to find that out.
    fn leave(&mut self, conn: &Self::Conn) -> impl Future<Output = ()> + Send;
}

/// How a transaction ended that was to be committed.
#[derive(Debug)]
pub enum Ended<E> {
    /// As it should.
    Committed,
    /// Something of the rest failed, and the database has not looked at the commit behind it.
    Before(E),
}

/// What became of a server's place while its connection was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The last group that was committed; `None` when that is not known, and none of those in doubt was.
    pub committed: Option<i64>,
    /// Groups that were committed, and are not any more.
    pub forgotten: i64,
}
