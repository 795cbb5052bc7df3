//! The store as its callers hold it: the two ports, in front of the threads.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use cresset_queue::kit::{self, Content, Depths, IntoQueueError, Returns, Ttl};
use cresset_queue::{
    Broker, Cancelled, Capabilities, Completion, Depth, Expiries, Finished, Idempotency, Lease, LeaseRequest,
    Load, Lookup, NewTask, QueueError, QueueErrorKind, Release, ResultStore, Retry, Submitted,
};
use cresset_task::{ClientKey, ModelName, Ownership, Payload, TaskId, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::checkpoint::Checkpoints;
use crate::connect;
use crate::error::StoreError;
use crate::files::{Files, Janitor, Part};
use crate::group::Groups;
use crate::inbox::{Inbox, inbox};
use crate::op::{Ending, Op, Slot, Submission};
use crate::open::{self, Opened};
use crate::options::{Durability, SqliteOptions};
use crate::place::Kept;
use crate::reader::{self, READS_MAX, Read};
use crate::trust::WriterConn;
use crate::writer::{GROUP_OPS_MAX, Writer};

/// The SQLite store: [`Broker`] and [`ResultStore`] in one database. Cheap to clone; all clones are one store. Its futures
/// run on a tokio runtime, whose blocking threads write and read the payloads that are files.
///
/// [`close`](Broker::close) ends it and waits for that. Without it, it ends in the background when the last clone is
/// dropped, and until then the database counts as in use; nothing that was answered is lost either way.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Arc<Inbox<Op>>,
    readers: Inbox<Read>,
    depths: Arc<Depths>,
    files: Arc<Files>,
    ended: watch::Receiver<()>,
    opened: Opened,
    durability: Durability,
}

impl SqliteStore {
    /// Opens the database, or creates it if there is none. Blocks: call it before the doors open, or from a thread that
    /// may wait.
    ///
    /// # Errors
    ///
    /// `Unavailable` when another process has it, or the disk says no; `Corrupt` when the file is damaged, not ours,
    /// or of a newer version. A file that is refused is left as it is.
    pub fn open(options: SqliteOptions) -> Result<Self, QueueError> {
        start(&options).map_err(|error| {
            let kind = error.kind();
            let refused = QueueError::new(kind, "open", format!("{}: {error}", options.path.display()));
            match error {
                StoreError::Sqlite { source, .. } => refused.because(source),
                StoreError::Io { source, .. } => refused.because(source),
                StoreError::Damaged(_) | StoreError::InUse(_) | StoreError::Misuse(_) => refused,
            }
        })
    }

    /// What a store of this durability can do, without opening one.
    #[must_use]
    pub const fn capabilities_with(durability: Durability) -> Capabilities {
        kit::capabilities("sqlite", matches!(durability, Durability::Fsync))
    }

    /// What was found at opening.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.inner.opened
    }

    pub(crate) fn depths(&self) -> &Depths {
        &self.inner.depths
    }

    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.inner.files
    }

    /// Where the rows will have these contents: see [`Files::place`].
    pub(crate) async fn place(
        &self,
        operation: &'static str,
        part: Part,
        contents: Vec<(TaskId, Content)>,
    ) -> Result<Vec<Kept>, QueueError> {
        let placed = self.files().place(part, contents).await;
        placed.map_err(|e| e.into_queue(operation))
    }

    /// A task with its input where its row will have it.
    pub(crate) async fn placed(
        &self,
        operation: &'static str,
        mut task: NewTask,
    ) -> Result<Submission, QueueError> {
        let payload = std::mem::replace(&mut task.payload, Payload::Json(Bytes::new()));
        let weight = payload.weight();
        let contents = vec![(task.id, Content::Payload(payload))];
        let placed = self.place(operation, Part::Input, contents).await?;
        let input = placed.into_iter().next().ok_or_else(|| self.ended(operation))?;
        Submission::new(task, weight, input).map_err(|e| StoreError::from(e).into_queue(operation))
    }

    pub(crate) async fn write<T>(
        &self,
        operation: &'static str,
        op: Op,
        reply: oneshot::Receiver<Result<T, QueueError>>,
    ) -> Result<T, QueueError> {
        if self.inner.writer.send(op).await.is_err() {
            return Err(self.ended(operation));
        }
        reply.await.map_err(|_| self.ended(operation))?
    }

    pub(crate) async fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(oneshot::Sender<Result<T, QueueError>>) -> Read,
    ) -> Result<T, QueueError> {
        let (reply, receiver) = oneshot::channel();
        if self.inner.readers.send(read(reply)).await.is_err() {
            return Err(self.ended(operation));
        }
        receiver.await.map_err(|_| self.ended(operation))?
    }

    /// Why nobody answers: closed by us, or a thread of ours died.
    pub(crate) fn ended(&self, operation: &'static str) -> QueueError {
        if self.inner.writer.is_closed() {
            QueueError::new(QueueErrorKind::Closed, operation, "")
        } else {
            QueueError::new(
                QueueErrorKind::Internal,
                operation,
                "a thread of the store has ended unexpectedly",
            )
        }
    }
}

