//! A store that refuses: who is told, for how long, and what is lost (nothing). And one on which another server works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cresset_engine::{Engine, EngineOptions, Watched};
use cresset_queue::{
    Broker, Bulks, Cancelled, Capabilities, Completion, DeadLetters, DeliveryPage, DeliveryQuery, Depth,
    Expiries, Finished, Idempotency, Lease, LeaseRequest, LetterFilter, LetterPage, LetterQuery, Load,
    Lookup, Neighbours, NewTask, News, Outbox, OutboxLoad, OutboxRequest, QueueError, QueueErrorKind,
    Redelivered, Release, Replayed, ResultStore, Retry, Sendings, Submitted, TaskList, TaskPage, TaskQuery,
    Tried, Unreadable,
};
use cresset_queue_sql::SqliteStore;
use cresset_runner::Unwanted;
use cresset_runner::testing::FakePool;
use cresset_task::{
    ClientKey, Code, DeadLetter, EventId, ModelName, Outcome, Ownership, Payload, State, TaskId, Timestamp,
};
use tokio::sync::{Mutex, RwLock, mpsc, watch};

use crate::house::{LONG, config, echo, store, submission, until};
use crate::inbox::Letterbox;

/// A store whose disk is full when it is told so, and that may have an inbox.
pub(crate) struct Moody {
    pub(crate) store: SqliteStore,
    full: AtomicBool,
    probes: AtomicUsize,
    /// What it leases cannot be read.
    damaged: AtomicBool,
    /// Submits wait while somebody holds it.
    pub(crate) door: RwLock<()>,
    knocks: AtomicUsize,
    /// What another server on it tells.
    news: Mutex<mpsc::Receiver<News>>,
    pub(crate) letterbox: Option<Letterbox>,
}

impl Moody {
    /// It, and where another server on it tells what it does.
    pub(crate) fn new(store: SqliteStore, letterbox: Option<Letterbox>) -> (Arc<Self>, mpsc::Sender<News>) {
        let (other, news) = mpsc::channel(16);
        let moody = Self {
            store,
            full: AtomicBool::new(false),
            probes: AtomicUsize::new(0),
            damaged: AtomicBool::new(false),
            door: RwLock::default(),
            knocks: AtomicUsize::new(0),
            news: Mutex::new(news),
            letterbox,
        };
        (Arc::new(moody), other)
    }

    /// Whether its disk is full from now on.
    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Submits that have begun.
    pub(crate) fn knocks(&self) -> usize {
        self.knocks.load(Ordering::SeqCst)
    }

    fn write(&self, operation: &'static str) -> Result<(), QueueError> {
        if self.full.load(Ordering::SeqCst) {
            let error = QueueError::new(QueueErrorKind::Unavailable, operation, "sqlite: cannot commit");
            return Err(error.because("database or disk is full"));
        }
        Ok(())
    }
}

#[async_trait]
impl Broker for Moody {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn submit(&self, task: NewTask) -> Result<Submitted, QueueError> {
        self.knocks.fetch_add(1, Ordering::SeqCst);
        let _open = self.door.read().await;
        self.write("submit")?;
        self.store.submit(task).await
    }
    async fn recall(&self, model: &ModelName, key: &Idempotency) -> Result<Option<Submitted>, QueueError> {
        self.store.recall(model, key).await
    }
    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, QueueError> {
        self.write("lease")?;
        let mut leases = self.store.lease(request).await?;
        if self.damaged.load(Ordering::SeqCst) {
            for lease in &mut leases {
                lease.payload = Err(Unreadable("it is missing".into()));
            }
        }
        Ok(leases)
    }
    async fn release(&self, leases: Vec<Release>) -> Result<(), QueueError> {
        self.write("release")?;
        self.store.release(leases).await
    }
    fn load(&self) -> Load {
        self.store.load()
    }

    fn client_load(&self, client: &ClientKey) -> Load {
        self.store.client_load(client)
    }

    fn depth(&self, model: &ModelName) -> Depth {
        self.store.depth(model)
    }
    async fn position(&self, id: TaskId) -> Result<Option<u64>, QueueError> {
        self.store.position(id).await
    }
    async fn probe(&self) -> Result<(), QueueError> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        self.write("probe")?;
        self.store.probe().await
    }
    async fn close(&self) -> Result<(), QueueError> {
        self.store.close().await
    }
}

/// Nothing here asks for bulks.
impl Bulks for Moody {}

#[async_trait]
impl Neighbours for Moody {
    /// The other server serves one model, called so.
    async fn served_elsewhere(&self, models: Vec<ModelName>) -> Result<Vec<ModelName>, QueueError> {
        Ok(models
            .into_iter()
            .filter(|model| model.as_str() == "elsewhere")
            .collect())
    }

