//! What a store's callers hold: the way to its writer, its readers, and the counts.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::writer::GROUP_OPS_MAX;
use super::{Asking, Database, Dial, Operation, Readers, Writer};
use crate::kit::{Depths, Slot};
use crate::{QueueError, QueueErrorKind};

/// The front of a store. When it is dropped the writer ends, and what was answered is not lost.
pub struct Front<O, D: Dial> {
    ops: mpsc::Sender<O>,
    readers: Readers<D>,
    closing: CancellationToken,
    ended: watch::Receiver<()>,
    /// What is queued.
    pub depths: Arc<Depths>,
}

impl<O, D: Dial> Drop for Front<O, D> {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl<O: Operation, D: Dial> Front<O, D> {
    /// One, and the writer behind it, which is to be run. `depths` has been counted on `conn`, on which nothing else writes.
    pub fn new<W>(
        database: W,
        conn: Arc<W::Conn>,
        depths: Arc<Depths>,
        readers: Readers<D>,
    ) -> (Self, Writer<W>)
    where
        W: Database<Op = O>,
    {
        let (ops, inbox) = mpsc::channel(GROUP_OPS_MAX);
        let closing = CancellationToken::new();
        let (writer, ended) = Writer::new(database, conn, Arc::clone(&depths), inbox, closing.clone());
        let front = Self {
            ops,
            readers,
            closing,
            ended,
            depths,
        };
        (front, writer)
    }

    /// Tells when the store is closed.
    #[must_use]
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Has the writer do something, and waits for its answer.
    pub async fn tell<T, R>(
        &self,
        operation: &'static str,
        op: impl FnOnce(Slot<T, O::Error, R>) -> O,
    ) -> Result<R, QueueError> {
        let (slot, reply) = Slot::new();
        if self.closing.is_cancelled() || self.ops.send(op(slot)).await.is_err() {
            return Err(self.over(operation));
        }
        reply.await.map_err(|_| self.over(operation))?
    }

    /// A question for a reader (see `ask!`).
    pub fn asking(&self, operation: &'static str) -> Result<Asking<'_, D>, QueueError> {
        if self.closing.is_cancelled() {
            return Err(self.over(operation));
        }
        Ok(Asking::new(&self.readers, operation))
    }

    /// Why nobody answers: closed by us, or the writer died.
    fn over(&self, operation: &'static str) -> QueueError {
        if self.closing.is_cancelled() {
            QueueError::new(QueueErrorKind::Closed, operation, "")
        } else {
            QueueError::new(
                QueueErrorKind::Internal,
                operation,
                "the writer of the store has ended unexpectedly",
            )
        }
    }

    /// Ends the store, and waits for that.
    pub async fn close(&self) {
        self.closing.cancel();
        let mut ended = self.ended.clone();
        // Nothing is ever sent: the writer drops its side when all is done.
        while ended.changed().await.is_ok() {}
        self.readers.close().await;
    }
}

/// Asks a reader: `ask!(store, "fetch", |conn| read::fetch(conn, id))`. The store has a method `front`, which gives its
/// [`Front`](crate::kit::remote::Front), or its [`Questions`](crate::kit::remote::Questions). (A function could not say of the question's future that it can be sent.)
#[macro_export]
#[doc(hidden)]
macro_rules! ask_reader {
    ($store:expr, $operation:literal, |$conn:ident| $question:expr) => {{
        let mut asking = $store.front().asking($operation)?;
        loop {
            let reader = asking.reader().await?;
            let conn = reader.conn();
            let $conn = &*conn;
            if let Some(answer) = asking.answered(reader, $question).await {
                break answer;
            }
        }
    }};
}

/// Has the writer do something: `tell!(store, "release", |slot| Op::Release { leases, slot })`. The store is as for `ask!`.
#[macro_export]
#[doc(hidden)]
macro_rules! tell_writer {
    ($store:expr, $operation:literal, |$slot:ident| $op:expr) => {
        $store.front().tell($operation, |$slot| $op).await
    };
}
