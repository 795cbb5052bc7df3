//! Outwards: a model whose items Celery workers run. An item is a task message at their broker, under the id of its task here; its
//! result comes back by their result backend.
//!
//! Who has accepted the task is Cresset: it stays in the store until its end is recorded there. What is at the broker is a copy that
//! may be sent again, so that a task may run twice at the workers, and never ends twice here.

mod answers;
mod away;
mod courier;
mod errand;
mod jobs;
mod pool;
mod redis;
mod rpc;
mod search;
mod wording;

pub use courier::Courier;
pub use pool::CeleryPool;
pub(crate) use pool::Workers;
pub(crate) use search::Holders;
