//! Model declarations for tests, of the unit tests and of these.

use std::time::Duration;

use cresset_config::{
    Batching, Entry, Environment, HealthCheck, Instances, LatePredictions, ModelConfig, ModelLimits,
    ResultCache, Retry,
};
use cresset_task::{DType, TensorSpec};

/// A model that takes any JSON.
pub(crate) fn object(name: &str) -> ModelConfig {
    ModelConfig {
        name: name.parse().unwrap(),
        version: "7".into(),
        description: Some("for tests".into()),
        dir: "/srv/models/secret".into(),
        entry: Entry {
            file: "model.py".into(),
            attribute: None,
        },
        inputs: Vec::new(),
        outputs: Vec::new(),
        batching: Batching {
            max_batch_size: 8,
            max_delay: Duration::from_millis(2),
            max_batch_bytes: 1 << 26,
            ..Batching::default()
        },
        instances: Instances::default(),
        limits: ModelLimits {
            timeout: Duration::from_secs(20),
            soft_timeout: None,
            start_timeout: Duration::from_secs(20),
            predict_timeout: Duration::from_secs(20),
            late_predictions: LatePredictions::Task,
            cancel_grace: Some(Duration::from_secs(20)),
            max_queue: 10_000,
            max_queue_bytes: 1 << 30,
            max_waiting: 1_024,
            max_waiting_bytes: None,
            max_attempts: 3,
        },
        retry: Retry::default(),
        health: HealthCheck::default(),
        cache: ResultCache::default(),
        celery: Default::default(),
        logs: Default::default(),
        stream: Default::default(),
        webhook: None,
        environment: Environment::default(),
        allow_pickle: false,
        copy_inputs: false,
        files: cresset_config::Files::default(),
        settings: String::new(),
    }
}

/// A model that takes `pixels`, two by two, and `scale`.
pub(crate) fn tensors(name: &str) -> ModelConfig {
    let spec = |name: &str, shape: &[i64]| TensorSpec {
        name: name.into(),
        dtype: DType::Float32,
        shape: shape.to_vec(),
        allow_non_finite: false,
        pad: None,
    };
    ModelConfig {
        inputs: vec![spec("pixels", &[2, 2]), spec("scale", &[])],
        ..object(name)
    }
}
