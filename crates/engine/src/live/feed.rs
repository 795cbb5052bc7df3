//! What one item has said of itself: written by the driver, read by any number of readers, each at its own pace.
//!
//! Writing never waits: a reader who is too slow for what is kept is told what it missed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cresset_runner::LogLevel;
use cresset_task::{Attempt, Timestamp};
use tokio::sync::watch;

use super::shelf::{Keep, Shelf};
use super::{Budget, Found};

/// Lines of one run that are kept, at most: some screens of text ...
const LINES_KEPT: usize = 256;
/// ... and bytes of them: a model that logs long lines of each of its tasks must not take the room of the pieces of others.
const LINES_BYTES: usize = 256 << 10;

/// How far an item has come, as its model says.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// 0 to 1.
    pub fraction: f64,
    /// In the model's words.
    pub message: Option<Arc<str>>,
    /// When it said so.
    pub at: Timestamp,
}

/// A line that its model wrote about an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: LogLevel,
    /// It.
    pub text: Arc<str>,
    /// When we had it.
    pub at: Timestamp,
    /// The attempt that wrote it.
    pub attempt: Attempt,
}

impl Keep for Line {
    fn text_bytes(&self) -> usize {
        self.text.len()
    }
}

/// Up to where the pieces of a result have been read. Only what a reader was given says where to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The run that they are of. No two runs of a task have the same, before a crash and after it.
    pub run: i64,
    /// The first that has not been read.
    pub next: u64,
}

/// What a reader has had of a feed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cursor: Cursor,
    progress: u64,
    /// The next line; `None` for one who reads none.
    line: Option<u64>,
}

impl Seen {
    pub(crate) fn up_to(cursor: Cursor) -> Self {
        Self {
            cursor,
            ..Self::default()
        }
    }

    pub(crate) fn with_lines(mut self) -> Self {
        self.line = Some(0);
        self
    }

    /// What it has had of another feed says nothing of this one, but for the pieces, whose cursor says of which they are.
    pub(crate) fn turn_to_another(&mut self) {
        self.progress = 0;
        self.line = self.line.map(|_| 0);
    }
}

/// What comes to a reader next.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A piece of the result.
    Chunk {
        /// Counted from 0.
        number: u64,
        /// The attempt that it is of.
        attempt: Attempt,
        /// Its JSON.
        text: Bytes,
    },
    /// Pieces are not kept any more, and were not read.
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
        /// The attempt that they are of.
        attempt: Attempt,
    },
    /// The item is run again from the beginning: what was read is void.
    Restart {
        /// The attempt that begins.
        attempt: Attempt,
    },
    /// It has come farther.
    Progress(Progress),
    /// A line about it, for who reads them.
    Line {
        /// Counted from 0; what is left out is not kept any more.
        number: u64,
        /// It.
        line: Line,
    },
}

#[derive(Debug)]
struct Inner {
    run: i64,
    attempt: Attempt,
    pieces: Shelf<Bytes>,
    lines: Shelf<Line>,
    progress: Option<Progress>,
    /// Counts what was said of progress.
    said: u64,
    is_over: bool,
}

/// See above.
#[derive(Debug)]
pub(crate) struct Feed {
    budget: Arc<Budget>,
    limit: usize,
    inner: Mutex<Inner>,
    moved: watch::Sender<()>,
}

impl Feed {
    /// Of a run that begins at `now`; it keeps pieces of `limit` bytes.
    pub(crate) fn new(budget: Arc<Budget>, limit: usize, attempt: Attempt, now: Timestamp) -> Self {
        Self {
            budget,
            limit,
            inner: Mutex::new(Inner {
                run: now.as_micros(),
                attempt,
                pieces: Shelf::default(),
                lines: Shelf::default(),
                progress: None,
                said: 0,
                is_over: false,
            }),
            moved: watch::Sender::new(()),
        }
    }

    /// Rings when there is something new.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Another piece; false when it, or one before it, had to go for want of room that all share.
    pub(crate) fn push(&self, text: Bytes) -> bool {
        let has_room = self.lock().pieces.put(text, usize::MAX, self.limit, &self.budget);
        self.moved.send_replace(());
        has_room
    }

    /// So many pieces came before it was there.
    pub(crate) fn miss(&self, pieces: u64) {
        self.lock().pieces.miss(pieces);
    }

    /// Another line; false as with a piece.
    pub(crate) fn write(&self, line: Line) -> bool {
        let has_room = self.lock().lines.put(line, LINES_KEPT, LINES_BYTES, &self.budget);
        self.moved.send_replace(());
        has_room
    }

    pub(crate) fn say(&self, progress: Progress) {
        let mut inner = self.lock();
        inner.progress = Some(progress);
        inner.said += 1;
        drop(inner);
        self.moved.send_replace(());
    }

    /// What was said is void: the item is run again, as this attempt, or will be. Lines stay: they say why, it may be.
    pub(crate) fn void(&self, attempt: Attempt, now: Timestamp) {
        let mut inner = self.lock();
        inner.pieces.clear(&self.budget);
        // Later than the run before, whatever the clock says.
        inner.run = now.as_micros().max(inner.run + 1);
        inner.attempt = attempt;
        inner.progress = None;
        drop(inner);
        self.moved.send_replace(());
    }

    /// The run is over: nothing comes any more.
    pub(crate) fn over(&self) {
        let mut inner = self.lock();
        inner.is_over = true;
        inner.progress = None;
    }

    /// How far the item has come, while it runs.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.lock().progress.clone()
    }

    /// What comes next for a reader; it has been given that then.
    pub(crate) fn next(&self, seen: &mut Seen) -> Option<Piece> {
        let inner = self.lock();
        let attempt = inner.attempt;
        let cursor = &mut seen.cursor;
        if cursor.run != inner.run {
            let had = cursor.next;
            *cursor = Cursor {
                run: inner.run,
                next: 0,
            };
            if had > 0 {
                return Some(Piece::Restart { attempt });
            }
        }
        match inner.pieces.get(cursor.next) {
            Found::Here(text) => {
                let number = cursor.next;
                cursor.next += 1;
                let text = text.clone();
                return Some(Piece::Chunk {
                    number,
                    attempt,
                    text,
                });
            }
            Found::Gone(first) => {
                let from = std::mem::replace(&mut cursor.next, first);
                return Some(Piece::Gap {
                    from,
                    to: first - 1,
                    attempt,
                });
            }
            Found::ToCome => {}
        }
        if let Some(next) = &mut seen.line {
            let found = match inner.lines.get(*next) {
                Found::Gone(first) => {
                    *next = first;
                    inner.lines.get(first)
                }
                found => found,
            };
            if let Found::Here(line) = found {
                let number = *next;
                *next += 1;
                let line = line.clone();
                return Some(Piece::Line { number, line });
            }
        }
        if seen.progress < inner.said {
            seen.progress = inner.said;
            return inner.progress.clone().map(Piece::Progress);
        }
        None
    }

    // Nothing under the lock can panic halfway, so a poisoned one is sound.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.pieces.clear(&self.budget);
        inner.lines.clear(&self.budget);
    }
}
