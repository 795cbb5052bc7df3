//! The one task that empties the inbox, round by round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cresset_queue::{InboxEntry, InboxQuery, InboxTaken, QueueError};
use cresset_task::{ModelName, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Inbox, Read, Verdict, is_of_a_row};
use crate::admission::Claims;
use crate::api::EngineError;
use crate::engine::Engine;

/// Rows of a round: some groups of a store's writer, so that submits do not wait behind a full inbox.
const ROUND_ROWS: usize = 128;
/// Bytes of their inputs, together.
const ROUND_BYTES: usize = 4 << 20;
/// The inbox is looked at this often without a bell: one may be lost with its connection.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A model without room is asked again after this, then after twice as long, and so on to the last.
const ROOM_LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Rows that somebody else holds are looked at again after this.
const HELD_PAUSE: Duration = Duration::from_millis(100);
/// The same after a failure.
const FAILED_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// What lies there is counted no more often.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// A model whose rows wait: for room, or for another server.
struct Full {
    until: Instant,
    pause: Duration,
}

struct Taker {
    engine: Engine,
    inbox: Arc<Inbox>,
    full: HashMap<ModelName, Full>,
    /// Why the last of them waits.
    why: Option<String>,
    failing: Duration,
    measured: Option<Instant>,
    /// The other servers know what is served here.
    is_known: bool,
}

/// What a round came to.
#[derive(Default)]
struct Round {
    /// Rows that are no rows any more.
    taken: usize,
    /// Rows that somebody else had.
    held: usize,
}

/// Empties the inbox until the engine drains.
pub(super) async fn run(engine: Engine, inbox: Arc<Inbox>, mut bell: watch::Receiver<u64>) {
    let draining = engine.inner.shared.draining.clone();
    let mut taker = Taker {
        engine,
        inbox,
        full: HashMap::new(),
        why: None,
        failing: FAILED_PAUSES.0,
        measured: None,
        is_known: false,
    };
    while !draining.is_cancelled() {
        bell.borrow_and_update();
        let (pause, is_awake) = match taker.round().await {
            Ok(round) if round.taken > 0 => {
                taker.measure(false).await;
                continue;
            }
            Ok(round) => {
                taker.measure(true).await;
                (taker.next_look(round.held > 0), true)
            }
            Err(error) => (taker.failed(&error), false),
        };
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            Ok(()) = bell.changed(), if is_awake => {}
            () = sleep(pause) => {}
        }
    }
}

impl Taker {
    /// Takes what there is room for, up to a bounded number of rows.
    async fn round(&mut self) -> Result<Round, EngineError> {
        if !self.is_known {
            self.engine.introduce().await?;
            self.is_known = true;
        }
        let now = Instant::now();
        let waits = self.full.iter().filter(|(_, full)| full.until > now);
        let query = InboxQuery {
            skip: waits.map(|(model, _)| model.clone()).collect(),
            max_rows: ROUND_ROWS,
            max_bytes: ROUND_BYTES,
            max_row_bytes: self.inbox.max_row_bytes,
        };
        let rows = self.engine.inner.shared.backend.inbox_rows(query).await?;
        if rows.is_empty() {
            // What is skipped still waits, for what it waited for.
            self.worked();
            return Ok(Round::default());
        }
        let engine = self.engine.clone();
        let read = engine.read(&self.inbox, rows).await?;
        let (entries, rooms, waiting) = admitted(&engine, &self.inbox, &read);
        let taken = self.take(&entries).await?;
        drop(rooms); // the store has counted them
        engine.publish(&entries, &taken);
        self.note(&entries, &read, waiting, now);
        self.worked();
        let held = taken.iter().filter(|taken| **taken == InboxTaken::Gone).count();
        Ok(Round {
            taken: taken.len() - held,
            held,
        })
    }

