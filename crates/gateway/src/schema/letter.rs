//! Dead letters.
#![expect(dead_code, reason = "described here, written as raw JSON elsewhere")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::{RetryTerms, Status};

/// An input that took its process down.
#[derive(Debug, ToSchema)]
pub(crate) struct Letter {
    /// Its id: that of its task.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// The model that the input was for.
    pub(crate) model: String,
    /// The model version that died of it.
    #[schema(required)]
    pub(crate) version: Option<String>,
    /// When the task was accepted.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When the input was found guilty.
    #[schema(format = DateTime)]
    pub(crate) died_at: String,
    /// The kind of death, as metrics name it: `exit`, `signal`, `out_of_memory`, `hung`, `protocol`.
    pub(crate) cause: String,
    /// The same in words.
    pub(crate) reason: String,
    /// How often the input was in a batch whose process died.
    pub(crate) tried: u32,
    /// Memory of the process, when it was last looked at before its death.
    #[schema(required)]
    pub(crate) resident_bytes: Option<u64>,
    /// The last lines that the process printed, oldest first, at most 40; null unless the server shows tracebacks.
    #[schema(required)]
    pub(crate) log: Option<Vec<String>>,
    /// Of the task; a replay keeps it.
    pub(crate) priority: i8,
    /// How its submitter had the task tried again; a replay keeps it. Null leaves that to its model.
    #[schema(required)]
    pub(crate) retry: Option<RetryTerms<'static>>,
    /// Bytes of the input in stored form.
    pub(crate) input_bytes: u64,
    /// The task that was made of it, once it has been replayed.
    #[schema(required, format = "uuid")]
    pub(crate) replayed_as: Option<String>,
    /// Of the task; a replay keeps it.
    #[schema(required)]
    pub(crate) metadata: Option<BTreeMap<String, Value>>,
}

/// A page of dead letters.
#[derive(Debug, ToSchema)]
pub(crate) struct Letters {
    /// The newest first.
    pub(crate) letters: Vec<Letter>,
    /// Digits: `after` of the next page; null when this was the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

/// The task that was made of a letter.
#[derive(Debug, ToSchema)]
pub(crate) struct ReplayedLetter {
    /// Its id.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// Its model.
    pub(crate) model: String,
    /// Where it is in its life; null once it has been purged.
    #[schema(required)]
    pub(crate) status: Option<Status>,
    /// When it was accepted; null once it has been purged.
    #[schema(required, format = DateTime)]
    pub(crate) created_at: Option<String>,
    /// As in `Accepted`.
    pub(crate) durable: bool,
    /// The letter.
    #[schema(format = "uuid")]
    pub(crate) replay_of: String,
}

/// What was thrown away.
#[derive(Debug, ToSchema)]
pub(crate) struct Purged {
    /// So many letters.
    pub(crate) purged: u64,
}
