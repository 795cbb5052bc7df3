//! The calls to `/v1/webhooks`, and what they answer, as far as the command line reads it.

use bytes::Bytes;
use cresset_task::{EventId, TaskId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CALL_TIMEOUT, CallError, Client};

/// A webhook.
#[derive(Debug, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) state: String,
    pub(crate) timestamp: String,
    pub(crate) tries: u32,
    pub(crate) due_at: Option<String>,
    pub(crate) note: Option<String>,
}

/// What came of a webhook on trial.
#[derive(Debug, Deserialize)]
pub(crate) struct Tested {
    pub(crate) delivered: bool,
    pub(crate) status: Option<u16>,
    pub(crate) text: Option<String>,
    pub(crate) problem: Option<String>,
    pub(crate) took_ms: u64,
}

/// Which webhooks to list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WebhookFilter<'a> {
    pub(crate) state: Option<&'a str>,
    pub(crate) task: Option<TaskId>,
    pub(crate) host: Option<&'a str>,
}

impl Client {
    /// The newest webhooks that match, as the server writes them, `limit` at most.
    pub(crate) async fn webhooks(
        &self,
        filter: WebhookFilter<'_>,
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>, CallError> {
        let task = filter.task.map(|id| id.to_string());
        let filter = [
            ("state", filter.state),
            ("task", task.as_deref()),
            ("host", filter.host),
        ];
        self.newest("/v1/webhooks", &filter, limit).await
    }

    /// Has one sent again.
    pub(crate) async fn replay_webhook(&self, id: EventId) -> Result<(Webhook, Bytes), CallError> {
        let request = self.request(Method::POST, &format!("/v1/webhooks/{id}/replay"));
        self.read(request.timeout(CALL_TIMEOUT)).await
    }

    /// Sends one on trial.
    pub(crate) async fn test_webhook(&self, url: &str) -> Result<(Tested, Bytes), CallError> {
        let body = serde_json::json!({ "url": url });
        let request = self.request(Method::POST, "/v1/webhooks/test").json(&body);
        self.read(request.timeout(CALL_TIMEOUT)).await
    }
}
