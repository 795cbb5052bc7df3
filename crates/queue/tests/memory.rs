//! The ports in memory keep every promise of the ports, and do to a call what they are told to.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::conformance::Harness;
use cresset_queue::kit::Ttl;
use cresset_queue::memory::{Effect, Fate, Fates, MemoryStore, NoFates, PURGE_MAX, Pause, Stable};
use cresset_queue::{Backend, LeaseRequest, Lookup, NewTask, QueueErrorKind, Turn};
use cresset_task::{Payload, Timestamp};

const TTL: Ttl = Ttl {
    results: Duration::from_secs(100),
    tombstones: Duration::from_secs(300),
    letters: Duration::from_secs(1_000),
    deliveries: Duration::from_secs(500),
};

struct Memory {
    stable: Stable,
    fates: Arc<dyn Fates>,
}

impl Memory {
    fn new(fates: impl Fates + 'static) -> Self {
        Self {
            stable: Stable::new(TTL),
            fates: Arc::new(fates),
        }
    }

    fn open_now(&self) -> Arc<dyn Backend> {
        let fates = Arc::clone(&self.fates);
        Arc::new(MemoryStore::open(&self.stable, fates, Timestamp::now()))
    }
}

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Arc<dyn Backend> {
        self.open_now()
    }

    async fn crash(&self, store: Arc<dyn Backend>) -> Arc<dyn Backend> {
        self.stable.crash();
        drop(store);
        self.open_now()
    }

    fn ttl(&self) -> Ttl {
        TTL
    }

    fn purge_max(&self) -> usize {
        PURGE_MAX
    }
}

/// Every call rests before its effect and after it.
struct Slow;

impl Fates for Slow {
    fn fate(&self, _operation: &'static str) -> Fate {
        let pause = Pause {
            yields: 3,
            sleep: Duration::ZERO,
        };
        Fate {
            before: pause,
            after: pause,
            ..Fate::default()
        }
    }
}

mod at_once {
    cresset_queue::conformance_suite!(crate::Memory::new(crate::NoFates));
}

mod slow {
    cresset_queue::conformance_suite!(crate::Memory::new(crate::Slow));
}

/// The next call ends so, the others as they should.
#[derive(Default)]
struct Next(Mutex<Option<Effect>>);

impl Fates for Next {
    fn fate(&self, _operation: &'static str) -> Fate {
        Fate {
            effect: self.0.lock().unwrap().take().unwrap_or_default(),
            ..Fate::default()
        }
    }
}

fn task() -> NewTask {
    NewTask {
        turn: Turn::from_micros(0),
        ..NewTask::new(
            "echo".parse().unwrap(),
            Payload::Json("1".into()),
            Timestamp::now(),
        )
    }
}

/// Submits a task whose call ends so; whether it is there then, and after the death of the process.
async fn submitted(effect: Effect, then: Option<NewTask>) -> (bool, bool) {
    let (stable, next) = (Stable::new(TTL), Arc::new(Next::default()));
    let open = || MemoryStore::open(&stable, next.clone(), Timestamp::now());
    let store: Arc<dyn Backend> = Arc::new(open());
    *next.0.lock().unwrap() = Some(effect);
    let new = task();
    let id = new.id;
    let answer = tokio::time::timeout(Duration::from_millis(5), store.submit(new)).await;
    assert_eq!(
        answer.is_err(),
        matches!(effect, Effect::Dies { .. }),
        "the dead answer nothing"
    );
    if let Ok(answer) = answer {
        assert_eq!(answer.unwrap_err().kind, QueueErrorKind::Unavailable);
    }
    let there = matches!(store.fetch(id).await, Ok(Lookup::Found(_)));
    if let Some(other) = then {
        store.submit(other).await.unwrap();
    }
    stable.crash();
    let store: Arc<dyn Backend> = Arc::new(open());
    (there, matches!(store.fetch(id).await, Ok(Lookup::Found(_))))
}

#[tokio::test]
async fn a_refused_submit_is_not_there_unless_the_process_dies_of_the_same_trouble() {
    assert_eq!(submitted(Effect::Refused, None).await, (false, false));
    assert_eq!(submitted(Effect::Doubtful, None).await, (false, true));
    assert_eq!(submitted(Effect::Doubtful, Some(task())).await, (false, false));
}

#[tokio::test]
async fn a_process_that_dies_in_a_call_answers_nothing() {
    assert_eq!(
        submitted(Effect::Dies { done: false }, None).await,
        (false, false)
    );
    assert_eq!(submitted(Effect::Dies { done: true }, None).await, (false, true));
}

#[tokio::test]
async fn what_a_lost_answer_would_have_leased_is_given_back() {
    let (stable, next) = (Stable::new(TTL), Arc::new(Next::default()));
    let store: Arc<dyn Backend> = Arc::new(MemoryStore::open(&stable, next.clone(), Timestamp::now()));
    store.submit(task()).await.unwrap();
    let request = || LeaseRequest {
        model: "echo".parse().unwrap(),
        max_tasks: 1,
        max_bytes: usize::MAX,
        now: Timestamp::now(),
    };
    *next.0.lock().unwrap() = Some(Effect::Lost);
    store.lease(request()).await.unwrap_err();
    assert_eq!(stable.leased(), 0);
    assert_eq!(
        store.lease(request()).await.unwrap()[0].attempt.0,
        2,
        "it was counted"
    );
    assert_eq!(stable.records().len(), 1);
}