    async fn news(&self) -> Vec<News> {
        match self.news.lock().await.recv().await {
            Some(news) => vec![news],
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl ResultStore for Moody {
    async fn finish(&self, completions: Vec<Completion>) -> Result<Vec<Finished>, QueueError> {
        self.write("finish")?;
        self.store.finish(completions).await
    }
    async fn retry(&self, retries: Vec<Retry>) -> Result<Vec<Finished>, QueueError> {
        self.write("retry")?;
        self.store.retry(retries).await
    }
    async fn cancel(&self, id: TaskId, reason: &str, now: Timestamp) -> Result<Cancelled, QueueError> {
        self.write("cancel")?;
        self.store.cancel(id, reason, now).await
    }
    async fn expire(&self, now: Timestamp) -> Result<Expiries, QueueError> {
        self.write("expire")?;
        self.store.expire(now).await
    }
    async fn fetch(&self, id: TaskId) -> Result<Lookup, QueueError> {
        self.store.fetch(id).await
    }
    async fn owner(&self, id: TaskId) -> Result<Ownership, QueueError> {
        self.store.owner(id).await
    }
    async fn purge(&self, now: Timestamp) -> Result<usize, QueueError> {
        self.write("purge")?;
        self.store.purge(now).await
    }
}

#[async_trait]
impl TaskList for Moody {
    async fn tasks(&self, query: TaskQuery) -> Result<TaskPage, QueueError> {
        self.store.tasks(query).await
    }
}

#[async_trait]
impl DeadLetters for Moody {
    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, QueueError> {
        self.store.letters(query).await
    }
    async fn letter(&self, id: TaskId) -> Result<Option<DeadLetter>, QueueError> {
        self.store.letter(id).await
    }
    async fn letter_input(&self, id: TaskId) -> Result<Option<Payload>, QueueError> {
        self.store.letter_input(id).await
    }
    async fn replay(&self, letter: TaskId, task: NewTask) -> Result<Replayed, QueueError> {
        self.write("replay")?;
        self.store.replay(letter, task).await
    }
    async fn discard(&self, id: TaskId) -> Result<bool, QueueError> {
        self.write("discard")?;
        self.store.discard(id).await
    }
    async fn discard_all(&self, filter: LetterFilter) -> Result<usize, QueueError> {
        self.write("discard")?;
        self.store.discard_all(filter).await
    }
}

#[async_trait]
impl Outbox for Moody {
    fn outbox(&self) -> watch::Receiver<OutboxLoad> {
        self.store.outbox()
    }
    fn outbox_of(&self, host: &str) -> u64 {
        self.store.outbox_of(host)
    }
    async fn outbox_lease(&self, request: OutboxRequest) -> Result<Sendings, QueueError> {
        self.write("outbox_lease")?;
        self.store.outbox_lease(request).await
    }
    async fn outbox_settle(&self, tried: Tried) -> Result<Finished, QueueError> {
        self.write("outbox_settle")?;
        self.store.outbox_settle(tried).await
    }
    async fn deliveries(&self, query: DeliveryQuery) -> Result<DeliveryPage, QueueError> {
        self.store.deliveries(query).await
    }
    async fn redeliver(&self, id: EventId, now: Timestamp) -> Result<Redelivered, QueueError> {
        self.write("redeliver")?;
        self.store.redeliver(id, now).await
    }
}

#[tokio::test]
async fn what_another_server_does_reaches_those_who_wait_here() {
    let dir = tempfile::tempdir().unwrap();
    let (moody, other) = Moody::new(store(dir.path()), None);
    let engine = Engine::start(moody.clone(), &EngineOptions::default());
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::by_hand(1, 2, events);
    engine.serve(Arc::new(config()), pool.clone(), news);
    let mut watching = engine.watch_tasks(None, None, None);
    for is_told in [true, false] {
        let id = engine.submit(submission("1")).await.unwrap().id;
        let waiter = engine.clone();
        #[expect(clippy::disallowed_methods, reason = "the test joins it")]
        let waiting = tokio::spawn(async move { waiter.wait(id, LONG).await });
        until(|| engine.residue().waiters == 1).await;
        // The other server has it, and ends it.
        let request = LeaseRequest {
            model: config().name,
            max_tasks: 1,
            max_bytes: usize::MAX,
            now: Timestamp::now(),
        };
        let lease = moody.store.lease(request).await.unwrap().remove(0);
        let end = Completion {
            id,
            attempt: lease.attempt,
            redeliveries: 0,
            history: Vec::new(),
            outcome: Outcome::Success(lease.payload.unwrap()),
            version: None,
            finished_at: Timestamp::now(),
            evidence: None,
            cached: false,
        };
        moody.store.finish(vec![end]).await.unwrap();
        let told = News::Moved {
            id,
            model: config().name,
            state: State::Success,
            was_leased: false,
        };
        other
            .send(if is_told { told } else { News::LookAgain })
            .await
            .unwrap();
        let record = waiting.await.unwrap().unwrap().record;
        assert_eq!((record.id, record.state), (id, State::Success));
    }
    let mut states = Vec::new();
    while states.len() < 3 {
        match watching.next().await {
            Some(Watched::Change(change)) => states.push(change.state),
            other => panic!("not a change but {other:?}"),
        }
    }
    assert_eq!(states, [State::Pending, State::Success, State::Pending]);
    // A task that it stopped is let go of here.
    pool.all_up();
    let id = engine.submit(submission("2")).await.unwrap().id;
    let job = pool.next_job().await;
    moody
        .store
        .cancel(id, "elsewhere", Timestamp::now())
        .await
        .unwrap();
    let stopped = News::Moved {
        id,
        model: config().name,
        state: State::Revoked,
        was_leased: true,
    };
    other.send(stopped).await.unwrap();
    until(|| !pool.cancelled().is_empty()).await;
    assert_eq!(pool.cancelled(), [(job.batch, 0, Unwanted::Cancelled)]);
    engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_full_disk_is_told_until_it_has_room_again_and_costs_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let (moody, _other) = Moody::new(store(dir.path()), None);
    let engine = Engine::start(moody.clone(), &EngineOptions::default());
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::by_hand(1, 2, events);
    engine.serve(Arc::new(config()), pool.clone(), news);
    pool.all_up();
    until(|| engine.health().ready).await;
    let accepted = engine.submit(submission("1")).await.unwrap();
    let job = pool.next_job().await;

    moody.full.store(true, Ordering::SeqCst);
    // Its result has nowhere to go: it is kept, and tried again.
    assert!(pool.finish(job.batch, echo(job.items)));
    let refused = engine.submit(submission("2")).await.unwrap_err();
    assert_eq!(refused.code(), Code::StoreUnavailable);
    assert_eq!(refused.code().http_status(), 503);
    assert!(refused.retry_after().is_some());
    let health = engine.health();
    assert!(!health.ready);
    let why = health.store.unwrap();
    assert!(why.contains("disk is full"), "{why}");
    // It stays told for as long as it is so, whoever asks.
    let probes = moody.probes.load(Ordering::SeqCst);
    tokio::time::timeout(LONG, async {
        while moody.probes.load(Ordering::SeqCst) < probes + 2 {
            assert!(engine.health().store.is_some());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();

    moody.full.store(false, Ordering::SeqCst);
    until(|| engine.health().ready).await;
    let view = engine.wait(accepted.id, LONG).await.unwrap();
    assert_eq!((view.record.state, view.record.attempts.0), (State::Success, 1));
    engine.submit(submission("3")).await.unwrap();
    engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn who_waits_for_a_task_whose_input_is_damaged_hears_of_its_end_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (moody, _other) = Moody::new(store(dir.path()), None);
    let engine = Engine::start(moody.clone(), &EngineOptions::default());
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::by_hand(1, 2, events);
    engine.serve(Arc::new(config()), pool.clone(), news);
    let mut watching = engine.watch_tasks(None, None, None);
    moody.damaged.store(true, Ordering::SeqCst);
    let id = engine.submit(submission("1")).await.unwrap().id;
    let waiter = engine.clone();
    #[expect(clippy::disallowed_methods, reason = "the test joins it")]
    let waiting = tokio::spawn(async move { waiter.wait(id, LONG).await });
    until(|| engine.residue().waiters == 1).await;
    pool.all_up();
    // Well before its wait is over.
    let told = tokio::time::timeout(LONG / 2, waiting).await.unwrap();
    let record = told.unwrap().unwrap().record;
    let Some(Outcome::Failure(failure)) = record.outcome else {
        panic!("not a failure but {:?}", record.outcome)
    };
    assert_eq!((record.state, failure.code), (State::Failure, Code::Internal));
    assert_eq!(failure.type_, "UnreadableInput");
    assert_eq!(failure.message, "the stored input cannot be read: it is missing");
    let mut states = Vec::new();
    while states.last() != Some(&State::Failure) {
        match watching.next().await {
            Some(Watched::Change(change)) => states.push(change.state),
            other => panic!("not a change but {other:?}"),
        }
    }
    assert_eq!(states, [State::Pending, State::Started, State::Failure]);
    // The next one, whose input is whole, runs.
    moody.damaged.store(false, Ordering::SeqCst);
    let id = engine.submit(submission("2")).await.unwrap().id;
    let job = pool.next_job().await;
    assert!(pool.finish(job.batch, echo(job.items)));
    let view = engine.wait(id, LONG).await.unwrap();
    assert_eq!(view.record.state, State::Success);
    engine.stop(Duration::ZERO).await;
}
