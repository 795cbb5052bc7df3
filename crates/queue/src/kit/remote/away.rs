//! While the database is away.
//!
//! A group whose connection is lost is kept. After a reconnect the server's row tells whether it was committed: it is
//! answered then, or applied again. What cannot be settled so within [`HOLD_LIMIT`] is answered as unavailable, and so is
//! everything that comes later, until the database is back. Should it turn out that such a group was committed, what its
//! callers were told is made true before anything else (see `Undo`).

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Database, Fate, Operation, Trouble as _, Undo, Writer, answered};

/// A connection that is back within this time costs nobody an error.
const HOLD_LIMIT: Duration = Duration::from_secs(5);

/// The first pause between attempts to connect; each next one is twice as long, up to a bound.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// A group during which the connection was lost so often is not tried again: it may be what ends them.
const TRIES_MAX: u32 = 3;

/// A group that is not settled.
pub(super) struct Kept<O> {
    pub(super) ops: Vec<O>,
    /// Its number, if it may have been committed.
    pub(super) number: Option<i64>,
    pub(super) tries: u32,
    /// Its callers have been told that it failed.
    pub(super) is_refused: bool,
}

impl<O> Kept<O> {
    fn was_committed(&self, fate: Fate) -> bool {
        fate.committed
            .is_some_and(|last| self.number.is_some_and(|number| number <= last))
    }
}

impl<D: Database> Writer<D> {
    /// The connection is gone.
    pub fn lose(&mut self, error: D::Error) {
        self.conn = None;
        tracing::warn!(error = error.whole(), "the connection to the database is lost");
        self.why = error;
    }

    /// Comes onto the store again; false when it is closed meanwhile.
    pub(super) async fn regain(&mut self) -> bool {
        let until = Instant::now() + HOLD_LIMIT;
        let mut is_refusing = false;
        let mut pause = PAUSE_FIRST;
        loop {
            let attempt = answered(self.database.come_back());
            let Some(held) = self.meanwhile(attempt, until, &mut is_refusing).await else {
                return false;
            };
            let regained = match held {
                Ok(held) => self.regained(held).await,
                Err(error) => Err(error),
            };
            match regained {
                Ok(()) if self.conn.is_some() => return true,
                Ok(()) => {}
                Err(error) => self.why = D::Error::away(format!("the database is away: {}", error.whole())),
            }
            let paused = self.meanwhile(sleep(pause), until, &mut is_refusing).await;
            if paused.is_none() {
                return false;
            }
            pause = (pause * 2).min(D::PAUSE_LONGEST);
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
                () = self.closing.cancelled() => return None,
                done = &mut what => return Some(done),
                () = sleep_until(until), if !*is_refusing => {
                    *is_refusing = true;
                    self.refuse();
                }
                op = self.inbox.recv(), if *is_refusing => {
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

    fn set_aside(&mut self, mut kept: Kept<D::Op>, error: &D::Error) {
        if kept.number.is_none() {
            self.fail(kept.ops, error);
            return;
        }
        kept.ops.iter_mut().for_each(|op| op.refuse(error));
        kept.is_refused = true;
        self.kept.push_back(kept);
    }

    /// The connection is back: what is kept is settled.
    async fn regained(&mut self, held: D::Held) -> Result<(), D::Error> {
        let fate = self.database.fate(&held);
        if fate.forgotten > 0 {
            tracing::error!(
                groups = fate.forgotten,
                "the database has forgotten groups of writes that it had confirmed: it does not flush, or a copy that \
                 lacked them took its place"
            );
        }
        let mut undo = Undo::default();
        for kept in &self.kept {
            if kept.is_refused && kept.was_committed(fate) {
                kept.ops.iter().for_each(|op| op.undo(&mut undo));
            }
        }
        // Before anything else is done. What is kept stays until that has succeeded.
        let (counted, conn) = answered(self.database.go_on(held, fate.forgotten, &undo)).await?;
        self.depths.recount(counted);
        self.conn = Some(conn);
        for kept in std::mem::take(&mut self.kept) {
            if kept.was_committed(fate) {
                self.settle(kept.ops);
            } else {
                self.look_after(kept).await;
            }
        }
        Ok(())
    }

    /// It was not committed.
    async fn look_after(&mut self, kept: Kept<D::Op>) {
        if kept.is_refused {
            // What its callers were told is so.
            let leases = kept.ops.into_iter().filter_map(Operation::given_back);
            leases.for_each(|leases| self.returns.put_back(leases));
        } else if kept.tries >= TRIES_MAX {
            self.failing += 1;
            self.fail(kept.ops, &self.why);
        } else {
            self.group(kept.ops, kept.tries).await;
        }
    }
}
