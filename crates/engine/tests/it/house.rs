//! One engine, one model, one store in a folder of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_config::{
    Batching, Entry, Environment, HealthCheck, Instances, LatePredictions, ModelConfig, ModelLimits,
    ResultCache, Retry,
};
use cresset_engine::{Accepted, Engine, EngineError, EngineOptions, PredictTerms, Prediction, Submission};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_runner::testing::FakePool;
use cresset_runner::{ItemEnd, JobEnd, PoolEvent};
use cresset_task::{CacheUse, Code, Failure, ModelName, Payload, TaskId};
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn config() -> ModelConfig {
    ModelConfig {
        name: "echo".parse().unwrap(),
        version: "7".into(),
        description: None,
        dir: "/".into(),
        entry: Entry {
            file: "model.py".into(),
            attribute: None,
        },
        inputs: Vec::new(),
        outputs: Vec::new(),
        batching: Batching {
            max_batch_size: 8,
            max_delay: Duration::from_millis(2),
            max_batch_bytes: 1 << 20,
            ..Batching::default()
        },
        instances: Instances::default(),
        limits: ModelLimits {
            timeout: LONG,
            soft_timeout: None,
            start_timeout: LONG,
            predict_timeout: LONG,
            late_predictions: LatePredictions::Task,
            cancel_grace: Some(LONG),
            max_queue: 10_000,
            max_queue_bytes: 1 << 30,
            max_waiting: 1_024,
            max_waiting_bytes: None,
            max_attempts: 3,
        },
        retry: Retry::default(),
        health: HealthCheck::default(),
        cache: ResultCache::default(),
        logs: Default::default(),
        celery: Default::default(),
        stream: Default::default(),
        webhook: None,
        environment: Environment::default(),
        allow_pickle: false,
        copy_inputs: false,
        files: cresset_config::Files::default(),
        settings: String::new(),
    }
}

pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) pool: Arc<FakePool>,
    pub(crate) dir: TempDir,
}

impl House {
    pub(crate) fn automatic(
        config: ModelConfig,
        behaviour: impl Fn(Vec<Payload>) -> JobEnd + Send + Sync + 'static,
    ) -> Self {
        Self::build(config, |events| FakePool::automatic(1, 2, events, behaviour))
    }

    pub(crate) fn by_hand(config: ModelConfig) -> Self {
        Self::build(config, |events| FakePool::by_hand(1, 2, events))
    }

    /// With several instances, whose jobs the test ends.
    pub(crate) fn several(config: ModelConfig, instances: u32) -> Self {
        Self::build(config, |events| FakePool::by_hand(instances, 2, events))
    }

    fn build(config: ModelConfig, pool: impl FnOnce(mpsc::Sender<PoolEvent>) -> Arc<FakePool>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(Arc::new(store(dir.path())), &EngineOptions::default());
        let (events, news) = mpsc::channel(16);
        let pool = pool(events);
        engine.serve(Arc::new(config), pool.clone(), news);
        Self { engine, pool, dir }
    }

    pub(crate) async fn submit(&self, text: &str) -> Result<Accepted, EngineError> {
        self.engine.submit(submission(text)).await
    }

    pub(crate) async fn submitted(&self, text: &str) -> TaskId {
        self.submit(text).await.unwrap().id
    }

    pub(crate) async fn predict(&self, text: &str) -> Result<Prediction, EngineError> {
        self.engine
            .predict(&model(), json(text), PredictTerms::default())
            .await
    }

    /// Starts a prediction and returns once it is on its way to the driver.
    pub(crate) async fn predicting(
        &self,
        text: &str,
    ) -> tokio::task::JoinHandle<Result<Prediction, EngineError>> {
        let waiting = self.waiting();
        let (engine, input) = (self.engine.clone(), json(text));
        #[expect(clippy::disallowed_methods, reason = "the test joins it")]
        let call =
            tokio::spawn(async move { engine.predict(&model(), input, PredictTerms::default()).await });
        until(|| self.waiting() > waiting || call.is_finished()).await;
        call
    }

    pub(crate) fn waiting(&self) -> usize {
        self.engine.model("echo").unwrap().waiting
    }

    pub(crate) async fn end(self) {
        self.engine.stop(LONG).await;
    }
}

pub(crate) fn store(dir: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::at(dir.join("tasks.db"))).unwrap()
}

pub(crate) fn model() -> ModelName {
    "echo".parse().unwrap()
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::Json(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn submission(text: &str) -> Submission {
    Submission {
        model: model(),
        input: json(text),
        priority: 0,
        metadata: None,
        due_at: None,
        expires_at: None,
        deadline_at: None,
        cache: CacheUse::Allowed,
        retry: None,
        trace: None,
        tenant: None,
        callback: None,
        idempotency_key: None,
        client: None,
    }
}

pub(crate) fn text(payload: &Payload) -> String {
    match payload {
        Payload::Json(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Payload::Tensors(_) => panic!("JSON was expected"),
    }
}

/// Every item comes back as it was.
pub(crate) fn echo(items: Vec<Payload>) -> JobEnd {
    JobEnd::Items(items.into_iter().map(ItemEnd::Done).collect())
}

pub(crate) fn failure(message: &str) -> Failure {
    Failure::new(Code::ModelError, "ValueError", message)
}

/// Lets the other tasks of this test's runtime run until a fact holds.
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
