//! What the one task that writes must know of PostgreSQL, and of this server's place among those on the store.
//!
//! It also counts: what its own groups do, and what it is told of those of other servers, between two of its own (`kit::fleet`).
//!
//! If the other servers took this one for ended while the database was away, its leases are theirs to give, and it goes on as
//! a new server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cresset_queue::kit::fleet::{self, Board, Fleet, Heard, UNSAID};
use cresset_queue::kit::remote::{Database, Ended, Fate, Trouble as _, Undo, Writer, commit};
use cresset_queue::kit::{Change, Ttl};
use tokio::sync::mpsc;

use crate::apply;
use crate::connect::{Conn, Dialer};
use crate::error::StoreError;
use crate::group;
use crate::member::{self, Held, Member};
use crate::notes;
use crate::op::Op;
use crate::options::Durability;

/// A store that this server is on.
pub(crate) struct Postgres {
    pub(crate) dialer: Dialer,
    pub(crate) durability: Durability,
    pub(crate) ttl: Ttl,
    pub(crate) member: Member,
    /// What other servers do.
    pub(crate) heard: mpsc::Receiver<Heard>,
    /// The last group of each server that is counted; of those that are not here nothing needs to be passed over.
    pub(crate) counted: HashMap<i64, i64>,
    /// Where it is told on.
    pub(crate) board: Arc<Board>,
}

impl Database for Postgres {
    type Conn = Conn;
    type Op = Op;
    type Error = StoreError;
    type Held = Held;
    type Heard = Vec<Heard>;
    type Rest = ();

    /// After it others do not yet take this server for ended once the database is back (see `fleet::GRACE`).
    const PAUSE_LONGEST: Duration = Duration::from_secs(2);

    fn commits(&self) -> i64 {
        self.member.commits
    }

    fn committed(&mut self, number: i64) {
        self.member.commits = number;
    }

    async fn work(&self, conn: &Conn, number: i64, ops: &mut [Op]) -> Result<(Change, ()), StoreError> {
        let how = (self.durability, self.ttl);
        let change = group::work(conn, (self.member, number), how, ops).await?;
        Ok((change, ()))
    }

    async fn end(&self, conn: &Conn, _nothing: ()) -> Result<Ended<StoreError>, StoreError> {
        conn.batch("cannot commit", "COMMIT").await?;
        Ok(Ended::Committed)
    }

    async fn hear(&mut self, conn: &Conn) -> Option<Vec<Heard>> {
        tokio::select! {
            biased;
            () = conn.over() => None,
            Some(heard) = fleet::hear(&mut self.heard) => Some(heard),
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
        async move {
            let about = about.as_deref().unwrap_or(UNSAID);
            member::join(&dialer, member.number, Some(member), about).await
        }
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
            notes::send_anew(conn, held.member.id).await?;
        }
        if !is_same {
            notes::send_said(conn, held.member.id).await?;
        }
        let (counted, commits) = group::count(conn).await?;
        self.counted = commits;
        self.member = held.member;
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
        let unlock = "SELECT pg_advisory_unlock_all()";
        if let Err(error) = conn.batch("cannot let go of the store", unlock).await {
            tracing::debug!(error = error.whole(), "the locks go with their connection");
        }
    }
}

impl Fleet for Postgres {
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
