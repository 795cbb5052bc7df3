//! A random life of a store, and a record of it: what had been answered after each step, how long the log was then, and
//! which payload files there were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cresset_queue::{
    Broker, Cancelled, Completion, Finished, Lease, LeaseRequest, NewTask, Release, ResultStore, Retry, Turn,
};
use cresset_queue_sql::{Durability, SqliteOptions, SqliteStore};
use cresset_task::{Attempt, Failure, ModelName, Outcome, Payload, State, TaskId, Timestamp};
use tokio::task::JoinSet;

use crate::folder::{beside, payload_files};
use cresset_queue::conformance::Dice;

const INLINE_BYTES: usize = 1_000;
const RESULT_TTL: Duration = Duration::from_secs(10);
/// Sizes of payloads: in rows, in rows of several pages, in files.
const SIZES: [usize; 5] = [1, 40, 900, 1_001, 9_000];
/// A life goes on until its log is as long as this: one in which next to nothing is submitted would prove next to nothing.
const LOG_BYTES_MIN: usize = 60 * 4_120;
/// A log shorter than this is not moved into the database by itself.
const LOG_BYTES_MAX: usize = 900 * 4_120;

pub(crate) fn model() -> ModelName {
    "digits".parse().unwrap()
}

pub(crate) fn at(second: usize) -> Timestamp {
    Timestamp::from_micros(1_000_000 * (1 + second as i64))
}

pub(crate) fn open(path: &Path, durability: Durability) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        max_inline_bytes: INLINE_BYTES,
        result_ttl: RESULT_TTL,
        durability,
        ..SqliteOptions::at(path)
    })
    .unwrap()
}

/// What was answered of a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) attempt: Attempt,
    pub(crate) input: Payload,
    pub(crate) outcome: Option<Outcome>,
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    Task(Told),
    Purged,
}

/// How things stood when a step had been answered.
#[derive(Clone, Default)]
pub(crate) struct Step {
    pub(crate) what: &'static str,
    pub(crate) fates: BTreeMap<TaskId, Fate>,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) log_bytes: usize,
}

pub(crate) struct Recording {
    pub(crate) seed: u64,
    /// The database, which stays as it is: everything is in the log.
    pub(crate) base: Vec<u8>,
    pub(crate) log: Vec<u8>,
    /// The first one is before anything was done.
    pub(crate) steps: Vec<Step>,
}

impl Recording {
    pub(crate) async fn make(seed: u64, steps: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tasks.db");
        open(&path, Durability::Fsync).close().await.unwrap();
        let base = fs::read(&path).unwrap();
        let store = open(&path, Durability::Fsync);
        let mut life = Life {
            store,
            dice: Dice::new(seed),
            fates: BTreeMap::new(),
            second: 0,
        };
        let look = |life: &Life, what| Step {
            what,
            fates: life.fates.clone(),
            files: payload_files(&path),
            log_bytes: fs::metadata(beside(&path, "-wal")).map_or(0, |m| m.len() as usize),
        };
        let mut recorded = vec![look(&life, "start")];
        let mut log_bytes = 0;
        while (recorded.len() <= steps || log_bytes < LOG_BYTES_MIN) && log_bytes <= LOG_BYTES_MAX {
            let what = life.step().await;
            let step = look(&life, what);
            log_bytes = step.log_bytes;
            recorded.push(step);
        }
        let log = fs::read(beside(&path, "-wal")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), base, "everything is in the log");
        Self {
            seed,
            base,
            log,
            steps: recorded,
        }
    }
}

struct Life {
    store: SqliteStore,
    dice: Dice,
    fates: BTreeMap<TaskId, Fate>,
    second: usize,
}

