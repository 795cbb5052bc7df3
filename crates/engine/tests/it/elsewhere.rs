//! A gateway whose workers are told of by a roster, and reached by something else than the store.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cresset_config::ModelConfig;
use cresset_engine::{
    About, Engine, EngineError, EngineOptions, Member, Offer, PredictTerms, Reach, Role, Roster, TaskQuery,
};
use cresset_runner::testing::FakePool;
use cresset_runner::{Executor, PoolEvent, PoolState};
use cresset_task::Timestamp;
use tokio::sync::{Notify, mpsc, watch};

use crate::house::{LONG, echo, json, model, store, submission, text, until};

/// Who is there, as the test says.
#[derive(Default)]
struct Words {
    members: Mutex<Vec<Member>>,
    changed: Notify,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words")
    }
}

impl Words {
    fn say(&self, members: Vec<Member>) {
        *self.members.lock().unwrap() = members;
        self.changed.notify_one();
    }
}

#[async_trait]
impl Roster for Words {
    fn introduce(&self, _: About, _: bool) {}

    fn members(&self, _: bool) -> Vec<Member> {
        self.members.lock().unwrap().clone()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn settled(&self) {}
}

/// A pool for each description of a model; the first ends its jobs by hand, if wanted.
struct Pools {
    by_hand: bool,
    opened: Mutex<Vec<(Arc<FakePool>, watch::Receiver<usize>)>>,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools")
    }
}

impl Pools {
    fn count(&self) -> usize {
        self.opened.lock().unwrap().len()
    }

    fn room(&self, at: usize) -> usize {
        *self.opened.lock().unwrap()[at].1.borrow()
    }

    fn pool(&self, at: usize) -> Arc<FakePool> {
        Arc::clone(&self.opened.lock().unwrap()[at].0)
    }
}

impl Reach for Pools {
    fn open(
        &self,
        _: Arc<ModelConfig>,
        room: watch::Receiver<usize>,
        events: mpsc::Sender<PoolEvent>,
    ) -> Arc<dyn Executor> {
        let mut opened = self.opened.lock().unwrap();
        let pool = match self.by_hand && opened.is_empty() {
            true => FakePool::by_hand(1, 1, events),
            false => FakePool::automatic(1, 1, events, echo),
        };
        pool.all_up();
        opened.push((Arc::clone(&pool), room));
        pool
    }
}

fn runner(id: i64, version: u32, ready: bool) -> Member {
    let offer = Offer {
        version: version.to_string(),
        settings: format!("name = \"echo\"\nversion = \"{version}\"\n[batching]\nmax_batch_size = 8\n"),
        state: if ready { "ready" } else { "starting" }.into(),
        ready,
        instances: 2,
        ..Offer::default()
    };
    Member {
        id,
        since: Timestamp::from_micros(id),
        seen_at: Timestamp::now(),
        ended_at: None,
        about: About {
            role: Role::Worker,
            host: "gpu".into(),
            models: [(model(), offer)].into(),
            ..About::default()
        },
    }
}

struct Gateway {
    engine: Engine,
    words: Arc<Words>,
    pools: Arc<Pools>,
    _dir: tempfile::TempDir,
}

impl Gateway {
    async fn with(members: Vec<Member>, by_hand: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let words = Arc::new(Words::default());
        words.say(members);
        let pools = Arc::new(Pools {
            by_hand,
            opened: Mutex::default(),
        });
        let options = EngineOptions {
            me: About {
                role: Role::Gateway,
                ..About::default()
            },
            roster: Some(Arc::clone(&words) as Arc<dyn Roster>),
            reach: Some(Arc::clone(&pools) as Arc<dyn Reach>),
            ..EngineOptions::default()
        };
        let engine = Engine::start(Arc::new(store(dir.path())), &options);
        engine.join(Vec::new()).await;
        Self {
            engine,
            words,
            pools,
            _dir: dir,
        }
    }

    async fn predict(&self, input: &str) -> Result<String, EngineError> {
        let model = model();
        let asked = self.engine.predict(&model, json(input), PredictTerms::default());
        asked.await.map(|prediction| text(&prediction.output))
    }
}

#[tokio::test]
async fn a_model_that_is_told_of_is_reached_and_predictions_are_stored_nowhere() {
    let gateway = Gateway::with(vec![runner(1, 1, true), runner(2, 1, false)], false).await;
    assert_eq!(
        (gateway.pools.count(), gateway.pools.room(0)),
        (1, 2 * 8 * 4),
        "the one that is ready"
    );
    assert_eq!(gateway.predict("[1]").await.unwrap(), "[1]");
    let stored = gateway
        .engine
        .tasks(TaskQuery {
            limit: 10,
            ..TaskQuery::default()
        })
        .await
        .unwrap();
    assert!(stored.tasks.is_empty());
    let accepted = gateway.engine.submit(submission("[2]")).await.unwrap();
    let view = gateway.engine.wait(accepted.id, LONG).await.unwrap();
    assert!(view.record.state.is_terminal());
    gateway.engine.stop(LONG).await;
}

#[tokio::test]
async fn there_is_room_as_long_as_one_is_ready_and_no_work_is_taken_when_all_have_gone() {
    let gateway = Gateway::with(vec![runner(1, 1, true)], false).await;
    gateway.words.say(vec![runner(1, 1, false)]);
    until(|| gateway.pools.room(0) == 0).await;
    gateway.words.say(Vec::new());
    until(|| {
        gateway.engine.health().models[0]
            .reason
            .as_ref()
            .is_some_and(|why| why.contains("the last was"))
    })
    .await;
    assert!(matches!(
        gateway.predict("1").await,
        Err(EngineError::ModelUnavailable { .. })
    ));
    gateway.words.say(vec![runner(2, 1, true)]);
    until(|| gateway.pools.room(0) == 64).await;
    assert_eq!(
        (gateway.predict("1").await.unwrap(), gateway.pools.count()),
        ("1".into(), 1)
    );
    gateway.engine.stop(LONG).await;
}

#[tokio::test]
async fn one_that_is_described_anew_is_reached_anew_and_what_was_under_way_ends() {
    let gateway = Gateway::with(vec![runner(1, 1, true)], true).await;
    let (first, ended) = tokio::join!(
        async {
            let held = gateway.pools.pool(0).next_job().await;
            gateway.words.say(vec![runner(2, 2, true)]);
            until(|| gateway.pools.count() == 2).await;
            assert_eq!(gateway.predict("2").await.unwrap(), "2", "by the new one");
            assert!(gateway.pools.pool(0).finish(held.batch, echo(held.items)));
        },
        gateway.predict("1"),
    );
    let () = first;
    assert_eq!(ended.unwrap(), "1");
    assert_eq!(gateway.engine.model("echo").unwrap().config.version, "2");
    until(|| gateway.pools.pool(0).status().state == PoolState::Stopped).await;
    gateway.engine.stop(LONG).await;
}
