//! The one task that writes. `away` has what happens when the connection is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::away::Kept;
use super::{Database, Failed, Operation as _, Trouble as _, commit};
use crate::QueueErrorKind;
use crate::kit::{Depths, Returns};

/// Places in the inbox, and the most operations in a group. Callers beyond it wait for a place.
pub(super) const GROUP_OPS_MAX: usize = 512;

/// A group takes no more once it weighs this.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Leases that could not be given back are tried again this often.
const RETURNS_RETRY: Duration = Duration::from_secs(1);

/// A server that has nothing to write says this often that it is there, and so notices that it is not.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// A group that meets others' transactions so often is told as failed.
const MEETINGS_MAX: u32 = 10;

/// The writer, with all that belongs to it.
pub struct Writer<D: Database> {
    /// What is its own of the backend.
    pub database: D,
    pub(super) conn: Option<Arc<D::Conn>>,
    pub(super) inbox: mpsc::Receiver<D::Op>,
    pub(super) closing: CancellationToken,
    pub(super) depths: Arc<Depths>,
    pub(super) kept: VecDeque<Kept<D::Op>>,
    /// What callers are told while the database is away.
    pub(super) why: D::Error,
    /// Groups that failed since the last one that did not.
    pub(super) failing: u64,
    pub(super) returns: Arc<Returns>,
    woken: Arc<Notify>,
    /// When to say that we are there, unless a group does.
    beat: Instant,
    /// Dropped when everything has ended.
    running: watch::Sender<()>,
}

/// What there is to do.
enum Gathered<D: Database> {
    Ops(Vec<D::Op>),
    Heard(D::Heard),
    Silence,
    Lost,
    End,
}

fn lost<E: super::Trouble>() -> E {
    E::away("the connection to the database was lost".into())
}

impl<D: Database> Writer<D> {
    pub(super) fn new(
        database: D,
        conn: Arc<D::Conn>,
        depths: Arc<Depths>,
        inbox: mpsc::Receiver<D::Op>,
        closing: CancellationToken,
    ) -> (Self, watch::Receiver<()>) {
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let (running, ended) = watch::channel(());
        let writer = Self {
            database,
            conn: Some(conn),
            inbox,
            closing,
            depths,
            kept: VecDeque::new(),
            why: lost(),
            failing: 0,
            returns: Arc::new(Returns::new(move || wake.notify_one())),
            woken,
            beat: Instant::now() + BEAT_EVERY,
            running,
        };
        (writer, ended)
    }

    /// The connection on which is written, unless it is gone.
    #[must_use]
    pub fn conn(&self) -> Option<&Arc<D::Conn>> {
        self.conn.as_ref()
    }

    /// What is counted.
    #[must_use]
    pub fn depths(&self) -> &Depths {
        &self.depths
    }

    /// Writes until the store is closed.
    pub async fn run(mut self) {
        loop {
            if self.conn.is_none() && !self.regain().await {
                break;
            }
            match self.gather().await {
                Gathered::Ops(ops) => self.carry_out(ops).await,
                Gathered::Heard(heard) => D::take_in(&mut self, heard).await,
                Gathered::Silence => self.say().await,
                Gathered::Lost => self.lose(lost()),
                Gathered::End => break,
            }
        }
        self.end().await;
    }

    async fn gather(&mut self) -> Gathered<D> {
        let Some(conn) = self.conn.clone() else {
            return Gathered::Lost;
        };
        let mut ops = Vec::new();
        let is_closing = self.closing.is_cancelled();
        if is_closing {
            self.inbox.close();
        }
        tokio::select! {
            biased;
            () = self.closing.cancelled(), if !is_closing => return Gathered::Ops(ops),
            heard = self.database.hear(&conn) => {
                return heard.map_or(Gathered::Lost, Gathered::Heard);
            }
            op = self.inbox.recv() => match op {
                Some(op) => ops.push(op),
                None => return Gathered::End,
            },
            () = self.woken.notified() => {}
            () = sleep(RETURNS_RETRY), if !self.returns.is_empty() => {}
            () = sleep_until(self.beat) => return Gathered::Silence,
        }
        let mut bytes: usize = ops.iter().map(D::Op::weight).sum();
        while ops.len() < GROUP_OPS_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(op) = self.inbox.try_recv() else { break };
            bytes += op.weight();
            ops.push(op);
        }
        let leases = self.returns.take();
        if !leases.is_empty() {
            ops.insert(0, D::Op::give_back(leases));
        }
        Gathered::Ops(ops)
    }

    /// Says that we are there.
    async fn say(&mut self) {
        self.beat = Instant::now() + BEAT_EVERY;
        let Some(conn) = self.conn.clone() else {
            return;
        };
        match self.database.beat(&conn).await {
            Ok(op) => self.carry_out(op.into_iter().collect()).await,
            Err(error) => self.lose(error),
        }
    }

    /// Two groups at most: first what needs no flush, so that no lease waits for the flush of a submit it has nothing to
    /// do with. All of it came in at the same time, so none of it has a claim to go before another.
    pub async fn carry_out(&mut self, ops: Vec<D::Op>) {
        let (quick, flushed): (Vec<_>, Vec<_>) = ops.into_iter().partition(D::Op::goes_first);
        for group in [quick, flushed] {
            if !group.is_empty() {
                self.group(group, 0).await;
            }
        }
    }

    /// Carries them out together. `tries` is how often the connection was lost while that was done.
    pub(super) async fn group(&mut self, mut ops: Vec<D::Op>, tries: u32) {
        let Some(conn) = self.conn.clone() else {
            self.keep(ops, None, tries);
            return;
        };
        let number = self.database.commits() + 1;
        let mut meetings = 0;
        let committed = loop {
            match commit(&mut self.database, &conn, &mut ops).await {
                Err(Failed::RolledBack(error)) if error.met_another() && meetings < MEETINGS_MAX => {
                    tracing::debug!(
                        error = error.whole(),
                        "a group met another's transaction and begins again"
                    );
                    meetings += 1;
                }
                committed => break committed,
            }
        };
        match committed {
            Ok(change) => {
                self.depths.apply(change);
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

    fn keep(&mut self, ops: Vec<D::Op>, number: Option<i64>, tries: u32) {
        self.kept.push_back(Kept {
            ops,
            number,
            tries,
            is_refused: false,
        });
    }

    pub(super) fn settle(&self, ops: Vec<D::Op>) {
        ops.into_iter().for_each(|op| op.settle(&self.returns));
    }

    pub(super) fn fail(&self, ops: Vec<D::Op>, error: &D::Error) {
        ops.into_iter().for_each(|op| op.fail(error, &self.returns));
    }

    /// One line when trouble begins, not one a group: a full disk fails thousands of them.
    fn failed(&mut self, error: &D::Error, operations: usize) {
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
        self.inbox.close();
        for kept in std::mem::take(&mut self.kept) {
            self.fail(kept.ops, &self.why);
        }
        while let Some(op) = self.inbox.recv().await {
            self.fail(vec![op], &self.why);
        }
        if let Some(conn) = self.conn.take() {
            self.database.leave(&conn).await;
        }
        drop(self.running);
    }
}
