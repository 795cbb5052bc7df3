//! Payloads too large for a row: each in a file of its own, beside the database.
//!
//! ```text
//!   caller's side: write, flush file and folder ---> writer: row that names the file ---> kept
//!                                                        or: refused, failed           ---> removed
//! ```
//!
//! Why: a row's bytes go through the log and then into the database, so they are written twice, and by the one thread that
//! all others wait for. A file is written once, by whoever brings it.
//!
//! A file is on the disk before its row is committed and removed after its row is gone, so a row never lacks its file,
//! whenever the process or the machine dies; a file may lack its row, and the sweep of the next start removes it. No name
//! is given twice (see `name`), so a file that is not named by a row when its run has ended never will be.
//!
//! What must not happen here: work on the writer's thread. It passes names on and touches no payload file.

mod checksum;
mod guard;
mod janitor;
mod name;
mod read;
mod write;

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use cresset_task::TaskId;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(crate) use self::guard::{Doomed, NewFile};
use self::janitor::Chore;
pub(crate) use self::janitor::Janitor;
use self::name::Run;
pub(crate) use self::name::{FileName, Part, SHARD_LAST, shard_name};
pub(crate) use self::read::read_file;
pub(crate) use self::write::{parent_of, sync_folder};
use crate::error::StoreError;
use crate::lock::beside;
use crate::options::{Durability, SqliteOptions};
use crate::place::Kept;
use cresset_queue::kit::{Content, Stored};

/// Files being written at once. Enough for their flushes to share what the file system can share, and few enough that a
/// burst of large payloads does not take all of the runtime's blocking threads.
const WRITES_MAX: usize = 32;

/// A payload file as a row names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileRef {
    pub(crate) name: FileName,
    pub(crate) length: u64,
    pub(crate) checksum: u64,
}

/// The payload files of one database. All that is kept of it in memory is where it is.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    inline_max: usize,
    flush: bool,
    run: Run,
    next: AtomicU64,
    writes: Arc<Semaphore>,
    // The folders that this run has seen onto stable storage.
    shards_made: Mutex<HashSet<u8>>,
    janitor: Sender<Chore>,
}

/// The folder of a database's payload files.
pub(crate) fn folder_of(database: &Path) -> PathBuf {
    beside(database, ".payloads")
}

/// True when there are payload files in this folder.
pub(crate) fn any_in(folder: &Path) -> bool {
    (0..=SHARD_LAST).any(|number| {
        let entries = fs::read_dir(folder.join(shard_name(number)));
        entries.is_ok_and(|mut entries| entries.next().is_some())
    })
}

impl Files {
    pub(crate) fn new(options: &SqliteOptions, janitor: Sender<Chore>) -> Self {
        Self {
            folder: folder_of(&options.path),
            inline_max: options.max_inline_bytes,
            flush: options.durability == Durability::Fsync,
            run: Run(rand::random()),
            next: AtomicU64::new(0),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            shards_made: Mutex::default(),
            janitor,
        }
    }

    /// Bytes that a row takes.
    pub(crate) fn inline_max(&self) -> usize {
        self.inline_max
    }

    /// True when it is too large for a row, as far as that can be told without encoding it.
    fn is_large(&self, content: &Content) -> bool {
        content.weight() > self.inline_max
    }

    /// Each content as its row will have it; the large ones are in their files, as durable as a row will be, when this
    /// returns. Dropped or failed on the way, it leaves no file.
    pub(crate) async fn place(
        self: &Arc<Self>,
        part: Part,
        contents: Vec<(TaskId, Content)>,
    ) -> Result<Vec<Kept>, StoreError> {
        let mut kept = Vec::with_capacity(contents.len());
        let mut large = Vec::new();
        for (id, content) in contents {
            kept.push(if self.is_large(&content) {
                large.push((kept.len(), id, Encode::Later(content)));
                None
            } else {
                let stored = content.encode()?;
                if stored.bytes.len() > self.inline_max {
                    large.push((kept.len(), id, Encode::Done(stored)));
                    None
                } else {
                    Some(Kept::Row(stored))
                }
            });
        }
        if !large.is_empty() {
            self.write_all(part, large, &mut kept).await?;
        }
        Ok(kept.into_iter().flatten().collect())
    }

    async fn write_all(
        self: &Arc<Self>,
        part: Part,
        large: Vec<(usize, TaskId, Encode)>,
        kept: &mut [Option<Kept>],
    ) -> Result<(), StoreError> {
        let mut writes = JoinSet::new();
        for (place, id, encode) in large {
            // The semaphore is never closed.
            let permit = Arc::clone(&self.writes).acquire_owned().await.ok();
            let files = Arc::clone(self);
            writes.spawn_blocking(move || {
                let _permit = permit;
                let stored = encode.run()?;
                let kind = stored.kind;
                let file = files.write(id, part, &stored)?;
                Ok::<_, StoreError>((place, Kept::File { kind, file }))
            });
        }
        while let Some(written) = writes.join_next().await {
            let (place, file) = written.map_err(|e| blocking_failed(e, "a payload was not written"))??;
            if let Some(slot) = kept.get_mut(place) {
                *slot = Some(file);
            }
        }
        Ok(())
    }

    /// Removes a file, if it is there. One that cannot be removed now is left for the sweep of the next start.
    fn unlink(&self, name: &FileName) {
        let path = self.folder.join(name.path());
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot remove a payload file, the next start tries again");
            }
        }
    }

    /// Leaves files for the janitor to remove. Once it has ended, removes them itself: then nobody waits for this thread.
    fn discard(&self, names: Vec<FileName>) {
        if let Err(refused) = self.janitor.send(Chore::Remove { names, done: None }) {
            refused.0.names().iter().for_each(|name| self.unlink(name));
        }
    }
}

/// A payload that goes into a file.
enum Encode {
    /// Encoding it is a copy of all of it: not for a thread that must not block.
    Later(Content),
    /// It was encoded before it was found to be large.
    Done(Stored),
}

impl Encode {
    fn run(self) -> Result<Stored, StoreError> {
        match self {
            Self::Later(content) => Ok(content.encode()?),
            Self::Done(stored) => Ok(stored),
        }
    }
}

fn blocking_failed(error: tokio::task::JoinError, what: &str) -> StoreError {
    if error.is_panic() {
        std::panic::resume_unwind(error.into_panic());
    }
    StoreError::Misuse(format!("{what}: the runtime is shutting down"))
}
