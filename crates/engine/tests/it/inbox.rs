//! Rows of an inbox that is a list: what the engine makes of them, whatever the store answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_engine::{
    Engine, EngineOptions, InboxInput, InboxReader, InboxRow, Stopped, Submission, Watched, inbox_refusal,
};
use cresset_queue::{
    Broker, Inbox, InboxEntry, InboxLoad, InboxQuery, InboxTaken, QueueError, QueueErrorKind,
};
use cresset_runner::testing::FakePool;
use cresset_task::{Callback, Code, Failure, Outcome, Payload, State, TaskId, Timestamp};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::house::{LONG, config, echo, store, submission, until};
use crate::store::Moody;

/// An inbox in memory, which refuses what the test says.
pub(crate) struct Letterbox {
    rows: Mutex<Vec<InboxRow>>,
    bell: watch::Sender<u64>,
    /// It fails every step that has this row.
    poison: Mutex<Option<TaskId>>,
    /// Somebody else has it.
    held: Mutex<Option<TaskId>>,
    unfit: Mutex<HashMap<TaskId, String>>,
    failed: Mutex<HashMap<TaskId, Failure>>,
    revoked: Mutex<HashMap<TaskId, Outcome>>,
    steps: AtomicUsize,
}

impl Letterbox {
    fn new() -> Self {
        Self {
            rows: Mutex::default(),
            bell: watch::channel(0).0,
            poison: Mutex::default(),
            held: Mutex::default(),
            unfit: Mutex::default(),
            failed: Mutex::default(),
            revoked: Mutex::default(),
            steps: AtomicUsize::new(0),
        }
    }

    fn put(&self, model: &str, text: &str) -> TaskId {
        let id = TaskId::fresh();
        self.rows.lock().unwrap().push(InboxRow {
            id,
            model: model.parse().unwrap(),
            input: InboxInput::Json(Bytes::copy_from_slice(text.as_bytes())),
            priority: 0,
            due_at: None,
            expires_at: None,
            deadline_at: None,
            metadata: None,
            retry: None,
            callback_url: None,
            callback_events: None,
            inserted_at: Timestamp::now(),
            tenant: None,
        });
        id
    }

    fn ring(&self) {
        self.bell.send_modify(|count| *count += 1);
    }

    fn len(&self) -> usize {
        self.rows.lock().unwrap().len()
    }
}

#[async_trait]
impl Inbox for Moody {
    fn inbox(&self) -> Option<watch::Receiver<u64>> {
        Some(self.letterbox.as_ref()?.bell.subscribe())
    }

    async fn inbox_rows(&self, query: InboxQuery) -> Result<Vec<InboxRow>, QueueError> {
        let letterbox = self.letterbox.as_ref().unwrap();
        let (rows, unfit) = (letterbox.rows.lock().unwrap(), letterbox.unfit.lock().unwrap());
        let given = rows
            .iter()
            .filter(|row| !query.skip.contains(&row.model) && !unfit.contains_key(&row.id));
        Ok(given.take(query.max_rows).cloned().collect())
    }

    async fn inbox_row(&self, id: TaskId, _max: usize) -> Result<Option<InboxRow>, QueueError> {
        let rows = self.letterbox.as_ref().unwrap().rows.lock().unwrap();
        Ok(rows.iter().find(|row| row.id == id).cloned())
    }

    async fn inbox_take(
        &self,
        entries: Vec<InboxEntry>,
        _now: Timestamp,
    ) -> Result<Vec<InboxTaken>, QueueError> {
        let letterbox = self.letterbox.as_ref().unwrap();
        letterbox.steps.fetch_add(1, Ordering::SeqCst);
        let poison = *letterbox.poison.lock().unwrap();
        let is_poison =
            |entry: &InboxEntry| Some(entry.task().id) == poison && !matches!(entry, InboxEntry::Unfit(..));
        if entries.iter().any(is_poison) {
            return Err(QueueError::new(
                QueueErrorKind::Internal,
                "inbox_take",
                "cannot bear it",
            ));
        }
        let held = *letterbox.held.lock().unwrap();
        let mut taken = Vec::new();
        for entry in entries {
            let id = entry.task().id;
            if Some(id) == held {
                taken.push(InboxTaken::Gone);
                continue;
            }
            taken.push(match entry {
                InboxEntry::Task(task) => {
                    self.submit(*task).await?;
                    InboxTaken::Taken
                }
                InboxEntry::Ended(_, Outcome::Failure(failure)) => {
                    letterbox.failed.lock().unwrap().insert(id, failure);
                    InboxTaken::Taken
                }
                InboxEntry::Ended(_, outcome) => {
                    letterbox.revoked.lock().unwrap().insert(id, outcome);
                    InboxTaken::Taken
                }
                InboxEntry::Unfit(_, why) => {
                    letterbox.unfit.lock().unwrap().insert(id, why);
                    InboxTaken::Refused
                }
            });
            if !letterbox.unfit.lock().unwrap().contains_key(&id) {
                letterbox.rows.lock().unwrap().retain(|row| row.id != id);
            }
        }
        Ok(taken)
    }

