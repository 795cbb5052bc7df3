//! `cresset.toml` and `model.toml`: text in, validated configuration out. Every mistake is reported at once, with file
//! and line. Pure but for [`discover()`]: the caller reads the files and the environment and passes their contents in.
//!
//! Keys are declared in two tables, [`settings`] for the server and `model_keys` for models. Readers, `config show`,
//! templates and reference pages all follow from them.

pub mod celery;
mod celery_calls;
mod celery_fleet;
mod celery_routes;
pub mod discover;
pub mod door;
mod field;
mod files;
pub mod mistake;
pub mod model;
mod model_celery;
mod model_checks;
mod model_files;
mod model_keys;
mod model_send;
mod model_settings;
mod model_tensors;
mod model_toml;
mod model_values;
mod reference;
mod report;
pub mod resolve;
pub mod retry;
pub mod server;
pub mod settings;
mod suggest;
mod template;
mod tensor_keys;
mod units;
mod walk;

pub use celery::{
    Arguments, Celery, CeleryCall, CeleryParameter, CeleryTasks, QueueType, ServiceUrl, no_redis,
};
pub use celery_fleet::fleet_queue;
pub use discover::discover;
pub use door::{Address, Listen, Network, Scheme};
pub use field::Scalar;
pub use files::{BadMediaRange, FileForm, Files, MediaRange};
pub use mistake::{Mistake, Place, Position, Severity, render_all};
pub use model::{
    Batching, Cost, Entry, Environment, HealthCheck, Instances, LatePredictions, ModelConfig, ModelKind,
    ModelLimits, Priorities, ResultCache, Stream,
};
pub use model_settings::read_settings;
pub use model_toml::{Folder, MODEL_TOML, parse_model};
pub use reference::{model_reference_markdown, reference_markdown};
pub use resolve::{Effective, GivenFlag, Origin, Row, SettingsFile};
pub use retry::Retry;
pub use server::{
    Admission, Auth, ClientBounds, ClientIdentity, Clients, Durability, Jwt, KeySet, LogFormat, ServerConfig,
    Webhooks,
};
pub use settings::{OTHER_VARIABLES, SETTINGS, Setting};
pub use template::{default_cresset_toml, default_model_toml};
pub use units::parse_duration;
