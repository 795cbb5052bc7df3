//! What the door is told, and why it may not open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cresset_config::{Celery, ModelConfig};

/// What the door is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The settings.
    pub settings: Celery,
    /// Our name.
    pub node: String,
    /// The model that answers each task.
    pub routes: BTreeMap<String, Arc<ModelConfig>>,
    /// How long a stop waits for what runs.
    pub drain_timeout: Duration,
    /// Its queues are a fleet's: no worker of another kind takes from them.
    pub is_fleet: bool,
}

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of a service cannot be used.
    #[error("`celery.{setting}` ({url}) cannot be used: {why}")]
    Url {
        /// The setting.
        setting: &'static str,
        /// Its value, without its password.
        url: String,
        /// Why not.
        why: String,
    },
    /// There is no result backend.
    #[error("`celery.result_backend` is missing")]
    NoBackend,
    /// A fleet cannot work by these settings.
    #[error("{0}")]
    Fleet(String),
    /// There is no broker.
    #[error("`celery.broker` is missing")]
    NoBroker,
}