    async fn inbox_load(&self) -> Result<InboxLoad, QueueError> {
        let rows = self.letterbox.as_ref().unwrap().len() as u64;
        Ok(InboxLoad {
            rows,
            ..InboxLoad::default()
        })
    }
}

/// Takes every input but `"bad"`.
struct Plain;

impl InboxReader for Plain {
    fn read(&self, row: &InboxRow, _config: &ModelConfig) -> Result<Submission, Failure> {
        let InboxInput::Json(json) = &row.input else {
            return Err(inbox_refusal(Code::InvalidInput, "it is no JSON".into()));
        };
        if json == "\"bad\"" {
            return Err(inbox_refusal(Code::InvalidInput, "it is bad".into()));
        }
        Ok(Submission {
            model: row.model.clone(),
            input: Payload::Json(json.clone()),
            ..submission("")
        })
    }

    fn callback(&self, _row: &InboxRow) -> Option<Callback> {
        None
    }
}

struct Post {
    engine: Engine,
    moody: Arc<Moody>,
    pool: Arc<FakePool>,
    _dir: TempDir,
}

impl Post {
    fn open(config: ModelConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (moody, _other) = Moody::new(store(dir.path()), Some(Letterbox::new()));
        let engine = Engine::start(moody.clone(), &EngineOptions::default());
        let (events, news) = mpsc::channel(16);
        let pool = FakePool::by_hand(1, 2, events);
        engine.serve(Arc::new(config), pool.clone(), news);
        pool.all_up();
        Self {
            engine,
            moody,
            pool,
            _dir: dir,
        }
    }

    fn letterbox(&self) -> &Letterbox {
        self.moody.letterbox.as_ref().unwrap()
    }
}

