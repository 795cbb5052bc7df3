//! Model processes: their environment, their start, the wire to them, their memory, their supervision.
//!
//! The engine sees a model's processes through [`Executor`] and [`PoolEvent`] only, so that it can be tested without
//! any. This crate knows nothing of tasks, queues or HTTP: it runs batches of payloads.

mod backoff;
mod batch;
mod board;
mod channel;
mod check;
pub mod env;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod instance;
mod launch;
mod layout;
mod logs;
mod memfd;
mod memory;
mod oom;
mod pad;
mod place;
mod pool;
pub mod port;
mod recycle;
pub mod sdk;
mod slab;
mod spawn;
pub mod spool;
mod supervise;
#[cfg(feature = "testing")]
pub mod testing;
mod wanted;
mod watched;
mod wire;

pub use env::{EnvError, EnvInfo, EnvKey, EnvManager};
pub use pool::{OnProgress, Pool, PoolOptions};
pub use port::{
    Chunk, DownReason, Executor, InstanceState, InstanceStatus, ItemEnd, Job, JobEnd, LogLevel, LogLine,
    Name, NotTaken, PROGRESS_EVERY, PoolEvent, PoolState, PoolStatus, RecycleReason, Replacement, Report,
    Scene, Timing, Unwanted,
};