impl Life {
    /// One thing at a time, or several at once; answered in full when this returns.
    async fn step(&mut self) -> &'static str {
        self.second += 1;
        match self.dice.below(12) {
            0..=2 => self.submit().await,
            3..=5 => self.lease().await,
            6 | 7 => self.finish().await,
            8 => self.retry().await,
            9 => self.release().await,
            10 => self.cancel().await,
            _ => self.purge().await,
        }
    }

    fn payload(&mut self) -> Payload {
        let size = self.dice.pick(&SIZES).unwrap();
        let digit = b'1' + self.dice.below(9) as u8;
        Payload::Json(vec![digit; size].into())
    }

    fn in_state(&self, is: impl Fn(State) -> bool) -> Vec<TaskId> {
        let of = |(id, fate): (&TaskId, &Fate)| match fate {
            Fate::Task(told) if is(told.state) => Some(*id),
            _ => None,
        };
        self.fates.iter().filter_map(of).collect()
    }

    fn told(&mut self, id: TaskId) -> &mut Told {
        match self.fates.get_mut(&id) {
            Some(Fate::Task(told)) => told,
            other => panic!("{id}: {other:?}"),
        }
    }

    async fn submit(&mut self) -> &'static str {
        let mut calls = JoinSet::new();
        for _ in 0..=self.dice.below(4) {
            let new = NewTask {
                turn: Turn::from_micros(self.second as i64),
                ..NewTask::new(model(), self.payload(), at(self.second))
            };
            let told = Told {
                state: State::Pending,
                attempt: Attempt(0),
                input: new.payload.clone(),
                outcome: None,
            };
            self.fates.insert(new.id, Fate::Task(told));
            let store = self.store.clone();
            calls.spawn(async move { store.submit(new).await.unwrap() });
        }
        calls.join_all().await;
        "submit"
    }

    async fn lease(&mut self) -> &'static str {
        let request = LeaseRequest {
            model: model(),
            max_tasks: 1 + self.dice.below(3),
            max_bytes: usize::MAX,
            now: at(self.second),
        };
        for Lease { id, attempt, .. } in self.store.lease(request).await.unwrap() {
            let told = self.told(id);
            (told.state, told.attempt) = (State::Started, attempt);
        }
        "lease"
    }

    async fn finish(&mut self) -> &'static str {
        let mut completions = Vec::new();
        for id in self.in_state(|state| state == State::Started).into_iter().take(2) {
            let outcome = match self.dice.below(3) {
                0 => Outcome::Failure(Failure::new(cresset_task::Code::ModelError, "ValueError", "boom")),
                _ => Outcome::Success(self.payload()),
            };
            let finished_at = at(self.second);
            let told = self.told(id);
            told.state = match outcome {
                Outcome::Success(_) => State::Success,
                _ => State::Failure,
            };
            told.outcome = Some(outcome.clone());
            completions.push(Completion {
                id,
                attempt: told.attempt,
                redeliveries: 0,
                history: Vec::new(),
                outcome,
                version: None,
                finished_at,
                evidence: None,
                cached: false,
            });
        }
        let finished = self.store.finish(completions).await.unwrap();
        assert!(finished.iter().all(|f| *f == Finished::Recorded));
        "finish"
    }

    async fn retry(&mut self) -> &'static str {
        let started = self.in_state(|state| state == State::Started);
        if let Some(id) = self.dice.pick(&started) {
            let due_at = at(self.second);
            let told = self.told(id);
            told.state = State::Retry;
            let retry = Retry {
                id,
                attempt: told.attempt,
                redeliveries: 0,
                history: Vec::new(),
                due_at,
            };
            assert_eq!(self.store.retry(vec![retry]).await.unwrap(), [Finished::Recorded]);
        }
        "retry"
    }

    async fn release(&mut self) -> &'static str {
        let started = self.in_state(|state| state == State::Started);
        if let Some(id) = self.dice.pick(&started) {
            let told = self.told(id);
            told.state = State::Pending;
            let attempt = told.attempt;
            self.store.release(vec![Release { id, attempt }]).await.unwrap();
        }
        "release"
    }

    async fn cancel(&mut self) -> &'static str {
        let open = self.in_state(|state| !state.is_terminal());
        if let Some(id) = self.dice.pick(&open) {
            let cancelled = self.store.cancel(id, "enough", at(self.second)).await.unwrap();
            assert!(matches!(cancelled, Cancelled::Queued(_) | Cancelled::Leased(_)));
            let told = self.told(id);
            told.state = State::Revoked;
            told.outcome = Some(Outcome::Revoked {
                reason: "enough".into(),
            });
        }
        "cancel"
    }

    /// Whatever has ended by now.
    async fn purge(&mut self) -> &'static str {
        self.store
            .purge(at(self.second + 1).plus(RESULT_TTL))
            .await
            .unwrap();
        for id in self.in_state(State::is_terminal) {
            self.fates.insert(id, Fate::Purged);
        }
        "purge"
    }
}
