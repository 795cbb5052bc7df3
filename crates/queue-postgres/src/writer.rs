//! The one task that writes, and what it does while the database is away.
//!
//! A group whose connection is lost is kept. After a reconnect the row `server` tells whether it was committed: it is
//! answered then, or applied again. What cannot be settled so within [`HOLD_LIMIT`] is answered as unavailable, and so is
//! everything that comes later, until the database is back. Should it turn out that such a group was committed, what its
//! callers were told is made true before anything else (see `Undo`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cresset_queue::QueueErrorKind;
use cresset_queue::kit::{Depths, Returns, Ttl};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::apply::Undo;
use crate::connect::{Conn, Dialer};
use crate::error::StoreError;
use crate::group::{Failed, answered, commit, count};
use crate::op::Op;
use crate::options::Durability;
use crate::owner::{self, Held, Owner};

/// Places in the inbox, and the most operations in a group. Callers beyond it wait for a place.
pub(crate) const GROUP_OPS_MAX: usize = 512;

/// A group takes no more once it weighs this.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Leases that could not be given back are tried again this often.
const RETURNS_RETRY: Duration = Duration::from_secs(1);

/// A connection that is back within this time costs nobody an error.
const HOLD_LIMIT: Duration = Duration::from_secs(5);

/// Pauses between attempts to connect: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// A group during which the connection was lost so often is not tried again: it may be what ends them.
const TRIES_MAX: u32 = 3;

/// A group that is not settled.
struct Kept {
    ops: Vec<Op>,
    /// Its number, if it may have been committed.
    number: Option<i64>,
    tries: u32,
    /// Its callers have been told that it failed.
    is_refused: bool,
}

/// The writer's belongings.
pub(crate) struct Writer {
    pub(crate) inbox: mpsc::Receiver<Op>,
    pub(crate) woken: Arc<Notify>,
    pub(crate) closing: CancellationToken,
    pub(crate) dialer: Dialer,
    pub(crate) durability: Durability,
    pub(crate) ttl: Ttl,
    pub(crate) depths: Arc<Depths>,
    pub(crate) returns: Arc<Returns>,
    pub(crate) owner: Owner,
    pub(crate) conn: Option<Arc<Conn>>,
    /// Dropped when everything has ended.
    pub(crate) running: watch::Sender<()>,
}

/// What there is to do.
enum Gathered {
    Ops(Vec<Op>),
    Lost,
    End,
}

pub(crate) async fn run(writer: Writer) {
    let mut state = State {
        writer,
        kept: VecDeque::new(),
        why: StoreError::Away("the connection to the database was lost".into()),
        failing: 0,
    };
    loop {
        if state.writer.conn.is_none() && !state.regain().await {
            break;
        }
        match state.gather().await {
            Gathered::Ops(ops) => state.carry_out(ops).await,
            Gathered::Lost => state.lose(StoreError::Away("the connection to the database was lost".into())),
            Gathered::End => break,
        }
    }
    state.end().await;
}

struct State {
    writer: Writer,
    kept: VecDeque<Kept>,
    /// What callers are told while the database is away.
    why: StoreError,
    // Groups that failed since the last one that did not.
    failing: u64,
}

