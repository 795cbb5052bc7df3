//! The sole owner of a task's life: submit -> lease -> batch -> run -> record -> notify.
//!
//! The doors ask an [`Engine`]; it alone talks to the queue and to the runner. It names no backend and starts no
//! process: it is given both.

mod admission;
mod alarm;
mod api;
mod bulks;
mod bulletin;
mod cache;
mod canary;
mod driver;
mod elsewhere;
mod ends;
mod engine;
mod errand;
mod expiry;
mod follow;
mod health;
mod hint;
mod idempotency;
mod inbox;
mod introduce;
mod item;
mod late;
mod letters;
mod live;
mod measure;
pub mod metrics;
mod neighbours;
mod predict;
mod progress;
mod rate;
mod recorder;
#[cfg(feature = "testing")]
mod residue;
mod retention;
mod retry;
mod revocations;
mod revoke;
mod seats;
mod served;
mod shared;
mod store_watch;
mod stream;
mod submit;
mod verdict;
mod waiters;
mod webhooks;

pub use admission::{Bound, Client, Unit};
pub use api::{
    Accepted, CacheStatus, Cancellation, EngineError, Health, ModelHealth, ModelView, PredictTerms,
    Predicted, Prediction, Replay, Runner, ServerState, Stopped, Submission, TaskView,
};
pub use bulks::{BulkStart, Line as BulkLine};
pub use bulletin::{Change, WatchPlace, Watched, Watching};
/// Who is on the store.
pub use cresset_queue::{About, Member, Offer, OfferLoad, Role};
/// How bulks are asked for.
pub use cresset_queue::{
    BULK_LINES_MAX, BULKS_MAX, Bulk, BulkCounts, BulkCursor, BulkFound, BulkPage, BulkQuery,
};
/// How a submit is named, for the doors that take names.
pub use cresset_queue::{BadIdempotencyKey, IDEMPOTENCY_KEY_MAX, IdempotencyKey};
/// How webhooks are asked for.
pub use cresset_queue::{
    DELIVERIES_MAX, Delivery, DeliveryCursor, DeliveryPage, DeliveryQuery, DeliveryState, Sending,
};
/// What applications write down in the store's database, for the door that reads it.
pub use cresset_queue::{InboxInput, InboxRow};
/// How dead letters are asked for.
pub use cresset_queue::{LETTERS_MAX, LetterCursor, LetterFilter, LetterPage, LetterQuery};
/// Where large payloads are left, for the doors that may refer to them.
pub use cresset_queue::{Parcels, QueueError, QueueErrorKind};
/// How tasks are asked for.
pub use cresset_queue::{TASKS_MAX, TaskCursor, TaskPage, TaskQuery};
/// How processes stand, for those who show it: the doors know the engine, not the runner.
pub use cresset_runner::{InstanceState, InstanceStatus, PoolState, PoolStatus, Replacement};
/// What the doors make for webhooks: the data of a message.
pub use cresset_webhook::{Writer as WebhookWriter, message::BODY_MAX as WEBHOOK_BODY_MAX};
pub use elsewhere::{Reach, Roster};
pub use engine::{Engine, EngineOptions};
pub use follow::{Event, Following, Place};
pub use hint::{MeanTime, hint};
pub use inbox::{InboxReader, refused as inbox_refusal};
pub use live::{Cursor, Line, Piece, Progress};
pub use metrics::{CeleryMetrics, Metrics};
#[cfg(feature = "testing")]
pub use residue::Residue;
/// When a failure is tried again, for the doors whose work others keep.
pub use retry::wait as retry_wait;
pub use stream::{PredictEvent, PredictStream};
pub use webhooks::Trial;
