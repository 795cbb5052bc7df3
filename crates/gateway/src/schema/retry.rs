//! How a task is tried again: as it is submitted, and as it is shown.

use cresset_task as task;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::task::DurationText;
use crate::duration;

/// How a task is tried again, in the words of the model's `[retry]`.
#[expect(dead_code, reason = "described here, read as raw JSON elsewhere")]
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryBody {
    /// How often at most, where `on` or the model's own `cresset.Retry` says so. 0 is never.
    #[schema(minimum = 0, maximum = 1000)]
    pub(crate) max_retries: Option<u32>,
    /// The wait before the first retry, at most a day; each further one is twice as long. Each is spread by a fifth either way.
    pub(crate) delay: Option<DurationText>,
    /// The longest wait, at most a day; no shorter than `delay`.
    pub(crate) max_delay: Option<DurationText>,
    /// The exceptions that are tried again, at most 64, by their classes as `error.type` names them; `*` is any. `cresset.Reject`
    /// is never.
    #[schema(max_items = 64, example = json!(["TimeoutError"]))]
    pub(crate) on: Option<Vec<String>>,
}

/// How a task is tried again, as far as its submitter says it; in the words of its submit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RetryTerms<'a> {
    /// As submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_retries: Option<u32>,
    /// As submitted, to the millisecond.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "30s")]
    pub(crate) delay: Option<String>,
    /// Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "10m")]
    pub(crate) max_delay: Option<String>,
    /// As submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on: Option<&'a [String]>,
}

impl<'a> RetryTerms<'a> {
    pub(crate) fn of(terms: &'a task::RetryTerms) -> Self {
        Self {
            max_retries: terms.max_retries,
            delay: terms.delay.map(duration::show),
            max_delay: terms.max_delay.map(duration::show),
            on: terms.on.as_deref(),
        }
    }
}