fn start(options: &SqliteOptions) -> Result<SqliteStore, StoreError> {
    let database = open::open(&options.path)?;
    let depths = Arc::new(database.depths);
    let ttl = Ttl {
        results: options.result_ttl,
        tombstones: options.tombstone_ttl,
        letters: options.letter_ttl,
        deliveries: options.delivery_ttl,
    };

    let (writer, writer_outlet) = inbox(GROUP_OPS_MAX);
    let writer = Arc::new(writer);
    let woken = Arc::downgrade(&writer);
    let returns = Arc::new(Returns::new(move || {
        if let Some(writer) = woken.upgrade() {
            // A closed store needs no wake: the next opening gives back every lease.
            let _closed = writer.nudge();
        }
    }));
    let (readers, readers_outlet) = inbox(READS_MAX);
    let (running, ended) = watch::channel(());

    let (janitor, chores) = Janitor::new(&options.path);
    let files = Arc::new(Files::new(options, chores));

    let readers_outlet = Arc::new(Mutex::new(readers_outlet));
    let mut reading = Vec::new();
    for number in 0..options.readers.max(1) {
        let conn = connect::reader(&options.path)?;
        let (outlet, files) = (Arc::clone(&readers_outlet), Arc::clone(&files));
        reading.push(spawn(format!("store-read-{number}"), move || {
            reader::run(&conn, &files, &outlet)
        })?);
    }
    let groups = Groups::new(
        WriterConn::new(&options.path, database.conn, database.log.clone()),
        options.durability,
        ttl,
        Arc::clone(&depths),
        Arc::clone(&returns),
        Arc::clone(&files),
    );
    let sweeping = Arc::clone(&files);
    let janitor = spawn("store-files".into(), move || janitor.run(&sweeping))?;
    let thread = Writer {
        inbox: writer_outlet,
        groups,
        checkpoints: Checkpoints::new(database.log),
        returns,
        readers: reading,
        files: Arc::clone(&files),
        janitor,
        running,
        lock: database.lock,
    };
    spawn("store-write".into(), move || thread.run())?;

    let inner = Inner {
        writer,
        readers,
        depths,
        files,
        ended,
        opened: database.opened,
        durability: options.durability,
    };
    Ok(SqliteStore {
        inner: Arc::new(inner),
    })
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.clone())
        .spawn(work)
        .map_err(StoreError::io("cannot start the thread", name))
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("opened", &self.inner.opened)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn close(&self) {
        self.writer.close();
        self.readers.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Broker for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        Self::capabilities_with(self.inner.durability)
    }

    async fn submit(&self, task: NewTask) -> Result<Submitted, QueueError> {
        // Asked first, so that a large payload that is sent again is not written again for nothing.
        if let Some(idempotency) = &task.idempotency
            && task.payload.weight() > self.files().inline_max()
            && let Some(known) = self.recall(&task.model, idempotency).await?
        {
            return Ok(known);
        }
        let task = Box::new(self.placed("submit", task).await?);
        let (slot, reply) = Slot::new();
        self.write("submit", Op::Submit { task, slot }, reply).await
    }

    async fn recall(
        &self,
        model: &ModelName,
        idempotency: &Idempotency,
    ) -> Result<Option<Submitted>, QueueError> {
        let (model, idempotency) = (model.clone(), idempotency.clone());
        self.read("recall", |reply| Read::Recall {
            model,
            idempotency,
            reply,
        })
        .await
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, QueueError> {
        self.lease_whole(request).await
    }

    async fn release(&self, leases: Vec<Release>) -> Result<(), QueueError> {
        let (slot, reply) = Slot::new();
        self.write("release", Op::Release { leases, slot }, reply).await
    }

    fn depth(&self, model: &ModelName) -> Depth {
        self.inner.depths.get(model)
    }

    fn load(&self) -> Load {
        self.inner.depths.total()
    }

    fn client_load(&self, client: &ClientKey) -> Load {
        self.inner.depths.client(client)
    }

    async fn position(&self, id: TaskId) -> Result<Option<u64>, QueueError> {
        self.read("position", |reply| Read::Position { id, reply }).await
    }

    /// A file where the payloads are, with room for more than a row, and a commit.
    async fn probe(&self) -> Result<(), QueueError> {
        if self.inner.writer.is_closed() {
            return Err(self.ended("probe"));
        }
        self.files().probe().await.map_err(|e| e.into_queue("probe"))?;
        let (slot, reply) = Slot::new();
        self.write("probe", Op::Probe { slot }, reply).await
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.inner.close();
        let mut ended = self.inner.ended.clone();
        // Nothing is ever sent: the writer drops its side when all is done.
        while ended.changed().await.is_ok() {}
        Ok(())
    }
}

