//! The calls to `/v1/batches`, and what they answer, as far as the command line reads it.

use std::time::Duration;

use bytes::Bytes;
use cresset_task::BulkId;
use reqwest::{Method, Response, header};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::upload::header_json;
use super::wait::AWAY_MAX;
use super::{CALL_TIMEOUT, CallError, Client, Upload, error};

/// Cancelling answers when every task of the batch is: a hundred thousand take a while.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks at a batch that is waited for, at first and at most: each is half as long again as the one before.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A batch.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Batch {
    #[serde(deserialize_with = "id")]
    pub(crate) batch_id: BulkId,
    pub(crate) model: String,
    /// `accepting`, `in_progress`, `completed`, `cancelling` or `cancelled`.
    pub(crate) status: String,
    pub(crate) accepted: u64,
    pub(crate) total: Option<u64>,
    pub(crate) counts: Counts,
    pub(crate) created_at: Option<String>,
    pub(crate) finished_at: Option<String>,
    pub(crate) cancelled_at: Option<String>,
    #[serde(default)]
    pub(crate) metadata: Option<Box<RawValue>>,
}

/// How many of its lines are where.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) pending: u64,
    pub(crate) started: u64,
    pub(crate) retry: u64,
    pub(crate) success: u64,
    pub(crate) failure: u64,
    pub(crate) revoked: u64,
    pub(crate) invalid: u64,
    pub(crate) expired: u64,
}

impl Batch {
    /// Whether every line has ended and no more will come.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "cancelled")
    }
}

fn id<'de, D: Deserializer<'de>>(from: D) -> Result<BulkId, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// What a batch is begun with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) model: &'a str,
    /// The caller's name for it: under the same one all lines can be sent again.
    pub(crate) key: &'a str,
    /// A JSON object.
    pub(crate) metadata: Option<&'a RawValue>,
}

/// How waiting for a batch ended.
#[derive(Debug)]
pub(crate) enum BatchWaitEnd {
    /// Every line has ended.
    Ended(Batch, Bytes),
    /// The limit ran out first; the batch as it was last seen.
    TimedOut(Batch),
}

impl Client {
    /// Sends the lines of a batch; the answer comes when all are accepted.
    pub(crate) async fn batch_submit(
        &self,
        opening: &Opening<'_>,
        lines: Upload,
    ) -> Result<(Batch, Bytes), CallError> {
        let mut request = self
            .request(Method::POST, "/v1/batches")
            .query(&[("model", opening.model)])
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header("idempotency-key", opening.key);
        if let Some(metadata) = opening.metadata {
            request = request.header("cresset-metadata", header_json(metadata));
        }
        self.send_lines(request, lines).await
    }

    /// A batch as it is now.
    pub(crate) async fn batch(&self, id: BulkId) -> Result<(Batch, Bytes), CallError> {
        let request = self.request(Method::GET, &format!("/v1/batches/{id}"));
        self.read(request.timeout(CALL_TIMEOUT)).await
    }

    /// Ends a batch: every task of it that has not ended is revoked.
    pub(crate) async fn batch_cancel(&self, id: BulkId) -> Result<(Batch, Bytes), CallError> {
        let request = self.request(Method::POST, &format!("/v1/batches/{id}/cancel"));
        self.read(request.timeout(CANCEL_TIMEOUT)).await
    }

    /// The batches begun last, as the server writes them, `limit` at most.
    pub(crate) async fn batches(&self, limit: usize) -> Result<Vec<Box<RawValue>>, CallError> {
        self.newest("/v1/batches", &[], limit).await
    }

    /// Waits until every line of a batch has ended that was seen like this, `limit` at most, across the server's restarts.
    pub(crate) async fn batch_wait(
        &self,
        seen: (Batch, Bytes),
        limit: Option<Duration>,
    ) -> Result<BatchWaitEnd, CallError> {
        let started = Instant::now();
        let (mut batch, mut document) = seen;
        let (mut pause, longest) = LOOKS;
        let mut answered = Instant::now();
        loop {
            if batch.is_final() {
                return Ok(BatchWaitEnd::Ended(batch, document));
            }
            let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok(BatchWaitEnd::TimedOut(batch));
            }
            sleep(left.map_or(pause, |left| pause.min(left))).await;
            pause = longest.min(pause * 3 / 2);
            match self.batch(batch.batch_id).await {
                Ok(seen) => {
                    (batch, document) = seen;
                    answered = Instant::now();
                }
                Err(error) if error.passes() && answered.elapsed() < AWAY_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What became of the lines from number `from` on, to be read piece by piece with [`Client::piece`].
    pub(crate) async fn batch_results(&self, id: BulkId, from: u64) -> Result<Response, CallError> {
        let request = self
            .request(Method::GET, &format!("/v1/batches/{id}/results"))
            .query(&[("from", from)]);
        let sent = tokio::time::timeout(CALL_TIMEOUT, request.send()).await;
        let response = sent
            .map_err(|_| self.silent())?
            .map_err(|error| CallError::transport(&self.target, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = error::retry_after(response.headers());
        let body = self.body(response).await?;
        Err(CallError::refused(&self.target, status, retry_after, &body))
    }

    /// The next piece of an answer, `None` at its end.
    pub(crate) async fn piece(&self, response: &mut Response) -> Result<Option<Bytes>, CallError> {
        tokio::time::timeout(CALL_TIMEOUT, response.chunk())
            .await
            .map_err(|_| self.silent())?
            .map_err(|error| CallError::transport(&self.target, error))
    }

    fn silent(&self) -> CallError {
        CallError::Lost {
            url: self.target.to_string(),
            why: "no answer in time".to_owned(),
        }
    }
}