    /// Has the store make tasks of them. One that it cannot bear is found, and is not tried again.
    async fn take(&self, entries: &[InboxEntry]) -> Result<Vec<InboxTaken>, EngineError> {
        match self.ask(entries.to_vec()).await {
            Err(error) if is_of_a_row(&error) => {}
            answer => return Ok(answer?),
        }
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let alone = match self.ask(vec![entry.clone()]).await {
                Err(error) if is_of_a_row(&error) => {
                    let unfit = InboxEntry::Unfit(Box::new(entry.task().clone()), words(&error));
                    self.ask(vec![unfit]).await
                }
                answer => answer,
            };
            taken.extend(alone?);
        }
        Ok(taken)
    }

    async fn ask(&self, entries: Vec<InboxEntry>) -> Result<Vec<InboxTaken>, QueueError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let shared = &self.engine.inner.shared;
        let answer = shared.backend.inbox_take(entries, Timestamp::now()).await;
        match &answer {
            Ok(_) => shared.store.works(),
            Err(error) => {
                shared.store.failed(error);
                self.engine.look_everywhere();
            }
        }
        answer
    }

    /// Which models wait for room now, and until when they are left alone.
    fn note(
        &mut self,
        entries: &[InboxEntry],
        read: &[Read],
        mut waiting: HashMap<ModelName, String>,
        now: Instant,
    ) {
        for model in read.iter().map(|read| &read.row.model) {
            let Some(why) = waiting.remove(model) else {
                // It had room, or its reason has been noted at an earlier row.
                if self.full.get(model).is_some_and(|full| full.until <= now) {
                    self.full.remove(model);
                }
                continue;
            };
            let has_moved = entries.iter().any(|entry| entry.task().model == *model);
            let pause = match self.full.get(model) {
                Some(full) if !has_moved => (full.pause * 2).min(ROOM_LOOKS.1),
                _ => ROOM_LOOKS.0,
            };
            let until = now + pause;
            self.full.insert(model.clone(), Full { until, pause });
            self.why = Some(why);
        }
    }

    fn worked(&mut self) {
        self.failing = FAILED_PAUSES.0;
        if self.full.is_empty() {
            self.why = None;
        }
        self.inbox.state.works(self.why.clone());
    }

    /// Notes a failure; gives how long to wait.
    fn failed(&mut self, error: &EngineError) -> Duration {
        self.inbox.state.fails(words(error));
        let pause = self.failing;
        self.failing = (pause * 2).min(FAILED_PAUSES.1);
        pause
    }

    fn next_look(&self, is_held: bool) -> Duration {
        let now = Instant::now();
        let room = (self.full.values()).map(|full| full.until.saturating_duration_since(now));
        let held = is_held.then_some(HELD_PAUSE);
        room.chain(held).chain([LOOK_EVERY]).min().unwrap_or(LOOK_EVERY)
    }

    /// Counts what lies there, if that was long ago; where nothing is left to do, and something was there before, at once.
    async fn measure(&mut self, is_idle: bool) {
        let known = self.inbox.state.load();
        let is_due = self.measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY);
        let may_be_empty = is_idle && known.rows > 0 && self.full.is_empty();
        if !is_due && !may_be_empty {
            return;
        }
        self.measured = Some(Instant::now());
        match self.engine.inner.shared.backend.inbox_load().await {
            Ok(load) => self.inbox.state.measured(load),
            Err(error) => tracing::debug!(error = words(&error), "the inbox cannot be counted"),
        }
    }
}

/// What rows become, with their room; and why those wait that do. Behind one that waits, its model's others do.
fn admitted<'a>(
    engine: &'a Engine,
    inbox: &Inbox,
    read: &'a [Read],
) -> (Vec<InboxEntry>, Vec<Claims<'a>>, HashMap<ModelName, String>) {
    let (mut entries, mut rooms, mut waiting) = (Vec::new(), Vec::new(), HashMap::new());
    for read in read {
        if waiting.contains_key(&read.row.model) {
            continue;
        }
        match engine.admit_row(inbox, read) {
            Verdict::Enters(entry, room) => {
                entries.push(entry);
                rooms.extend(room);
            }
            Verdict::Waits(why) => {
                waiting.insert(read.row.model.clone(), why);
            }
        }
    }
    (entries, rooms, waiting)
}

/// An error and its causes, in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        words.push_str(": ");
        words.push_str(&below.to_string());
        cause = below.source();
    }
    words
}
