//! The call to `GET /v1/tasks`, and what it answers, as far as the command line reads it.

use cresset_task::{State, TaskId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CALL_TIMEOUT, CallError, Client};

/// Which tasks to list.
#[derive(Debug, Default)]
pub(crate) struct TaskFilter<'a> {
    pub(crate) model: Option<&'a str>,
    pub(crate) state: Option<State>,
}

/// A page of tasks.
#[derive(Debug, Deserialize)]
pub(crate) struct TaskPage {
    /// As the server writes them.
    pub(crate) tasks: Vec<Box<RawValue>>,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
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
    /// One page of tasks, `limit` at most.
    pub(crate) async fn tasks(
        &self,
        filter: &TaskFilter<'_>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<TaskPage, CallError> {
        let limit = limit.to_string();
        let query = [
            ("limit", Some(&*limit)),
            ("model", filter.model),
            ("status", filter.state.map(State::name)),
            ("after", after),
        ];
        let request = self.request(Method::GET, "/v1/tasks").query(&query);
        Ok(self.read(request.timeout(CALL_TIMEOUT)).await?.0)
    }
}
