//! The calls to `/v1/dead`, and what they answer, as far as the command line reads it.

use bytes::Bytes;
use cresset_task::TaskId;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CALL_TIMEOUT, CallError, Client};

/// A dead letter.
#[derive(Debug, Deserialize)]
pub(crate) struct Letter {
    pub(crate) task_id: TaskId,
    pub(crate) model: String,
    pub(crate) version: Option<String>,
    pub(crate) created_at: Option<String>,
    pub(crate) died_at: String,
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) tried: Option<u32>,
    pub(crate) resident_bytes: Option<u64>,
    /// `None` where the server does not show it.
    pub(crate) log: Option<Vec<String>>,
    pub(crate) input_bytes: Option<u64>,
    pub(crate) replayed_as: Option<TaskId>,
    #[serde(default)]
    pub(crate) metadata: Option<Box<RawValue>>,
}

/// The task that was made of a letter.
#[derive(Debug, Deserialize)]
pub(crate) struct Replayed {
    pub(crate) task_id: TaskId,
}

/// What was thrown away.
#[derive(Debug, Deserialize)]
pub(crate) struct Purged {
    pub(crate) purged: u64,
}

impl Client {
    /// The newest letters, as the server writes them, `limit` at most.
    pub(crate) async fn letters(
        &self,
        model: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>, CallError> {
        self.newest("/v1/dead", &[("model", model)], limit).await
    }

    /// One letter.
    pub(crate) async fn letter(&self, id: TaskId) -> Result<(Letter, Bytes), CallError> {
        let request = self.request(Method::GET, &format!("/v1/dead/{id}"));
        self.read(request.timeout(CALL_TIMEOUT)).await
    }

    /// A letter's input, as JSON.
    pub(crate) async fn letter_input(&self, id: TaskId) -> Result<Bytes, CallError> {
        let request = self.request(Method::GET, &format!("/v1/dead/{id}/input"));
        let (_, input): (Box<RawValue>, _) = self.read(request.timeout(CALL_TIMEOUT)).await?;
        Ok(input)
    }

    /// Makes a task of a letter, or gives the one that was made of it.
    pub(crate) async fn replay(&self, id: TaskId) -> Result<(Replayed, Bytes), CallError> {
        let request = self.request(Method::POST, &format!("/v1/dead/{id}/replay"));
        self.read(request.timeout(CALL_TIMEOUT)).await
    }

    /// Throws one letter away.
    pub(crate) async fn purge_letter(&self, id: TaskId) -> Result<Purged, CallError> {
        let request = self.request(Method::DELETE, &format!("/v1/dead/{id}"));
        Ok(self.read(request.timeout(CALL_TIMEOUT)).await?.0)
    }

    /// Throws away all that match; all there are when nothing is said.
    pub(crate) async fn purge_letters(
        &self,
        model: Option<&str>,
        before: Option<&str>,
    ) -> Result<Purged, CallError> {
        let all = (model.is_none() && before.is_none()).then_some("true");
        let query = [("model", model), ("before", before), ("all", all)];
        let request = self.request(Method::DELETE, "/v1/dead").query(&query);
        Ok(self.read(request.timeout(CALL_TIMEOUT)).await?.0)
    }
}
