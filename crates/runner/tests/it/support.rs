//! A pool of fake instances (`fake_sdk/`, plain Python), and what the tests ask of it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cresset_config::{
    Batching, Entry, Environment, HealthCheck, Instances, LatePredictions, ModelConfig, ModelLimits,
    ResultCache, Retry,
};
use cresset_runner::{
    DownReason, EnvManager, Executor, ItemEnd, Job, JobEnd, NotTaken, Pool, PoolEvent, PoolOptions, Timing,
};
use cresset_task::{BatchId, DType, InstanceId, Payload, Tensor, TensorSet, TensorSpec};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A fact that does not come within this will not come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const FIRST: InstanceId = InstanceId(0);

/// An object model that lives in `dir`.
pub(crate) fn object_model(dir: &Path) -> ModelConfig {
    ModelConfig {
        name: "fake".parse().unwrap(),
        version: "1".into(),
        description: None,
        dir: dir.to_owned(),
        entry: Entry {
            file: "model.py".into(),
            attribute: None,
        },
        inputs: Vec::new(),
        outputs: Vec::new(),
        batching: Batching {
            max_batch_size: 32,
            max_delay: Duration::ZERO,
            max_batch_bytes: 64 << 20,
            ..Batching::default()
        },
        instances: Instances::default(),
        limits: ModelLimits {
            timeout: PATIENCE,
            soft_timeout: None,
            start_timeout: PATIENCE,
            predict_timeout: PATIENCE,
            late_predictions: LatePredictions::Task,
            cancel_grace: Some(PATIENCE),
            max_queue: 100,
            max_queue_bytes: 1 << 30,
            max_waiting: 100,
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
        environment: Environment {
            variables: BTreeMap::new(),
            ..Environment::default()
        },
        allow_pickle: false,
        copy_inputs: false,
        files: cresset_config::Files::default(),
        settings: String::new(),
    }
}

pub(crate) fn spec(name: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype: DType::Float32,
        shape: shape.to_vec(),
        allow_non_finite: false,
        pad: None,
    }
}

/// A model from `x` to `y`, both float32 of this shape.
pub(crate) fn tensor_model(dir: &Path, shape: &[i64]) -> ModelConfig {
    ModelConfig {
        inputs: vec![spec("x", shape)],
        outputs: vec![spec("y", shape)],
        ..object_model(dir)
    }
}

pub(crate) fn set(config: &mut ModelConfig, name: &str, value: &str) {
    config.environment.variables.insert(name.into(), value.into());
}