#[async_trait]
impl ResultStore for SqliteStore {
    async fn finish(&self, completions: Vec<Completion>) -> Result<Vec<Finished>, QueueError> {
        let (mut ends, mut contents) = (Vec::new(), Vec::new());
        for completion in completions {
            let id = completion.id;
            let (outcome, end) =
                Ending::of(completion).map_err(|e| StoreError::from(e).into_queue("finish"))?;
            ends.push(end);
            contents.push((id, Content::Outcome(outcome)));
        }
        let placed = self.place("finish", Part::Outcome, contents).await?;
        let endings = ends
            .into_iter()
            .zip(placed)
            .map(|(end, outcome)| end(outcome))
            .collect();
        let (slot, reply) = Slot::new();
        self.write("finish", Op::Finish { endings, slot }, reply).await
    }

    async fn retry(&self, retries: Vec<Retry>) -> Result<Vec<Finished>, QueueError> {
        let (slot, reply) = Slot::new();
        self.write("retry", Op::Retry { retries, slot }, reply).await
    }

    async fn cancel(&self, id: TaskId, reason: &str, now: Timestamp) -> Result<Cancelled, QueueError> {
        let (slot, reply) = Slot::new();
        let reason = reason.to_owned();
        let op = Op::Cancel {
            id,
            reason,
            now,
            slot,
        };
        self.write("cancel", op, reply).await
    }

    async fn expire(&self, now: Timestamp) -> Result<Expiries, QueueError> {
        let (slot, reply) = Slot::new();
        self.write("expire", Op::Expire { now, slot }, reply).await
    }

    async fn fetch(&self, id: TaskId) -> Result<Lookup, QueueError> {
        self.read("fetch", |reply| Read::Fetch { id, reply }).await
    }

    async fn owner(&self, id: TaskId) -> Result<Ownership, QueueError> {
        self.read("owner", |reply| Read::Owner { id, reply }).await
    }

    async fn purge(&self, now: Timestamp) -> Result<usize, QueueError> {
        let (slot, reply) = Slot::new();
        let doomed = self.write("purge", Op::Purge { now, slot }, reply).await?;
        Ok(doomed.remove().await)
    }
}

/// It has none: no application shares an embedded store.
impl cresset_queue::Inbox for SqliteStore {}
