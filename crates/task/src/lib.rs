//! The words of Cresset and the one state machine.
//!
//! Every other crate speaks in these types: a task has an id, a model, a payload, a state, and at most one terminal
//! outcome. Nothing here does I/O, reads a clock or knows a backend; whatever needs "now" is given it.

pub mod bulk_id;
pub mod callback;
pub mod client;
pub mod code;
pub mod dtype;
pub mod id;
pub mod json;
pub mod letter;
pub mod name;
pub mod npy;
pub mod outcome;
pub mod payload;
pub mod record;
pub mod retry;
pub mod reuse;
pub mod safetensors;
#[cfg(feature = "simulated")]
pub mod simulated;
pub mod span;
pub mod state;
pub mod tenant;
pub mod tensor;
pub mod time;
pub mod trace;

pub use bulk_id::{BadBulkId, BulkId};
pub use callback::{
    BadCallbackUrl, BadEventId, BadEvents, CALLBACK_URL_MAX, Callback, CallbackUrl, Event, EventId, Events,
};
pub use client::{BadClientKey, CLIENT_NAME_MAX, ClientKey};
pub use code::Code;
pub use dtype::DType;
pub use id::{Attempt, BatchId, InstanceId, TaskId};
pub use letter::{DeadLetter, EVIDENCE_BYTES_MAX, EVIDENCE_LINES_MAX, Evidence};
pub use name::ModelName;
pub use outcome::{Again, Failure, Outcome, Stage};
pub use payload::Payload;
pub use record::{HISTORY_MAX, Redelivery, Revision, TaskRecord, TaskSummary};
pub use retry::RetryTerms;
pub use reuse::CacheUse;
pub use span::{Span, SpanKind, Spans, Word};
pub use state::{IllegalMove, Move, State};
pub use tenant::{BadTenant, Ownership, TENANT_MAX, Tenant};
pub use tensor::{Shape, Tensor, TensorSet, TensorSpec};
pub use time::{BadTimestamp, Timestamp};
pub use trace::{BadTrace, SpanId, Trace, TraceId, TraceState};
