//! What the one task that writes must know of PostgreSQL, and of this server's place among those on the store.
//!
//! It also counts: what its own groups do, and what it is told of those of other servers, between two of its own (`hear`).
//!
//! If the other servers took this one for ended while the database was away, its leases are theirs to give, and it goes on as
//! a new server.

mod hear;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cresset_queue::kit::remote::{Database, Fate, Trouble as _, Undo, Writer, commit};
use cresset_queue::kit::{Change, Ttl};
use tokio::sync::mpsc;

use crate::apply;
use crate::board::Board;
use crate::connect::{Conn, Dialer};
use crate::error::StoreError;
use crate::group;
use crate::listen::Heard;
use crate::member::{self, Held, Member};
use crate::notes;
use crate::op::Op;
use crate::options::Durability;

/// What was heard is taken in so much at a time.
const HEARD_MAX: usize = 64;

/// A store that this server is on.
pub(crate) struct Postgres {
    pub(crate) dialer: Dialer,
    pub(crate) durability: Durability,
    pub(crate) ttl: Ttl,
    pub(crate) member: Member,
    /// What other servers do.
    pub(crate) heard: mpsc::Receiver<Heard>,
    /// The last group of each server that is counted; of those that are not here every one is.
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

    /// After it others do not yet take this server for ended once the database is back (see `listen::GRACE`).
    const PAUSE_LONGEST: Duration = Duration::from_secs(2);

    fn commits(&self) -> i64 {
        self.member.commits
    }

    fn committed(&mut self, number: i64) {
        self.member.commits = number;
    }

    async fn work(&self, conn: &Conn, number: i64, ops: &mut [Op]) -> Result<Change, StoreError> {
        let how = (self.durability, self.ttl);
        group::work(conn, (self.member, number), how, ops).await
    }

    async fn hear(&mut self, conn: &Conn) -> Option<Vec<Heard>> {
        tokio::select! {
            biased;
            () = conn.over() => None,
            Some(heard) = self.heard.recv() => {
                let mut all = vec![heard];
                while all.len() < HEARD_MAX && let Ok(more) = self.heard.try_recv() {
                    all.push(more);
                }
                Some(all)
            }
        }
    }

    async fn take_in(writer: &mut Writer<Self>, heard: Vec<Heard>) {
        hear::take_in(writer, heard).await;
    }

    async fn beat(&self, _conn: &Conn) -> Result<Option<Op>, StoreError> {
        Ok(Some(Op::Beat))
    }

    fn come_back(&self) -> impl Future<Output = Result<Held, StoreError>> + Send + use<> {
        let (dialer, member) = (self.dialer.clone(), self.member);
        // Others are not to look for it: its row is there with what it says.
        let about = self.board.about();
        async move {
            let about = about.as_deref().unwrap_or(member::UNSAID);
            member::join(&dialer, member.number, Some(member), about).await
        }
    }

    fn fate(&self, held: &Held) -> Fate {
        let before = self.member.commits;
        let (committed, forgotten) = match held.fate {
            member::Fate::Same => (Some(held.member.commits), before - held.member.commits),
            member::Fate::Ended(commits) => (Some(commits), before - commits),
            member::Fate::Forgotten => (None, before + 1),
            member::Fate::New => (None, 0),
        };
        if matches!(held.fate, member::Fate::Ended(_) | member::Fate::New) {
            tracing::warn!("other servers took this one for ended meanwhile: its leases have ended");
        }
        Fate { committed, forgotten }
    }

    /// Another server may have leased what is undone, and then it stays.
    async fn go_on(
        &mut self,
        held: Held,
        forgotten: i64,
        undo: &Undo,
    ) -> Result<(Change, Arc<Conn>), StoreError> {
        let (conn, before, is_same) = (&held.conn, self.member.id, held.fate == member::Fate::Same);
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
