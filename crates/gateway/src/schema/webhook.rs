//! Webhooks.
#![expect(dead_code, reason = "described here, written as raw JSON elsewhere")]

use serde::Deserialize;
use utoipa::ToSchema;

/// Where a webhook stands.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum WebhookState {
    /// It will be sent, at its `due_at`.
    Waiting,
    /// It is being sent.
    Sending,
    /// The other side has it.
    Delivered,
    /// It was tried as often as it is, or may not be sent there.
    Failed,
    /// Its address answered 410 Gone, to it or before.
    Disabled,
}

/// Something told of a task, or to be told.
#[derive(Debug, ToSchema)]
pub(crate) struct Webhook {
    /// Its name, the `webhook-id` of every try.
    #[schema(example = "evt_019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10_succeeded")]
    pub(crate) id: String,
    /// The task that it tells of.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// The task's model.
    pub(crate) model: String,
    /// What it tells.
    #[schema(rename = "type", example = "task.succeeded")]
    pub(crate) type_: String,
    /// Whom it is told; what follows a `?` is not shown.
    pub(crate) url: String,
    /// The part of it that decides how much is sent at once.
    #[schema(example = "example.com:443")]
    pub(crate) host: String,
    /// Where it stands.
    pub(crate) state: WebhookState,
    /// When what it tells of happened.
    #[schema(format = DateTime)]
    pub(crate) timestamp: String,
    /// How often it was sent, since it was first due or replayed.
    pub(crate) tries: u32,
    /// When it is sent next, while it waits.
    #[schema(required, format = DateTime)]
    pub(crate) due_at: Option<String>,
    /// When it was delivered or given up.
    #[schema(required, format = DateTime)]
    pub(crate) settled_at: Option<String>,
    /// The status of the newest answer.
    #[schema(required)]
    pub(crate) status: Option<u16>,
    /// What was wrong with the newest try.
    #[schema(required)]
    pub(crate) note: Option<String>,
}

/// A page of webhooks.
#[derive(Debug, ToSchema)]
pub(crate) struct Webhooks {
    /// The newest first.
    pub(crate) webhooks: Vec<Webhook>,
    /// Digits: `after` of the next page; null when this was the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

/// Where to send a message on trial.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestBody {
    /// As `callback_url` of a submit.
    #[schema(format = "uri", example = "https://example.com/hooks/cresset")]
    pub(crate) url: String,
}

/// What came of it.
#[derive(Debug, ToSchema)]
pub(crate) struct Tested {
    /// The `webhook-id` that was sent.
    pub(crate) id: String,
    /// A real one would count as delivered.
    pub(crate) delivered: bool,
    /// What was answered; null when nothing was.
    #[schema(required)]
    pub(crate) status: Option<u16>,
    /// The beginning of the answer's text; null when nothing was answered.
    #[schema(required)]
    pub(crate) text: Option<String>,
    /// Why nothing was answered.
    #[schema(required)]
    pub(crate) problem: Option<String>,
    /// How long it took.
    pub(crate) took_ms: u64,
}
