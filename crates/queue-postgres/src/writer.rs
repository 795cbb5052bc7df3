//! The one task that writes, and what it does while the database is away.
//!
//! It also counts: what its own groups do, and what it is told of those of other servers, between two of its own. `away` has
//! what happens when the connection is lost.

mod away;
mod hear;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cresset_queue::QueueErrorKind;
use cresset_queue::kit::remote::Trouble as _;
use cresset_queue::kit::{Depths, Returns, Ttl};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::away::Kept;
use crate::board::Board;
use crate::connect::{Conn, Dialer};
use crate::error::StoreError;
use crate::group::{Failed, commit};
use crate::listen::Heard;
use crate::member::Member;
use crate::op::Op;
use crate::options::Durability;

/// Places in the inbox, and the most operations in a group. Callers beyond it wait for a place.
pub(crate) const GROUP_OPS_MAX: usize = 512;

/// A group takes no more once it weighs this.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Leases that could not be given back are tried again this often.
const RETURNS_RETRY: Duration = Duration::from_secs(1);

/// What was heard is taken in so much at a time.
const HEARD_MAX: usize = 64;

/// A server that has nothing to write says this often that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// A group that meets other servers' so often is told as failed.
const MEETINGS_MAX: u32 = 10;

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
    pub(crate) member: Member,
    pub(crate) conn: Option<Arc<Conn>>,
    /// What other servers do.
    pub(crate) heard: mpsc::Receiver<Heard>,
    /// The last group of each server that is counted; of those that are not here every one is.
    pub(crate) counted: HashMap<i64, i64>,
    /// Where it is told on.
    pub(crate) board: Arc<Board>,
    /// Dropped when everything has ended.
    pub(crate) running: watch::Sender<()>,
}

/// What there is to do.
enum Gathered {
    Ops(Vec<Op>),
    Heard(Vec<Heard>),
    Lost,
    End,
}

pub(crate) async fn run(writer: Writer) {
    let mut state = State {
        writer,
        kept: VecDeque::new(),
        why: StoreError::Away("the connection to the database was lost".into()),
        failing: 0,
        beat: Instant::now() + BEAT_EVERY,
    };
    loop {
        if state.writer.conn.is_none() && !state.regain().await {
            break;
        }
        match state.gather().await {
            Gathered::Ops(ops) => state.carry_out(ops).await,
            Gathered::Heard(heard) => state.hear(heard).await,
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
    /// When to say that we are there, unless a group does.
    beat: Instant,
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
            Some(heard) = writer.heard.recv() => {
                let mut all = vec![heard];
                while all.len() < HEARD_MAX && let Ok(more) = writer.heard.try_recv() {
                    all.push(more);
                }
                return Gathered::Heard(all);
            }
            op = writer.inbox.recv() => match op {
                Some(op) => ops.push(op),
                None => return Gathered::End,
            },
            () = writer.woken.notified() => {}
            () = sleep(RETURNS_RETRY), if !writer.returns.is_empty() => {}
            () = sleep_until(self.beat) => ops.push(Op::Beat),
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
        let number = writer.member.commits + 1;
        let mut meetings = 0;
        let committed = loop {
            let how = (writer.durability, writer.ttl);
            match commit(&conn, &mut writer.member, how, &mut ops).await {
                Err(Failed::RolledBack(error)) if error.met_another() && meetings < MEETINGS_MAX => {
                    tracing::debug!(
                        error = error.whole(),
                        "a group met another server's and begins again"
                    );
                    meetings += 1;
                }
                committed => break committed,
            }
        };
        match committed {
            Ok(change) => {
                writer.depths.apply(change);
                self.beat = Instant::now() + BEAT_EVERY;
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
            let how = (self.writer.durability, self.writer.ttl);
            let left = commit(&conn, &mut self.writer.member, how, &mut [Op::Leave]).await;
            if let Err(Failed::RolledBack(error) | Failed::Lost { error, .. }) = left {
                tracing::warn!(
                    error = error.whole(),
                    "the other servers will find that this one has ended"
                );
            }
            // So that nobody need wait until the database has seen the end of this connection.
            let unlocked = conn
                .batch("cannot let go of the store", "SELECT pg_advisory_unlock_all()")
                .await;
            if let Err(error) = unlocked {
                tracing::debug!(error = error.whole(), "the locks go with their connection");
            }
        }
        drop(self.writer.running);
    }
}
