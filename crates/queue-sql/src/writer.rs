//! The one thread that writes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cresset_queue::kit::Returns;
use tokio::sync::watch;

use crate::checkpoint::{Checkpoints, IDLE_AFTER};
use crate::files::Files;
use crate::group::Groups;
use crate::inbox::{Outlet, Received};
use crate::lock::Lock;
use crate::op::Op;

/// Places in the writer's inbox, and the most operations in a group. Callers beyond it wait for a place.
pub(crate) const GROUP_OPS_MAX: usize = 512;

/// A group takes no more once it weighs this, so that no transaction outgrows the page cache by much.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Leases that could not be given back (disk full) are tried again this often.
const RETURNS_RETRY: Duration = Duration::from_secs(1);

/// The writer's belongings.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) inbox: Outlet<Op>,
    pub(crate) groups: Groups,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) returns: Arc<Returns>,
    pub(crate) readers: Vec<JoinHandle<()>>,
    pub(crate) files: Arc<Files>,
    pub(crate) janitor: JoinHandle<()>,
    /// Dropped when everything has ended.
    pub(crate) running: watch::Sender<()>,
    pub(crate) lock: Lock,
}

impl Writer {
    /// Works until the inbox is closed and empty, then closes the database and lets go of the lock.
    pub(crate) fn run(mut self) {
        while let Some(ops) = self.gather() {
            if ops.is_empty() {
                self.checkpoint();
                continue;
            }
            self.carry_out(ops);
            if self.checkpoints.needed() {
                self.checkpoint();
            }
        }
        self.end();
    }

    fn checkpoint(&mut self) {
        if let Err(error) = self.checkpoints.run(self.groups.conn()) {
            self.groups.checkpoint_failed(&error);
        }
    }

    /// The next group; empty when idle with a log worth emptying, `None` at the end.
    fn gather(&mut self) -> Option<Vec<Op>> {
        let mut ops = Vec::new();
        let retry = !self.returns.is_empty();
        let first = if self.checkpoints.wanted() {
            self.inbox.recv_timeout(IDLE_AFTER)
        } else if retry {
            self.inbox.recv_timeout(RETURNS_RETRY)
        } else {
            self.inbox.recv()
        };
        let mut bytes = 0;
        let mut next = first;
        loop {
            match next {
                Received::Work(op) => {
                    bytes += op.weight();
                    ops.push(op);
                }
                Received::Nudge => {}
                Received::End if ops.is_empty() => return None,
                Received::Nothing | Received::End => break,
            }
            if ops.len() >= GROUP_OPS_MAX || bytes >= GROUP_BYTES_MAX {
                break;
            }
            next = self.inbox.try_recv();
        }
        let leases = self.returns.take();
        if !leases.is_empty() {
            ops.insert(0, Op::GiveBack { leases });
        }
        Some(ops)
    }

    /// Two groups at most: first what needs no flush, so that no lease waits for the flush of a submit it has nothing to
    /// do with. All of it came in at the same time, so none of it has a claim to go before another.
    fn carry_out(&mut self, ops: Vec<Op>) {
        let (flushed, quick): (Vec<Op>, Vec<Op>) = ops.into_iter().partition(Op::promises_durability);
        for group in [quick, flushed] {
            if !group.is_empty() {
                self.groups.run(group);
            }
        }
    }

    fn end(self) {
        for reader in self.readers {
            if reader.join().is_err() {
                tracing::error!("a reading thread of the store panicked");
            }
        }
        self.files.end_chores();
        if self.janitor.join().is_err() {
            tracing::error!("the thread that removes payload files panicked");
        }
        // The last connection to go empties the log into the database and removes it.
        if let Err(error) = self.groups.close() {
            tracing::warn!(%error, "the store did not close cleanly, its log is read at the next start");
        }
        drop(self.lock);
        drop(self.running);
    }
}