impl State {
    async fn gather(&mut self) -> Gathered {
        let Some(conn) = self.writer.conn.clone() else {
            return Gathered::Lost;
        };
        let mut ops = Vec::new();
        let writer = &mut self.writer;
        let is_closing = writer.closing.is_cancelled();
        if is_closing {
            writer.inbox.close();
        }
        tokio::select! {
            biased;
            () = conn.over() => return Gathered::Lost,
            () = writer.closing.cancelled(), if !is_closing => return Gathered::Ops(ops),
            op = writer.inbox.recv() => match op {
                Some(op) => ops.push(op),
                None => return Gathered::End,
            },
            () = writer.woken.notified() => {}
            () = sleep(RETURNS_RETRY), if !writer.returns.is_empty() => {}
        }
        let mut bytes: usize = ops.iter().map(Op::weight).sum();
        while ops.len() < GROUP_OPS_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(op) = writer.inbox.try_recv() else { break };
            bytes += op.weight();
            ops.push(op);
        }
        let leases = writer.returns.take();
        if !leases.is_empty() {
            ops.insert(0, Op::GiveBack { leases });
        }
        Gathered::Ops(ops)
    }

    /// Two groups at most: first what needs no flush, so that no lease waits for the flush of a submit it has nothing to
    /// do with. All of it came in at the same time, so none of it has a claim to go before another.
    async fn carry_out(&mut self, ops: Vec<Op>) {
        let (flushed, quick): (Vec<Op>, Vec<Op>) = ops.into_iter().partition(Op::promises_durability);
        for group in [quick, flushed] {
            if !group.is_empty() {
                self.group(group, 0).await;
            }
        }
    }

    async fn group(&mut self, mut ops: Vec<Op>, tries: u32) {
        let Some(conn) = self.writer.conn.clone() else {
            self.keep(ops, None, tries);
            return;
        };
        let writer = &mut self.writer;
        let number = writer.owner.commits + 1;
        match commit(
            &conn,
            &mut writer.owner,
            (writer.durability, writer.ttl),
            &mut ops,
        )
        .await
        {
            Ok(change) => {
                writer.depths.apply(change);
                self.recovered();
                self.settle(ops);
            }
            Err(Failed::RolledBack(error))
                if ops.len() == 1 || error.kind() == QueueErrorKind::Unavailable =>
            {
                self.failed(&error, ops.len());
                self.fail(ops, &error);
            }
            // One of them must not take the others down.
            Err(Failed::RolledBack(_)) => {
                for op in ops {
                    Box::pin(self.group(vec![op], tries)).await;
                }
            }
            Err(Failed::Lost { error, maybe }) => {
                self.lose(error);
                self.keep(ops, maybe.then_some(number), tries + 1);
            }
        }
    }

    fn keep(&mut self, ops: Vec<Op>, number: Option<i64>, tries: u32) {
        self.kept.push_back(Kept {
            ops,
            number,
            tries,
            is_refused: false,
        });
    }

    fn settle(&self, ops: Vec<Op>) {
        ops.into_iter().for_each(|op| op.settle(&self.writer.returns));
    }

    fn fail(&self, ops: Vec<Op>, error: &StoreError) {
        ops.into_iter()
            .for_each(|op| op.fail(error, &self.writer.returns));
    }

    fn lose(&mut self, error: StoreError) {
        self.writer.conn = None;
        tracing::warn!(error = error.whole(), "the connection to the database is lost");
        self.why = error;
    }

    /// Takes the store again; false when it is closed meanwhile.
    async fn regain(&mut self) -> bool {
        let until = Instant::now() + HOLD_LIMIT;
        let mut is_refusing = false;
        let mut pause = PAUSE_FIRST;
        loop {
            let (dialer, owner) = (self.writer.dialer.clone(), self.writer.owner);
            let attempt = async move { answered(owner::take(&dialer, owner.number, Some(owner))).await };
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

    /// The connection is back, and the store is ours: what is kept is settled.
    async fn regained(&mut self, held: Held) -> Result<(), StoreError> {
        let before = self.writer.owner;
        let forgotten = if held.is_same {
            before.commits - held.owner.commits
        } else if held.owner.epoch <= before.epoch {
            before.commits + 1
        } else {
            tracing::warn!("another server had the store meanwhile: leases of this one have ended");
            0
        };
        if forgotten > 0 {
            tracing::error!(
                groups = forgotten,
                "the database has forgotten groups of writes that it had confirmed: it does not flush, or a copy that \
                 lacked them took its place"
            );
        }
        let was_committed =
            |kept: &Kept| held.is_same && kept.number.is_some_and(|number| number <= held.owner.commits);
        let mut undo = Undo::default();
        for kept in self
            .kept
            .iter()
            .filter(|kept| kept.is_refused && was_committed(kept))
        {
            kept.ops.iter().for_each(|op| op.undo(&mut undo));
        }
        // Before anything else is done, so nothing has come of it yet. What is kept stays until that has succeeded.
        let counted = answered(async {
            if forgotten > 0 {
                owner::skip_fences(&held.conn, forgotten).await?;
            }
            undo.carry_out(&held.conn).await?;
            count(&held.conn).await
        });
        let counted = counted.await?;
        self.writer.depths.recount(counted);
        self.writer.owner = held.owner;
        self.writer.conn = Some(Arc::clone(&held.conn));
        tracing::info!(epoch = held.owner.epoch, "the database is back");
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

    /// One line when trouble begins, not one a group: a full disk fails thousands of them.
    fn failed(&mut self, error: &StoreError, operations: usize) {
        if self.failing == 0 {
            tracing::error!(error = error.whole(), operations, "store operations failed");
        }
        self.failing += 1;
    }

    fn recovered(&mut self) {
        if self.failing > 0 {
            tracing::info!(groups_failed = self.failing, "store operations succeed again");
            self.failing = 0;
        }
    }

    async fn end(mut self) {
        self.writer.inbox.close();
        for kept in std::mem::take(&mut self.kept) {
            self.fail(kept.ops, &self.why);
        }
        while let Some(op) = self.writer.inbox.recv().await {
            self.fail(vec![op], &self.why);
        }
        if let Some(conn) = self.writer.conn.take() {
            // So that the next server need not wait until the database has seen the end of this connection.
            let unlocked = conn
                .batch("cannot let go of the store", "SELECT pg_advisory_unlock_all()")
                .await;
            if let Err(error) = unlocked {
                tracing::debug!(error = error.whole(), "the lock goes with its connection");
            }
        }
        drop(self.writer.running);
    }
}
