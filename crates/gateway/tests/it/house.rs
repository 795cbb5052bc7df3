//! A whole server in a folder of its own, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_config::{Admission, ModelConfig};
use cresset_engine::{Engine, EngineOptions};
use cresset_gateway::{Entrance, GatewayOptions};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_runner::testing::{FakePool, Held};
use cresset_runner::{DownReason, ItemEnd, JobEnd, Scene};
use cresset_task::{Code, Failure, Payload, Stage};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::wire::{Answer, Caller};

/// Far longer than anything here takes; only a hang gets there.
pub(crate) const LONG: Duration = Duration::from_secs(20);

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
    _dir: TempDir,
}

impl House {
    /// A server with the defaults and no models.
    pub(crate) async fn open() -> Self {
        Self::with(GatewayOptions::default()).await
    }

    pub(crate) async fn with(options: GatewayOptions) -> Self {
        Self::keeping_results_for(DAY, options).await
    }

    /// A server that forgets finished tasks after `ttl`, and looks for such ones all the time.
    pub(crate) async fn keeping_results_for(ttl: Duration, options: GatewayOptions) -> Self {
        Self::build(ttl, Admission::default(), options, |entrance| vec![entrance]).await
    }

    /// A server with these entrances, made of the one that it would have.
    pub(crate) async fn entered(
        entrances: impl FnOnce(Entrance) -> Vec<Entrance>,
        options: GatewayOptions,
    ) -> Self {
        Self::build(DAY, Admission::default(), options, entrances).await
    }

    /// A server with bounds over all models.
    pub(crate) async fn admitting(admission: Admission, options: GatewayOptions) -> Self {
        Self::build(DAY, admission, options, |entrance| vec![entrance]).await
    }

    async fn build(
        ttl: Duration,
        admission: Admission,
        options: GatewayOptions,
        entrances: impl FnOnce(Entrance) -> Vec<Entrance>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteOptions {
            result_ttl: ttl,
            ..SqliteOptions::at(dir.path().join("tasks.db"))
        };
        let purge_every = if ttl < DAY { Duration::from_millis(1) } else { DAY };
        let engine = Engine::start(
            Arc::new(SqliteStore::open(store).unwrap()),
            &EngineOptions {
                purge_every,
                admission,
                ..EngineOptions::default()
            },
        );
        let listener = cresset_gateway::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = TaskTracker::new().spawn(cresset_gateway::serve(
            entrances(listener.into()),
            engine.clone(),
            options,
            stop.clone(),
        ));
        Self {
            engine,
            address,
            stop,
            served,
            _dir: dir,
        }
    }

    /// Serves a model whose items end at once, as `end` says; anything with "poison" in it takes its process down.
    pub(crate) fn automatic(&self, config: ModelConfig) -> Arc<FakePool> {
        self.serve(config, |events| FakePool::automatic(1, 2, events, ends))
    }

    /// Serves a model whose jobs the test ends.
    pub(crate) fn by_hand(&self, config: ModelConfig) -> Arc<FakePool> {
        self.serve(config, |events| FakePool::by_hand(1, 2, events))
    }

    fn serve(
        &self,
        config: ModelConfig,
        pool: impl FnOnce(mpsc::Sender<cresset_runner::PoolEvent>) -> Arc<FakePool>,
    ) -> Arc<FakePool> {
        let (events, news) = mpsc::channel(16);
        let pool = pool(events);
        self.engine.serve(Arc::new(config), pool.clone(), news);
        pool
    }

    /// Serves `echo` (any JSON), up and ready.
    pub(crate) async fn with_echo(self) -> Self {
        self.automatic(crate::fixture::object("echo")).all_up();
        self.until_ready().await;
        self
    }

    pub(crate) async fn until_ready(&self) {
        until(|| self.engine.health().ready).await;
    }

    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.caller().await.get(path).await
    }

    /// One JSON body on a connection of its own.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.caller().await.post(path, body).await
    }

    /// Submits and gives the path of the task.
    pub(crate) async fn submitted(&self, model: &str, body: &str) -> String {
        let answer = self.post(&format!("/v1/models/{model}/tasks"), body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.header("location").unwrap().to_owned()
    }

    /// Submits poison and waits for its end; gives the id.
    pub(crate) async fn poisoned(&self, model: &str) -> String {
        let body = r#"{"input": "poison", "priority": 7, "metadata": {"a": [1]}}"#;
        let path = self.submitted(model, body).await;
        let task = self.get(&format!("{path}?wait=20s")).await.json();
        assert_eq!(task["error"]["code"], "instance_died", "{task}");
        task["task_id"].as_str().unwrap().to_owned()
    }

    /// A request without a body, on a connection of its own.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.caller().await.ask(&format!("DELETE {path}"), &[], "").await
    }

    /// Stops the door, then the engine.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.served)
            .await
            .expect("the door should close")
            .unwrap()
            .unwrap();
        self.engine.stop(LONG).await;
    }
}

fn ends(items: Vec<Payload>) -> JobEnd {
    let poison =
        |item: &Payload| matches!(item, Payload::Json(text) if text.windows(6).any(|w| w == b"poison"));
    if !items.iter().any(poison) {
        return JobEnd::Items(items.into_iter().map(end).collect());
    }
    JobEnd::Lost {
        reason: DownReason::Signal(11),
        suspect: true,
        scene: Some(Box::new(Scene {
            resident_bytes: Some(3 << 30),
            last_lines: vec!["about to crash".into()],
        })),
    }
}

/// Every item comes back as it was, but an object with `raise` fails with its text.
fn end(item: Payload) -> ItemEnd {
    match &item {
        Payload::Json(text) if text.starts_with(b"{\"raise\"") => {
            let value: serde_json::Value = serde_json::from_slice(text).unwrap();
            ItemEnd::Failed(Failure {
                code: Code::ModelError,
                type_: "ValueError".into(),
                message: value["raise"].as_str().unwrap().into(),
                traceback: Some("File \"model.py\", line 3, in predict".into()),
                stage: Some(Stage::Predict),
                again: Default::default(),
            })
        }
        _ => ItemEnd::Done(item),
    }
}

/// Ends a held job: every item comes back as `text`.
pub(crate) fn finish(pool: &FakePool, held: &Held, text: &'static str) {
    let ends = held
        .items
        .iter()
        .map(|_| ItemEnd::Done(Payload::Json(Bytes::from_static(text.as_bytes()))));
    assert!(pool.finish(held.batch, JobEnd::Items(ends.collect())));
}

/// Lets the server run until a fact holds.
pub(crate) async fn until(fact: impl Fn() -> bool) {
    let wait = async {
        while !fact() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .expect("the fact should have come true");
}

/// Ends a held job: every item fails with this message.
pub(crate) fn fail(pool: &FakePool, held: &Held, message: &str) {
    let failure = Failure {
        code: Code::ModelError,
        type_: "ValueError".into(),
        message: message.into(),
        traceback: None,
        stage: Some(Stage::Predict),
        again: Default::default(),
    };
    let ends = held.items.iter().map(|_| ItemEnd::Failed(failure.clone()));
    assert!(pool.finish(held.batch, JobEnd::Items(ends.collect())));
}
