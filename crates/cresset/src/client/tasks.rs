//! The call to `GET /v1/tasks`, and what it answers, as far as the command line reads it.

use cresset_task::{State, TaskId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CallError, Client};

/// Which tasks to list.
#[derive(Debug, Default)]
pub(crate) struct TaskFilter<'a> {
    pub(crate) model: Option<&'a str>,
    pub(crate) state: Option<State>,
}

/// A task in a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) task_id: TaskId,
    pub(crate) model: String,
    pub(crate) status: String,
    pub(crate) created_at: String,
    pub(crate) finished_at: Option<String>,
    pub(crate) attempts: Option<u32>,
}

impl Client {
    /// The newest tasks, as the server writes them, `limit` at most.
    pub(crate) async fn tasks(
        &self,
        filter: &TaskFilter<'_>,
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>, CallError> {
        let filter = [("model", filter.model), ("status", filter.state.map(State::name))];
        self.newest("/v1/tasks", &filter, limit).await
    }
}
