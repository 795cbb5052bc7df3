//! The thread that removes payload files: those of purged and refused tasks as they come, and once, after the start, those
//! that no task names, left by processes that died between a file and its row.
//!
//! The sweep never touches a file of its own run, so it may take its time while others are written, and it needs no lock: a
//! file of an earlier run that no row names now can never be named again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::name::{SHARD_LAST, shard_name};
use super::{FileName, Files};
use crate::connect;
use crate::error::StoreError;
use crate::queries;

/// What the thread is asked to do. There are never more of them under way than there are purges and refused payloads; a
/// purge waits for its own, and a payload costs more to write than to remove.
#[derive(Debug)]
pub(crate) enum Chore {
    Remove {
        names: Vec<FileName>,
        done: Option<oneshot::Sender<()>>,
    },
    End,
}

impl Chore {
    pub(super) fn names(&self) -> &[FileName] {
        match self {
            Self::Remove { names, .. } => names,
            Self::End => &[],
        }
    }
}

impl Files {
    /// Has files removed, and waits for it.
    pub(super) async fn remove(&self, names: Vec<FileName>) {
        let (done, removed) = oneshot::channel();
        let chore = Chore::Remove {
            names,
            done: Some(done),
        };
        match self.janitor.send(chore) {
            // It fails only when the thread has ended; what it left undone, the next start does.
            Ok(()) => drop(removed.await),
            Err(refused) => refused.0.names().iter().for_each(|name| self.unlink(name)),
        }
    }

    /// Lets the thread end after what it has been asked to do so far.
    pub(crate) fn end_chores(&self) {
        // It fails only when the thread has ended already.
        let _ended = self.janitor.send(Chore::End);
    }
}

/// The thread's belongings.
#[derive(Debug)]
pub(crate) struct Janitor {
    chores: Receiver<Chore>,
    database: PathBuf,
}

impl Janitor {
    pub(crate) fn new(database: &Path) -> (Self, Sender<Chore>) {
        let (sender, chores) = channel();
        let database = database.to_owned();
        (Self { chores, database }, sender)
    }

    /// Works until it is told to end.
    pub(crate) fn run(self, files: &Files) {
        let mut next = self.sweep(files);
        while next == Next::GoOn {
            next = self
                .chores
                .recv()
                .map_or(Next::End, |chore| carry_out(files, chore));
        }
        // What came in behind the end, from callers that were still writing.
        while let Ok(chore) = self.chores.try_recv() {
            carry_out(files, chore);
        }
    }

    /// Removes what no task names, with the chores that come in meanwhile in between.
    fn sweep(&self, files: &Files) -> Next {
        files.remove_probe();
        let mut sweep = Sweep::default();
        for shard in 0..=SHARD_LAST {
            match self.sweep_folder(files, shard, &mut sweep) {
                Ok(Next::GoOn) => {}
                Ok(Next::End) => return Next::End,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "payload files without a task were not all looked for");
                    return Next::GoOn;
                }
            }
        }
        if sweep.removed > 0 {
            tracing::info!(
                removed = sweep.removed,
                "payload files that no task names were removed"
            );
        }
        Next::GoOn
    }

    fn sweep_folder(&self, files: &Files, shard: u8, sweep: &mut Sweep) -> Result<Next, StoreError> {
        let folder = files.folder.join(shard_name(shard));
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Next::GoOn),
            entries => entries.map_err(StoreError::io("cannot list the folder", &folder))?,
        };
        for entry in entries {
            while let Ok(chore) = self.chores.try_recv() {
                if carry_out(files, chore) == Next::End {
                    return Ok(Next::End);
                }
            }
            let entry = entry.map_err(StoreError::io("cannot list the folder", &folder))?;
            let name = entry.file_name().to_str().and_then(|text| text.parse().ok());
            // Whatever is not called as ours are, or lies where ours do not, is not ours to remove.
            let Some(name) = name.filter(|name: &FileName| name.shard() == shard && name.run != files.run)
            else {
                continue;
            };
            let conn = match &mut sweep.conn {
                Some(conn) => conn,
                none => none.insert(connect::reader(&self.database)?),
            };
            if !is_named(conn, &name).map_err(StoreError::sqlite("cannot look up a payload file"))? {
                files.unlink(&name);
                sweep.removed += 1;
            }
        }
        Ok(Next::GoOn)
    }
}

/// A sweep under way.
#[derive(Default)]
struct Sweep {
    // Opened when there is a file to ask about: most databases have none.
    conn: Option<Connection>,
    removed: u64,
}

fn is_named(conn: &Connection, name: &FileName) -> rusqlite::Result<bool> {
    conn.prepare_cached(queries::FILE_NAMED)?
        .exists(rusqlite::params![name.id.as_bytes(), name.to_string()])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

fn carry_out(files: &Files, chore: Chore) -> Next {
    match chore {
        Chore::Remove { names, done } => {
            names.iter().for_each(|name| files.unlink(name));
            // Whoever waited may have gone.
            let _gone = done.map(|done| done.send(()));
            Next::GoOn
        }
        Chore::End => Next::End,
    }
}
