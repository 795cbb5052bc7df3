//! While the database is away.
//!
//! A group whose connection is lost is kept. After a reconnect the server's row tells whether it was committed: it is
//! answered then, or applied again. What cannot be settled so within [`HOLD_LIMIT`] is answered as unavailable, and so is
//! everything that comes later, until the database is back. Should it turn out that such a group was committed, what its
//! callers were told is made true before anything else (see `Undo`).
//!
//! If the other servers took this one for ended meanwhile, its leases are theirs to give, and it goes on as a new server.

use std::sync::Arc;
use std::time::Duration;

use cresset_queue::kit::remote::Trouble as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::State;
use crate::apply::Undo;
use crate::error::StoreError;
use crate::group::{answered, count};
use crate::member::{self, Fate, Held};
use crate::notes;
use crate::op::Op;

/// A connection that is back within this time costs nobody an error.
const HOLD_LIMIT: Duration = Duration::from_secs(5);

/// Pauses between attempts to connect: the first, and the longest, after which others do not yet take this server for ended
/// once the database is back (see `listen::GRACE`).
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// A group during which the connection was lost so often is not tried again: it may be what ends them.
const TRIES_MAX: u32 = 3;

/// A group that is not settled.
pub(super) struct Kept {
    pub(super) ops: Vec<Op>,
    /// Its number, if it may have been committed.
    pub(super) number: Option<i64>,
    pub(super) tries: u32,
    /// Its callers have been told that it failed.
    pub(super) is_refused: bool,
}

impl State {
    pub(super) fn lose(&mut self, error: StoreError) {
        self.writer.conn = None;
        tracing::warn!(error = error.whole(), "the connection to the database is lost");
        self.why = error;
    }

    /// Comes onto the store again; false when it is closed meanwhile.
    pub(super) async fn regain(&mut self) -> bool {
        let until = Instant::now() + HOLD_LIMIT;
        let mut is_refusing = false;
        let mut pause = PAUSE_FIRST;
        loop {
            let (dialer, member) = (self.writer.dialer.clone(), self.writer.member);
            // Others are not to look for it: its row is there with what it says.
            let about = self.writer.board.about();
            let attempt = async move {
                let about = about.as_deref().unwrap_or(member::UNSAID);
                answered(member::join(&dialer, member.number, Some(member), about)).await
            };
            let Some(taken) = self.meanwhile(attempt, until, &mut is_refusing).await else {
                return false;
            };
            let taken = match taken {
                Ok(held) => self.regained(held).await,
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) if self.writer.conn.is_some() => return true,
                Ok(()) => {}
                Err(error) => self.why = StoreError::Away(format!("the database is away: {}", error.whole())),
            }
            let paused = self.meanwhile(sleep(pause), until, &mut is_refusing).await;
            if paused.is_none() {
                return false;
            }
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// Waits for something while the database is away, and refuses what there is once it has been so for too long; `None`
    /// when the store is closed.
    async fn meanwhile<T>(
        &mut self,
        what: impl Future<Output = T>,
        until: Instant,
        is_refusing: &mut bool,
    ) -> Option<T> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                biased;
                () = self.writer.closing.cancelled() => return None,
                done = &mut what => return Some(done),
                () = sleep_until(until), if !*is_refusing => {
                    *is_refusing = true;
                    self.refuse();
                }
                op = self.writer.inbox.recv(), if *is_refusing => {
                    self.failing += 1;
                    self.fail(vec![op?], &self.why);
                }
            }
        }
    }

    /// Tells the callers of what is kept; what may have been committed stays to be looked after.
    fn refuse(&mut self) {
        tracing::error!(
            error = self.why.whole(),
            "the database stays away, all work is refused until it is back"
        );
        let error = self.why.clone();
        for kept in std::mem::take(&mut self.kept) {
            self.failing += 1;
            self.set_aside(kept, &error);
        }
    }

    fn set_aside(&mut self, mut kept: Kept, error: &StoreError) {
        if kept.number.is_none() {
            self.fail(kept.ops, error);
            return;
        }
        kept.ops.iter_mut().for_each(|op| op.refuse(error));
        kept.is_refused = true;
        self.kept.push_back(kept);
    }

    /// The connection is back: what is kept is settled.
    async fn regained(&mut self, held: Held) -> Result<(), StoreError> {
        let before = self.writer.member;
        let (committed, forgotten, held_before) = match held.fate {
            Fate::Same => {
                let commits = held.member.commits;
                (Some(commits), before.commits - commits, vec![before.id])
            }
            Fate::Ended(commits) => (Some(commits), before.commits - commits, Vec::new()),
            Fate::Forgotten => (None, before.commits + 1, Vec::new()),
            Fate::New => (None, 0, Vec::new()),
        };
        if matches!(held.fate, Fate::Ended(_) | Fate::New) {
            tracing::warn!("other servers took this one for ended meanwhile: its leases have ended");
        }
        if forgotten > 0 {
            tracing::error!(
                groups = forgotten,
                "the database has forgotten groups of writes that it had confirmed: it does not flush, or a copy that \
                 lacked them took its place"
            );
        }
        let was_committed =
            |kept: &Kept| committed.is_some_and(|last| kept.number.is_some_and(|number| number <= last));
        let mut undo = Undo::default();
        for kept in self
            .kept
            .iter()
            .filter(|kept| kept.is_refused && was_committed(kept))
        {
            kept.ops.iter().for_each(|op| op.undo(&mut undo));
        }
        // Before anything else is done here; another server may have leased what is undone, and then it stays. What is kept
        // stays until that has succeeded.
        let counted = answered(async {
            if forgotten > 0 {
                member::skip_fences(&held.conn, &held_before, forgotten).await?;
            }
            undo.carry_out(&held.conn, before.id).await?;
            if forgotten > 0 || undo != Undo::default() {
                notes::send_anew(&held.conn, held.member.id).await?;
            }
            if held.fate != Fate::Same {
                notes::send_said(&held.conn, held.member.id).await?;
            }
            count(&held.conn).await
        });
        let (counted, commits) = counted.await?;
        self.writer.depths.recount(counted);
        self.writer.counted = commits;
        self.writer.member = held.member;
        self.writer.conn = Some(Arc::clone(&held.conn));
        tracing::info!(server = held.member.id, "the database is back");
        for kept in std::mem::take(&mut self.kept) {
            if was_committed(&kept) {
                self.settle(kept.ops);
            } else {
                self.look_after(kept).await;
            }
        }
        Ok(())
    }

    /// It was not committed.
    async fn look_after(&mut self, kept: Kept) {
        if kept.is_refused {
            // What its callers were told is so.
            let leases = kept
                .ops
                .into_iter()
                .filter(|op| matches!(op, Op::GiveBack { .. }));
            self.fail(leases.collect(), &self.why);
        } else if kept.tries >= TRIES_MAX {
            self.failing += 1;
            self.fail(kept.ops, &self.why);
        } else {
            self.group(kept.ops, kept.tries).await;
        }
    }
}