pub(crate) fn fake_sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_sdk")
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::Json(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn floats(name: &str, values: &[f32]) -> Payload {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = Tensor::new(DType::Float32, vec![values.len()], data.into()).unwrap();
    Payload::Tensors(TensorSet(vec![(name.into(), tensor)]))
}

pub(crate) struct Fixture {
    pub(crate) pool: Arc<Pool>,
    pub(crate) events: mpsc::Receiver<PoolEvent>,
    pub(crate) kill: CancellationToken,
    /// The model's folder.
    pub(crate) model: PathBuf,
    pub(crate) taken_over: usize,
    _dir: tempfile::TempDir,
}

static BATCH: AtomicU64 = AtomicU64::new(1);

impl Fixture {
    /// A pool of the model that `make` describes, given the folder to put it in.
    pub(crate) fn new(make: impl FnOnce(&Path) -> ModelConfig) -> Self {
        Self::with_sdk(fake_sdk(), make)
    }

    pub(crate) fn with_sdk(sdk_dir: PathBuf, make: impl FnOnce(&Path) -> ModelConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        std::fs::create_dir(&model).unwrap();
        let config = Arc::new(make(&model));
        let env = Arc::new(EnvManager::new(dir.path().join("cache")));
        let (sender, events) = mpsc::channel(8);
        let kill = CancellationToken::new();
        let options = PoolOptions {
            files: None,
            env,
            sdk_dir,
            threads_default: 1,
            on_progress: None,
        };
        let pool = Pool::start(config, options, sender, kill.clone());
        Self {
            pool,
            events,
            kill,
            model,
            taken_over: 0,
            _dir: dir,
        }
    }

    /// The next event; a process that takes over is counted, and the event after that is given.
    pub(crate) async fn next(&mut self) -> PoolEvent {
        loop {
            match tokio::time::timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(PoolEvent::TakenOver { .. })) => {
                    self.taken_over += 1;
                }
                Ok(event) => return event.expect("the pool goes on"),
                Err(_) => panic!("nothing happened; the pool is {:?}", self.pool.status()),
            }
        }
    }

    pub(crate) async fn up(&mut self) -> InstanceId {
        match self.next().await {
            PoolEvent::Up { instance, slots: 2 } => instance,
            other => panic!("not up but {other:?}"),
        }
    }

    pub(crate) async fn down(&mut self) -> DownReason {
        match self.next().await {
            PoolEvent::Down { reason, .. } => reason,
            other => panic!("not down but {other:?}"),
        }
    }

    pub(crate) async fn ended(&mut self) -> (BatchId, JobEnd, Timing) {
        match self.next().await {
            PoolEvent::Ended {
                batch, end, timing, ..
            } => (batch, end, timing),
            other => panic!("not ended but {other:?}"),
        }
    }

    /// Hands a batch to the first instance.
    pub(crate) fn try_run(&self, items: Vec<Payload>) -> Result<BatchId, NotTaken> {
        let batch = BatchId(BATCH.fetch_add(1, Ordering::Relaxed));
        self.pool
            .run(
                FIRST,
                Job {
                    batch,
                    items,
                    traces: Vec::new(),
                    names: Vec::new(),
                },
            )
            .map(|()| batch)
    }

    pub(crate) fn run(&self, items: Vec<Payload>) -> BatchId {
        self.try_run(items).expect("the instance has a slot")
    }

    /// Hands a batch of one order to the first instance.
    pub(crate) fn order(&self, order: &str) -> BatchId {
        self.run(vec![json(order)])
    }

    /// Hands a batch of one order to an instance.
    pub(crate) fn order_to(&self, instance: InstanceId, order: &str) -> BatchId {
        self.try_order_to(instance, order)
            .expect("the instance has a slot")
    }

    /// The same, if it takes it.
    pub(crate) fn try_order_to(&self, instance: InstanceId, order: &str) -> Result<BatchId, NotTaken> {
        let batch = BatchId(BATCH.fetch_add(1, Ordering::Relaxed));
        let items = vec![json(order)];
        self.pool
            .run(
                instance,
                Job {
                    batch,
                    items,
                    traces: Vec::new(),
                    names: Vec::new(),
                },
            )
            .map(|()| batch)
    }

    /// The next event is this job's end; why it was lost, if it was.
    pub(crate) async fn answer_of(&mut self, batch: BatchId) -> Option<DownReason> {
        let (ended, end, _) = self.ended().await;
        assert_eq!(ended, batch);
        match end {
            JobEnd::Lost { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Runs a batch of one item to its end, as JSON text.
    pub(crate) async fn answer(&mut self, item: &str) -> String {
        let batch = self.order(item);
        let (ended, end, _) = self.ended().await;
        assert_eq!(ended, batch);
        match &end {
            JobEnd::Items(ends) => match &ends[..] {
                [ItemEnd::Done(Payload::Json(text))] => String::from_utf8(text.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// The next two events are these jobs' ends, lost for this reason, the first under suspicion.
    pub(crate) async fn lost(&mut self, batches: &[BatchId], why: impl Fn(&DownReason) -> bool) {
        for (i, batch) in batches.iter().enumerate() {
            let (ended, end, _) = self.ended().await;
            assert_eq!(ended, *batch);
            match &end {
                JobEnd::Lost {
                    reason,
                    suspect,
                    scene,
                } if scene.is_some() == *suspect && why(reason) && *suspect == (i == 0) => {}
                other => panic!("batch {i} of {}: {other:?}", batches.len()),
            }
        }
    }

    /// Stops the pool, and everything that it says until its end.
    pub(crate) async fn stop(mut self, grace: Duration) -> Vec<PoolEvent> {
        let pool = self.pool.clone();
        let mut all = Vec::new();
        let stopped = pool.stop(grace);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(event) = self.events.recv() => all.push(event),
            }
        }
        while let Ok(event) = self.events.try_recv() {
            all.push(event);
        }
        all
    }
}

/// True while there is a process of this id that is not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
