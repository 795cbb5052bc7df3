//! Every key of `model.toml`: what it takes, its bounds, its words. Here what the keys are read into and how they are
//! written; the keys themselves in a file for each table of the file, or for those that change together.

use std::collections::BTreeMap;
use std::time::Duration;

use cresset_task::{CallbackUrl, Events, ModelName, TensorSpec};

use crate::celery::{CeleryCall, CeleryTasks};
use crate::field::{Field, Key};
use crate::files::Files;
use crate::model::{Batching, Entry, HealthCheck, Instances, Logs, ModelLimits, ResultCache, Stream};
use crate::retry::Retry;

/// What has been read of a `model.toml`, before its parts are checked against each other and the folder.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) name: Option<ModelName>,
    pub(crate) version: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) entry: Entry,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) batching: Batching,
    pub(crate) instances: Instances,
    pub(crate) limits: ModelLimits,
    pub(crate) retry: Retry,
    pub(crate) canary: Option<String>,
    pub(crate) health: HealthCheck,
    pub(crate) cache: ResultCache,
    pub(crate) celery: CeleryTasks,
    pub(crate) send: CeleryCall,
    pub(crate) stream: Stream,
    pub(crate) logs: Logs,
    pub(crate) webhook_url: Option<CallbackUrl>,
    pub(crate) webhook_events: Events,
    pub(crate) python: Option<String>,
    pub(crate) requirements: Option<String>,
    pub(crate) python_version: Option<String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) allow_pickle: bool,
    pub(crate) copy_inputs: bool,
    pub(crate) files: Files,
}

/// Longer than a day is not a limit any more, and the runner protocol counts milliseconds in 32 bits.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// Below a millisecond the clock of the protocol cannot tell.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

macro_rules! int {
    ($($field:ident).+, $min:literal, $max:literal) => {
        Field::Int { min: $min, max: $max, get: |m| Some(m.$($field).+ as u64), set: |m, n| m.$($field).+ = n as _ }
    };
}
macro_rules! bytes {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Bytes { min: $min, max: $max, get: |m| Some(m.$($field).+ as u64), set: |m, n| m.$($field).+ = n as _ }
    };
}
macro_rules! duration {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Duration { min: $min, max: $max, get: |m| Some(m.$($field).+), set: |m, d| m.$($field).+ = d }
    };
}
macro_rules! flag {
    ($($field:ident).+) => {
        Field::Bool { get: |m| m.$($field).+, set: |m, b| m.$($field).+ = b }
    };
}

mod about;
mod batching;
mod cache;
mod celery;
mod environment;
mod logs;
mod running;
mod send;
mod stream;
mod webhook;

const fn key(path: &'static str, field: Field<Draft>, doc: &'static str) -> Key<Draft> {
    Key {
        path,
        doc,
        default: None,
        example: None,
        field,
    }
}

const fn words(key: Key<Draft>, default: &'static str, example: &'static str) -> Key<Draft> {
    Key {
        default: Some(default),
        example: Some(example),
        ..key
    }
}

/// All keys but those inside `[[inputs]]` and `[[outputs]]`, in the order of the template.
pub(crate) fn model_keys() -> impl Iterator<Item = &'static Key<Draft>> + Clone {
    [
        about::KEYS,
        batching::KEYS,
        running::KEYS,
        cache::KEYS,
        celery::KEYS,
        send::KEYS,
        stream::KEYS,
        logs::KEYS,
        webhook::KEYS,
        environment::KEYS,
    ]
    .into_iter()
    .flatten()
}

const _: () = assert!(
    TIMEOUT_MAX.as_millis() <= u32::MAX as u128,
    "a timeout must fit the runner protocol"
);