#[tokio::test]
async fn one_row_that_the_store_cannot_bear_is_found_and_left_and_costs_the_others_nothing() {
    let post = Post::open(config());
    let letterbox = post.letterbox();
    let ids: Vec<TaskId> = (0..5)
        .map(|number| letterbox.put("echo", &number.to_string()))
        .collect();
    *letterbox.poison.lock().unwrap() = Some(ids[2]);
    post.engine.take_in(Arc::new(Plain), 1_000);
    until(|| letterbox.len() == 1).await;
    let why = letterbox.unfit.lock().unwrap().get(&ids[2]).cloned().unwrap();
    assert!(why.contains("cannot bear it"), "{why}");
    let steps = letterbox.steps.load(Ordering::SeqCst);
    // It is not tried again, however often the bell rings.
    let next = letterbox.put("echo", "9");
    letterbox.ring();
    until(|| letterbox.len() == 1).await;
    assert_eq!(letterbox.steps.load(Ordering::SeqCst), steps + 1);
    assert!(post.engine.record(next).await.unwrap().is_some());
    assert!(post.engine.health().store.is_none(), "the store works");
    post.engine.stop(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn rows_that_somebody_holds_are_looked_at_again_without_a_bell() {
    let post = Post::open(config());
    let letterbox = post.letterbox();
    let held = letterbox.put("echo", "1");
    *letterbox.held.lock().unwrap() = Some(held);
    post.engine.take_in(Arc::new(Plain), 1_000);
    until(|| letterbox.steps.load(Ordering::SeqCst) > 0).await;
    *letterbox.held.lock().unwrap() = None;
    until(|| letterbox.len() == 0).await;
    assert!(post.engine.record(held).await.unwrap().is_some());
    post.engine.stop(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn a_row_of_a_model_that_another_server_has_is_left_for_that_one() {
    let post = Post::open(config());
    let letterbox = post.letterbox();
    let theirs = letterbox.put("elsewhere", "1");
    let ours = letterbox.put("echo", "1");
    let nobodys = letterbox.put("nowhere", "1");
    post.engine.take_in(Arc::new(Plain), 1_000);
    until(|| letterbox.len() == 1).await;
    assert!(post.engine.record(ours).await.unwrap().is_some());
    let failed: Vec<TaskId> = letterbox.failed.lock().unwrap().keys().copied().collect();
    assert_eq!(failed, [nobodys], "not {theirs}");
    post.engine.stop(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn what_can_never_be_taken_fails_and_what_has_no_room_waits_in_its_order() {
    let mut config = config();
    config.limits.max_queue = 2;
    config.batching.max_batch_size = 1;
    let post = Post::open(config);
    let letterbox = post.letterbox();
    let ids: Vec<TaskId> = (0..8)
        .map(|number| letterbox.put("echo", &number.to_string()))
        .collect();
    let (unknown, bad) = (letterbox.put("ecko", "1"), letterbox.put("other", "1"));
    post.engine.take_in(Arc::new(Plain), 1_000);
    until(|| letterbox.failed.lock().unwrap().len() == 2).await;
    let codes: Vec<Code> = [unknown, bad]
        .iter()
        .map(|id| letterbox.failed.lock().unwrap()[id].code)
        .collect();
    assert_eq!(
        codes,
        [Code::UnknownModel; 2],
        "they did not wait for the model that is full"
    );
    assert_eq!(
        letterbox.failed.lock().unwrap()[&unknown].message,
        "no model is called `ecko`; did you mean `echo`?"
    );
    let mut ran = Vec::new();
    while ran.len() < ids.len() {
        let job = post.pool.next_job().await;
        ran.extend(job.items.iter().map(|item| match item {
            Payload::Json(json) => String::from_utf8(json.to_vec()).unwrap(),
            Payload::Tensors(_) => unreachable!(),
        }));
        assert!(
            post.moody.depth(&"echo".parse().unwrap()).tasks <= 2,
            "the bound holds"
        );
        assert!(post.pool.finish(job.batch, echo(job.items)));
    }
    assert_eq!(ran, (0..8).map(|number| number.to_string()).collect::<Vec<_>>());
    for id in ids {
        assert!(
            post.engine
                .wait(id, LONG)
                .await
                .unwrap()
                .record
                .state
                .is_terminal()
        );
    }
    let figures = post.engine.render_metrics();
    assert!(
        figures.contains("cresset_inbox_taken_total{outcome=\"queued\"} 8"),
        "{figures}"
    );
    assert!(
        figures.contains("cresset_inbox_taken_total{outcome=\"failed\"} 2"),
        "{figures}"
    );
    post.engine.stop(LONG).await;
}

#[tokio::test]
async fn a_row_is_revoked_wherever_its_model_is_and_though_there_is_no_room_for_it() {
    let mut config = config();
    config.limits.max_queue = 0;
    let post = Post::open(config);
    let letterbox = post.letterbox();
    let mut watching = post.engine.watch_tasks(None, None, None);
    let rows = [letterbox.put("echo", "1"), letterbox.put("elsewhere", "1")];
    post.engine.take_in(Arc::new(Plain), 1_000);
    for id in &rows {
        let cancelled = post.engine.cancel(*id).await.unwrap();
        assert_eq!((cancelled.id, cancelled.state), (*id, State::Revoked));
        assert_eq!(cancelled.stopped, Stopped::Before);
        assert!(matches!(
            letterbox.revoked.lock().unwrap().get(id),
            Some(Outcome::Revoked { reason }) if reason == "it was cancelled"
        ));
        match watching.next().await {
            Some(Watched::Change(change)) => assert_eq!((change.id, change.state), (*id, State::Revoked)),
            other => panic!("not a change but {other:?}"),
        }
    }
    assert_eq!((letterbox.len(), letterbox.failed.lock().unwrap().len()), (0, 0));
    let figures = post.engine.render_metrics();
    assert!(
        figures.contains("cresset_inbox_taken_total{outcome=\"revoked\"} 2"),
        "{figures}"
    );
    assert!(
        post.engine.cancel(TaskId::fresh()).await.is_err(),
        "no row and no task"
    );
    post.engine.stop(std::time::Duration::ZERO).await;
}
