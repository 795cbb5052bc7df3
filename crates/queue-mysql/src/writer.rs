//! What the one task that writes must know of MySQL, and of who owns the store.

use std::sync::Arc;
use std::time::Duration;

use cresset_queue::kit::remote::{Database, Fate, Trouble as _, Undo, Writer, answered};
use cresset_queue::kit::{Change, Ttl};

use crate::apply;
use crate::connect::{Conn, Dialer};
use crate::error::StoreError;
use crate::group;
use crate::op::Op;
use crate::owner::{self, Held, Owner, UNLOCK};

/// A store that this server owns.
pub(crate) struct Mysql {
    pub(crate) dialer: Dialer,
    pub(crate) ttl: Ttl,
    pub(crate) owner: Owner,
}

/// Nothing is heard: nobody else writes.
#[derive(Debug)]
pub(crate) enum Heard {}

impl Database for Mysql {
    type Conn = Conn;
    type Op = Op;
    type Error = StoreError;
    type Held = Held;
    type Heard = Heard;

    const PAUSE_LONGEST: Duration = Duration::from_secs(5);

    fn commits(&self) -> i64 {
        self.owner.commits
    }

    fn committed(&mut self, number: i64) {
        self.owner.commits = number;
    }

    async fn work(&self, conn: &Conn, number: i64, ops: &mut [Op]) -> Result<Change, StoreError> {
        group::work(conn, (self.owner, number), self.ttl, ops).await
    }

    async fn take_in(_writer: &mut Writer<Self>, heard: Heard) {
        match heard {}
    }

    /// The database ends the session of who does not.
    async fn beat(&self, conn: &Conn) -> Result<Option<Op>, StoreError> {
        answered(conn.batch("cannot say that this server is there", "DO 0")).await?;
        Ok(None)
    }

    fn come_back(&self) -> impl Future<Output = Result<Held, StoreError>> + Send + use<> {
        let (dialer, owner) = (self.dialer.clone(), self.owner);
        async move { owner::take(&dialer, owner.number, Some(owner)).await }
    }

    fn fate(&self, held: &Held) -> Fate {
        let before = self.owner;
        if held.is_same {
            let commits = held.owner.commits;
            return Fate {
                committed: Some(commits),
                forgotten: before.commits - commits,
            };
        }
        let is_forgotten = held.owner.epoch <= before.epoch;
        if !is_forgotten {
            tracing::warn!("another server had the store meanwhile: leases of this one have ended");
        }
        Fate {
            committed: None,
            forgotten: if is_forgotten { before.commits + 1 } else { 0 },
        }
    }

    async fn go_on(
        &mut self,
        held: Held,
        forgotten: i64,
        undo: &Undo,
    ) -> Result<(Change, Arc<Conn>), StoreError> {
        if forgotten > 0 {
            owner::skip_fences(&held.conn, forgotten).await?;
        }
        apply::undo(&held.conn, undo).await?;
        let counted = group::count(&held.conn).await?;
        self.owner = held.owner;
        tracing::info!(epoch = held.owner.epoch, "the database is back");
        Ok((counted, held.conn))
    }

    /// The next server need not wait until the database has seen the end of this connection.
    async fn leave(&mut self, conn: &Conn) {
        if let Err(error) = conn.batch("cannot let go of the store", UNLOCK).await {
            tracing::debug!(error = error.whole(), "the lock goes with its connection");
        }
    }
}
