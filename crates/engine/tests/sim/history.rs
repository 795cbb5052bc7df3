//! What happened in a run: what callers asked and were told, what the store changed, what instances were given, what was
//! broken. Written down as it happens, judged afterwards by the checker.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cresset_engine::{Residue, Stopped};
use cresset_task::{BatchId, Code, InstanceId, Revision, State, TaskId, TaskRecord, Timestamp};

use crate::clock::Clock;

/// The number of an input: each submit or prediction has one of its own, and its payload and metadata tell it.
pub(crate) type Serial = u64;
/// The number of a call of a caller.
pub(crate) type CallId = u64;

/// How an input may end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct May {
    pub(crate) succeed: bool,
    /// With what the model raised.
    pub(crate) fail: bool,
    /// As one that takes its process down.
    pub(crate) die: bool,
}

/// A submit as its caller meant it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) serial: Serial,
    pub(crate) may: May,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) deadline_at: Option<Timestamp>,
    /// It may be sent again, under a key.
    pub(crate) keyed: bool,
    /// So many tasks may be queued for its model.
    pub(crate) queue_max: u64,
}

/// One thing that happened.
#[expect(dead_code, reason = "some of it is only for people who read a history")]
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A server starts.
    Starts,
    /// It dies.
    Crashes,
    /// It is told to stop, and has so long for what is under way.
    Stops(Duration),
    /// It has stopped.
    Stopped,
    /// It did not stop, or work was left, within any reasonable time.
    Stuck(&'static str),
    /// The store was called more often than any work needs.
    Spins(&'static str),
    /// The wall clock was set by so many microseconds, and shows what the entry says now.
    Jumps(i64),
    /// A call of the store failed.
    Fault(&'static str),
    /// Nothing goes wrong any more.
    Mended,
    /// All is done; what the engine still holds, and tasks that are leased or queued.
    Rest {
        residue: Residue,
        leased: usize,
        queued: u64,
        /// Why it does not count as ready, if it does not.
        unwell: Option<String>,
    },

    /// A submit begins.
    Submitting {
        call: CallId,
        order: Order,
    },
    /// It was accepted, or recognised.
    Accepted {
        call: CallId,
        serial: Serial,
        id: TaskId,
        state: State,
        replayed: bool,
    },
    /// It was refused.
    Refused {
        call: CallId,
        serial: Serial,
        code: Code,
    },
    /// A letter is to be run again.
    Replaying {
        letter: TaskId,
    },
    /// A read, or a wait of at most so long.
    Looking {
        call: CallId,
        id: TaskId,
        wait: Option<Duration>,
    },
    /// What it was told.
    Looked {
        call: CallId,
        record: Box<TaskRecord>,
    },
    /// A caller who follows a task asks for what comes next, having seen this.
    Following {
        call: CallId,
        id: TaskId,
        seen: Option<Revision>,
    },
    /// What came; nothing when it has seen the end, or the server stops.
    Followed {
        call: CallId,
        record: Option<Box<TaskRecord>>,
    },
    /// It was refused.
    NotShown {
        call: CallId,
        code: Code,
    },
    Cancelling {
        call: CallId,
        id: TaskId,
    },
    Cancelled {
        call: CallId,
        id: TaskId,
        stopped: Stopped,
        state: State,
    },
    NotCancelled {
        call: CallId,
        code: Code,
    },
    Predicting {
        call: CallId,
        serial: Serial,
        may: May,
        limit: Duration,
        /// The task that it becomes at its limit, if its caller takes one.
        goes_on: Option<Order>,
    },
    /// The serial that the answer is of, or why there is none.
    Predicted {
        call: CallId,
        serial: Serial,
        answer: Result<Serial, Code>,
    },
    /// The caller has gone, or the server died, before an answer.
    Unanswered {
        call: CallId,
    },

    /// A record is so now.
    Changed(Box<TaskRecord>),

    /// An instance takes batches from now on, or no more.
    Up {
        model: usize,
        instance: InstanceId,
    },
    Down {
        model: usize,
        instance: InstanceId,
    },
    /// An instance was given this.
    Took {
        model: usize,
        instance: InstanceId,
        batch: BatchId,
        serials: Vec<Serial>,
    },
    /// It has been told that nobody wants this.
    Told {
        model: usize,
        batch: BatchId,
        serial: Serial,
    },
    /// And has ended it.
    Left {
        model: usize,
        batch: BatchId,
    },
}

/// With its time: by the clock that does not jump, and by the one that does.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) wall: Timestamp,
    pub(crate) what: What,
}

/// A history that is being written.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Entry>>);

impl Log {
    pub(crate) fn note(&self, clock: &Clock, what: What) {
        let (at, wall) = (clock.elapsed(), clock.wall());
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Entry { at, wall, what });
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Equal for equal histories.
pub(crate) fn digest(history: &[Entry]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for entry in history {
        format!("{entry:?}").hash(&mut hasher);
    }
    hasher.finish()
}

/// The number of the model that a record is of: they are called by letters.
pub(crate) fn model_of(record: &TaskRecord) -> usize {
    let letter = record.model.as_str().bytes().next().unwrap_or(b'a');
    usize::from(letter - b'a')
}

/// The serial that a record tells.
pub(crate) fn serial_of(record: &TaskRecord) -> Option<Serial> {
    let text = std::str::from_utf8(record.metadata.as_deref()?).ok()?;
    text.trim_start_matches("{\"serial\":")
        .trim_end_matches('}')
        .parse()
        .ok()
}
