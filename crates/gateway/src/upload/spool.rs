//! Bodies too large to be held in memory while they come: each in a file without a name.
//!
//! A slow upload then costs a small buffer, however large it is and however many there are. When it has come whole it is
//! read back, as soon as there is memory for it (see `budget`). The file has no name from the first moment on where the
//! system can do that, and is unlinked at once where it cannot: however this process ends, the kernel removes it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cresset_engine::{Bound, MeanTime, Unit, hint};
use cresset_task::Code;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::app::App;
use crate::problem::Problem;

/// What is gathered before it is written: all of a spooled body that is in memory.
pub(crate) const BUFFER_BYTES: usize = 64 << 10;
/// Pieces being written at once: a disk is not made faster by more, and each takes a thread of the runtime.
const WRITES_MAX: usize = 8;
/// How the files are called for the moment before they are unlinked, where they cannot do without a name.
const PREFIX: &str = ".tmp";

/// Where and when bodies are spooled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The folder; made if it is not there. Nobody else may use it.
    pub dir: PathBuf,
    /// Bodies of more bytes are spooled.
    pub above: usize,
    /// Bytes of all of them together; more are refused with `server_busy`.
    pub max_bytes: u64,
}

/// Where bodies are spooled.
#[derive(Debug)]
pub(crate) struct Spool {
    options: SpoolOptions,
    used: Arc<Used>,
    writes: Arc<Semaphore>,
}

/// A body on its way into a file.
pub(crate) struct Spooling {
    // Both are with the writing thread for the time of a write.
    file: Option<File>,
    buffer: Vec<u8>,
    length: usize,
    share: Share,
}

/// What is taken of the spool.
#[derive(Debug, Default)]
struct Used {
    bytes: AtomicU64,
    /// How long a body is there.
    stays: MeanTime,
}

/// Bytes of the spool; given back when dropped.
struct Share {
    bytes: u64,
    of: Arc<Used>,
    since: Instant,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.stays.add(self.since.elapsed());
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Share {
    /// When as much as this body has should have left: what is there leaves within the mean time that a body is there.
    /// None has ever left: it takes as long again as this one has come.
    fn time_for_as_much(&self, used: u64) -> Duration {
        hint(match self.of.stays.get() {
            None => self.since.elapsed(),
            Some(mean) => mean.mul_f64(self.bytes as f64 / used.max(1) as f64),
        })
    }
}

impl Spool {
    /// Makes the folder, and removes what a process left that died between making a file and unlinking it.
    pub(crate) fn open(options: SpoolOptions) -> io::Result<Self> {
        fs::create_dir_all(&options.dir)?;
        for entry in fs::read_dir(&options.dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            options,
            used: Arc::default(),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
        })
    }

    pub(crate) fn above(&self) -> usize {
        self.options.above
    }

    /// Begins a file.
    pub(crate) async fn begin(&self, app: &App) -> Result<Spooling, Problem> {
        let dir = self.options.dir.clone();
        let file = app
            .blocking(move || tempfile::tempfile_in(dir))
            .await?
            .map_err(|error| unwritable(&error))?;
        Ok(Spooling {
            file: Some(file),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            length: 0,
            share: Share {
                bytes: 0,
                of: Arc::clone(&self.used),
                since: Instant::now(),
            },
        })
    }

    /// Room for so many bytes more.
    fn grow(&self, share: &mut Share, by: usize) -> Result<(), Problem> {
        let (by, limit) = (by as u64, self.options.max_bytes);
        share.bytes += by;
        let current = self.used.bytes.fetch_add(by, Ordering::Relaxed);
        if current + by <= limit {
            return Ok(());
        }
        let bound = Bound {
            setting: "limits.max_spool_bytes",
            unit: Unit::Bytes,
            limit,
            current,
        };
        Err(Problem::new(
            Code::ServerBusy,
            format!("request bodies fill the room on the disk that they may have while they come: {bound}"),
        )
        .at_bound(bound)
        .retry_after(share.time_for_as_much(current)))
    }
}

impl Spooling {
    /// The next piece.
    pub(crate) async fn add(&mut self, app: &App, spool: &Spool, mut piece: &[u8]) -> Result<(), Problem> {
        spool.grow(&mut self.share, piece.len())?;
        self.length += piece.len();
        while !piece.is_empty() {
            let fits = piece.len().min(BUFFER_BYTES - self.buffer.len());
            let (now, later) = piece.split_at(fits);
            self.buffer.extend_from_slice(now);
            piece = later;
            if self.buffer.len() == BUFFER_BYTES {
                self.write(app, spool).await?;
            }
        }
        Ok(())
    }

    /// Writes the buffer out.
    async fn write(&mut self, app: &App, spool: &Spool) -> Result<(), Problem> {
        // The semaphore is never closed.
        let permit = Arc::clone(&spool.writes).acquire_owned().await.ok();
        let (file, mut buffer) = (self.file.take(), std::mem::take(&mut self.buffer));
        let write = move || {
            let _permit = permit;
            let mut file = file.ok_or_else(|| io::Error::other("an earlier write was given up"))?;
            file.write_all(&buffer)?;
            buffer.clear();
            Ok((file, buffer))
        };
        let (file, buffer) = app
            .blocking(write)
            .await?
            .map_err(|error: io::Error| unwritable(&error))?;
        (self.file, self.buffer) = (Some(file), buffer);
        Ok(())
    }

    /// Its length so far.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// All of it, in memory again.
    pub(crate) async fn read_back(mut self, app: &App) -> Result<Bytes, Problem> {
        let (file, rest, length) = (self.file.take(), std::mem::take(&mut self.buffer), self.length);
        let read = move || {
            let mut file = file.ok_or_else(|| io::Error::other("an earlier write was given up"))?;
            file.rewind()?;
            let mut bytes = Vec::with_capacity(length);
            file.read_to_end(&mut bytes)?;
            bytes.extend_from_slice(&rest);
            if bytes.len() == length {
                Ok(Bytes::from(bytes))
            } else {
                Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the file is not as it was written",
                ))
            }
        };
        app.blocking(read).await?.map_err(|error| unwritable(&error))
    }
}

fn unwritable(error: &io::Error) -> Problem {
    Problem::new(
        Code::StoreUnavailable,
        "a large body is kept on the disk while it comes, and the disk refuses",
    )
    .because(format!("spool: {error}"))
}
