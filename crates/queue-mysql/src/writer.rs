//! What the one task that writes must know of MySQL, and of this server's place among those on the store.
//!
//! It also counts: what its own groups do, and what it is told of those of other servers, between two of its own (`kit::fleet`).
//!
//! If the other servers took this one for ended while the database was away, its leases are theirs to give, and it goes on as
//! a new server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cresset_queue::kit::fleet::{self, Board, COUNT_ANEW, Fleet, Heard, SAID, UNSAID};
use cresset_queue::kit::remote::{Database, Ended, Fate, Trouble as _, Undo, Writer, commit};
use cresset_queue::kit::{Change, Ttl};
use tokio::sync::mpsc;

use crate::apply;
use crate::connect::{Conn, Dialer};
use crate::ear::Attention;
use crate::error::StoreError;
use crate::group;
use crate::locks::LET_GO_OF_ALL;
use crate::member::{self, Held, Member};
use crate::notes;
use crate::op::Op;
use crate::tx::Rest;

/// A store that this server is on.
pub(crate) struct Mysql {
    pub(crate) dialer: Dialer,
    pub(crate) ttl: Ttl,
    pub(crate) member: Member,
    /// Of the connection that looks for what other servers do.
    pub(crate) attention: Arc<Attention>,
    /// What other servers do.
    pub(crate) heard: mpsc::Receiver<Heard>,
    /// The last that is counted of what each server told; of those that are not here nothing needs to be passed over.
    pub(crate) counted: HashMap<i64, i64>,
    /// Where it is told on.
    pub(crate) board: Arc<Board>,
}

impl Database for Mysql {
    type Conn = Conn;
    type Op = Op;
    type Error = StoreError;
    type Held = Held;
    type Heard = Vec<Heard>;
    type Rest = Rest;

    /// After it others do not yet take this server for ended once the database is back (see `fleet::GRACE`).
    const PAUSE_LONGEST: Duration = Duration::from_secs(2);

    fn commits(&self) -> i64 {
        self.member.commits
    }

    fn committed(&mut self, number: i64) {
        self.member.commits = number;
    }

    async fn work(&self, conn: &Conn, number: i64, ops: &mut [Op]) -> Result<(Change, Rest), StoreError> {
        if ops.iter().any(Op::has_more_to_come) {
            self.attention.stir();
        }
        group::work(conn, (self.member, number), self.ttl, ops).await
    }

    async fn end(&self, conn: &Conn, rest: Rest) -> Result<Ended<StoreError>, StoreError> {
        match rest.commit(conn).await {
            Ok(()) => Ok(Ended::Committed),
            // What ends the connection may have come behind the commit.
            Err((true, error)) if !error.is_of_the_connection() => Ok(Ended::Before(error)),
            Err((_, error)) => Err(error),
        }
    }

    async fn hear(&mut self, _conn: &Conn) -> Option<Vec<Heard>> {
        match fleet::hear(&mut self.heard).await {
            Some(heard) => Some(heard),
            // The store is being closed.
            None => std::future::pending().await,
        }
    }

    async fn take_in(writer: &mut Writer<Self>, heard: Vec<Heard>) {
        fleet::take_in(writer, heard).await;
    }

    async fn beat(&self, _conn: &Conn) -> Result<Option<Op>, StoreError> {
        Ok(Some(Op::Beat))
    }

    fn come_back(&self) -> impl Future<Output = Result<Held, StoreError>> + Send + use<> {
        let (dialer, member) = (self.dialer.clone(), self.member);
        // Others are not to look for it: its row is there with what it says.
        let about = self.board.about();
        async move { member::rejoin(&dialer, member, about.as_deref().unwrap_or(UNSAID)).await }
    }

    fn fate(&self, held: &Held) -> Fate {
        held.fate.of_groups(self.member.commits, held.member.commits)
    }

    /// Another server may have leased what is undone, and then it stays.
    async fn go_on(
        &mut self,
        held: Held,
        forgotten: i64,
        undo: &Undo,
    ) -> Result<(Change, Arc<Conn>), StoreError> {
        let (conn, before, is_same) = (&held.conn, self.member.id, held.fate == fleet::Fate::Same);
        if forgotten > 0 {
            let held_before = if is_same { &[before][..] } else { &[] };
            member::skip_fences(conn, held_before, forgotten).await?;
        }
        apply::undo(conn, undo, before).await?;
        if forgotten > 0 || !undo.is_empty() {
            notes::tell(conn, held.member.id, COUNT_ANEW).await?;
        }
        if !is_same {
            notes::tell(conn, held.member.id, SAID).await?;
        }
        let (counted, told) = group::count(conn).await?;
        self.counted = told;
        self.member = held.member;
        self.attention.is(held.member.id);
        tracing::info!(server = held.member.id, "the database is back");
        Ok((counted, held.conn))
    }

    /// Nobody need wait until the database has seen the end of this connection.
    async fn leave(&mut self, conn: &Conn) {
        if let Err(failed) = commit(self, conn, &mut [Op::Leave]).await {
            tracing::warn!(
                error = failed.error().whole(),
                "the other servers will find that this one has ended"
            );
        }
        if let Err(error) = conn.batch("cannot let go of the store", LET_GO_OF_ALL).await {
            tracing::debug!(error = error.whole(), "the locks go with their connection");
        }
    }
}

impl Fleet for Mysql {
    fn me(&self) -> i64 {
        self.member.id
    }

    fn board(&self) -> &Board {
        &self.board
    }

    fn counted(&mut self) -> &mut HashMap<i64, i64> {
        &mut self.counted
    }

    async fn count(conn: &Conn) -> Result<(Change, HashMap<i64, i64>), StoreError> {
        group::count(conn).await
    }

    async fn look_up(conn: &Conn, change: &mut Change) -> Result<(), StoreError> {
        group::look_up(conn, change).await
    }

    fn reap(ids: Vec<i64>) -> Op {
        Op::Reap { ids, requeued: 0 }
    }
}
