//! The call to `/v1/workers`, and what it answers, as far as the command line reads it.

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;

use super::{CALL_TIMEOUT, CallError, Client};

/// The servers on a store.
#[derive(Debug, Deserialize)]
pub(crate) struct Workers {
    pub(crate) workers: Vec<Worker>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(crate) struct Worker {
    pub(crate) id: i64,
    pub(crate) role: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) stopping: bool,
    pub(crate) since: String,
    pub(crate) seen_at: String,
    pub(crate) models: Vec<WorkerModel>,
}

/// A model that it runs.
#[derive(Debug, Deserialize)]
pub(crate) struct WorkerModel {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) state: String,
    pub(crate) instances: usize,
    pub(crate) instances_ready: usize,
    pub(crate) running: usize,
}

impl Client {
    /// All servers on the store of this one.
    pub(crate) async fn workers(&self) -> Result<(Workers, Bytes), CallError> {
        let request = self.request(Method::GET, "/v1/workers");
        self.read(request.timeout(CALL_TIMEOUT)).await
    }
}
