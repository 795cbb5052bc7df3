//! Answers of the store that get lost, and callers who do not stay for theirs: what was begun is done, and whoever should know
//! of it does. And what is in the queue without a chance is not asked for again and again.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cresset_config::{ModelConfig, Retry};
use cresset_engine::{Engine, EngineOptions, Submission};
use cresset_queue::kit::Ttl;
use cresset_queue::memory::{Effect, Fate, Fates, MemoryStore, Pause, Stable};
use cresset_runner::testing::FakePool;
use cresset_runner::{ItemEnd, JobEnd, Unwanted};
use cresset_task::simulated::Simulated;
use cresset_task::{State, TaskId, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::house::{LONG, config, echo, failure, submission, until};

const SOON: Duration = Duration::from_secs(1);

/// What becomes of the calls of one operation, as long as it is set.
#[derive(Default)]
struct Told {
    fate: Mutex<Option<(&'static str, Fate)>>,
    leases: AtomicUsize,
}

impl Told {
    fn set(&self, operation: &'static str, fate: Fate) {
        *self.fate.lock().unwrap() = Some((operation, fate));
    }

    /// The answer comes so late.
    fn answer_late(&self, operation: &'static str, sleep: Duration) {
        let after = Pause { yields: 0, sleep };
        self.set(
            operation,
            Fate {
                after,
                ..Fate::default()
            },
        );
    }

    /// From now on all goes well.
    fn mend(&self) {
        *self.fate.lock().unwrap() = None;
    }
}

impl Fates for Told {
    fn fate(&self, operation: &'static str) -> Fate {
        self.leases
            .fetch_add(usize::from(operation == "lease"), Ordering::Relaxed);
        let fate = self.fate.lock().unwrap();
        fate.filter(|(of, _)| *of == operation)
            .map_or_else(Fate::default, |(_, fate)| fate)
    }
}

struct Hut {
    engine: Engine,
    pool: Arc<FakePool>,
    told: Arc<Told>,
    stable: Stable,
}

fn hut(
    config: ModelConfig,
    pool: impl FnOnce(mpsc::Sender<cresset_runner::PoolEvent>) -> Arc<FakePool>,
) -> Hut {
    let told = Arc::new(Told::default());
    let stable = Stable::new(Ttl {
        results: LONG * 1_000,
        tombstones: LONG * 1_000,
        letters: LONG * 1_000,
        deliveries: LONG * 1_000,
    });
    let store = MemoryStore::open(&stable, told.clone(), Timestamp::now());
    let engine = Engine::start(Arc::new(store), &EngineOptions::default());
    let (events, news) = mpsc::channel(16);
    let pool = pool(events);
    engine.serve(Arc::new(config), pool.clone(), news);
    Hut {
        engine,
        pool,
        told,
        stable,
    }
}

fn by_hand(config: ModelConfig) -> Hut {
    hut(config, |events| FakePool::by_hand(1, 2, events))
}

impl Hut {
    fn only_task(&self) -> TaskId {
        let records = self.stable.records();
        assert_eq!(records.len(), 1);
        records[0].id
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_caller_hangs_up_while_it_is_stored_is_run() {
    let hut = hut(config(), |events| FakePool::automatic(1, 2, events, echo));
    hut.pool.all_up();
    sleep(SOON).await;
    hut.told.answer_late("submit", SOON);
    let call = hut.engine.submit(submission("1"));
    timeout(Duration::from_millis(10), call).await.unwrap_err();
    let record = hut.engine.wait(hut.only_task(), LONG).await.unwrap().record;
    assert_eq!(record.state, State::Success);
    hut.engine.stop(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_caller_hangs_up_while_it_is_stored_expires() {
    let hut = by_hand(config());
    sleep(SOON).await;
    hut.told.answer_late("submit", SOON);
    let expiring = Submission {
        expires_at: Some(Timestamp::now().plus(Duration::from_millis(1))),
        ..submission("1")
    };
    timeout(Duration::from_millis(10), hut.engine.submit(expiring))
        .await
        .unwrap_err();
    let record = hut.engine.wait(hut.only_task(), LONG).await.unwrap().record;
    assert_eq!(record.state, State::Revoked);
    hut.engine.stop(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_whose_caller_hangs_up_is_told_to_whom_it_concerns() {
    let hut = by_hand(config());
    hut.pool.all_up();
    let id = hut.engine.submit(submission("1")).await.unwrap().id;
    let job = hut.pool.next_job().await;
    hut.told.answer_late("cancel", SOON);
    let waiter = hut.engine.wait(id, LONG);
    let hang_up = timeout(Duration::from_millis(10), hut.engine.cancel(id));
    let began = Instant::now();
    let (told, hung_up) = tokio::join!(waiter, hang_up);
    hung_up.unwrap_err();
    assert_eq!(told.unwrap().record.state, State::Revoked);
    assert!(
        began.elapsed() <= SOON * 2,
        "it was told after {:?}",
        began.elapsed()
    );
    until(|| hut.pool.cancelled() == [(job.batch, 0, Unwanted::Cancelled)]).await;
    assert!(hut.pool.finish(job.batch, echo(job.items)));
    hut.engine.stop(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_answer_was_lost_is_told_to_those_who_wait() {
    let hut = by_hand(config());
    hut.pool.all_up();
    let id = hut.engine.submit(submission("1")).await.unwrap().id;
    let job = hut.pool.next_job().await;
    hut.told.set(
        "finish",
        Fate {
            effect: Effect::Lost,
            ..Fate::default()
        },
    );
    let began = Instant::now();
    let end = async {
        assert!(hut.pool.finish(job.batch, echo(job.items)));
        sleep(Duration::from_millis(20)).await;
        hut.told.mend();
    };
    let (told, ()) = tokio::join!(hut.engine.wait(id, LONG), end);
    assert_eq!(told.unwrap().record.state, State::Success);
    assert!(began.elapsed() <= SOON, "it was told after {:?}", began.elapsed());
    hut.engine.stop(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_expires_while_it_waits_for_another_try_is_revoked() {
    let mut config = config();
    config.retry = Retry {
        delay: SOON * 2,
        on: vec!["*".into()],
        ..Retry::default()
    };
    let hut = by_hand(config);
    hut.pool.all_up();
    let wall = Timestamp::now();
    let began = Instant::now();
    let _simulated = Simulated::begin(1, move || wall.plus(began.elapsed()));
    let expiring = Submission {
        expires_at: Some(wall.plus(SOON)),
        ..submission("1")
    };
    let id = hut.engine.submit(expiring).await.unwrap().id;
    let job = hut.pool.next_job().await;
    // It expires while it runs, which is nothing to it; but then it is queued again.
    sleep(SOON * 2).await;
    let raised = JobEnd::Items(vec![ItemEnd::Failed(failure("not yet"))]);
    assert!(hut.pool.finish(job.batch, raised));
    let record = hut.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!((record.state, record.retries), (State::Revoked, 1));
    assert!(
        began.elapsed() <= SOON * 4,
        "it was revoked after {:?}",
        began.elapsed()
    );
    hut.engine.stop(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_nothing_but_expired_tasks_is_not_asked_again_and_again() {
    let hut = by_hand(config());
    let (wall, began) = (Timestamp::now(), Instant::now());
    let jump = Arc::new(AtomicI64::new(0));
    let jumped = Arc::clone(&jump);
    let _simulated = Simulated::begin(1, move || {
        let micros = wall.plus(began.elapsed()).as_micros();
        Timestamp::from_micros(micros + jumped.load(Ordering::Relaxed))
    });
    let expiring = Submission {
        expires_at: Some(wall.plus(LONG)),
        ..submission("1")
    };
    let id = hut.engine.submit(expiring).await.unwrap().id;
    // The clock is set forwards, and the store refuses to revoke what has expired by it.
    let refused = Fate {
        effect: Effect::Refused,
        ..Fate::default()
    };
    hut.told.set("expire", refused);
    jump.store(3_600_000_000, Ordering::Relaxed);
    hut.pool.all_up();
    sleep(SOON * 2).await;
    let asked = hut.told.leases.load(Ordering::Relaxed);
    assert!(
        (1..100).contains(&asked),
        "it was asked {asked} times in two seconds"
    );
    hut.told.mend();
    assert_eq!(
        hut.engine.wait(id, LONG).await.unwrap().record.state,
        State::Revoked
    );
    hut.engine.stop(LONG).await;
}
