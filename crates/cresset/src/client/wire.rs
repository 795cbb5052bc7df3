//! The documents that go over the wire, as far as the command line reads them. Numbers inside inputs, results and
//! metadata are handed on as they are written, never through a float.
//!
//! Unknown fields are ignored: a newer server may say more.

use cresset_task::{Code, State, TaskId};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::exit::{Exit, Trouble};

/// The answer to a submit.
#[derive(Debug, Deserialize)]
pub(crate) struct Accepted {
    /// The task's id.
    pub(crate) task_id: TaskId,
}

/// The answer to a cancellation.
#[derive(Debug, Deserialize)]
pub(crate) struct Cancelled {
    #[serde(deserialize_with = "state")]
    pub(crate) status: State,
    /// `before`, `during` or `too_late`.
    pub(crate) cancelled: String,
    /// When its process is killed if it does not let go.
    #[serde(default)]
    pub(crate) grace_ms: Option<u64>,
}

/// A task.
#[derive(Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) task_id: TaskId,
    pub(crate) model: String,
    pub(crate) version: Option<String>,
    #[serde(deserialize_with = "state")]
    pub(crate) status: State,
    /// In SUCCESS; a result that is `null` reads as `None`.
    #[serde(default)]
    pub(crate) result: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) error: Option<TaskError>,
    pub(crate) created_at: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
    pub(crate) attempts: Option<u32>,
    pub(crate) retries: Option<u32>,
    /// Older servers do not say.
    #[serde(default)]
    pub(crate) cached: bool,
    pub(crate) eta: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) deadline_at: Option<String>,
    #[serde(default)]
    pub(crate) retry: Option<RetryShown>,
    #[serde(default)]
    pub(crate) history: Vec<Redelivery>,
    pub(crate) queue_position: Option<u64>,
    /// While it runs, if its model says so.
    #[serde(default)]
    pub(crate) progress: Option<Progress>,
    #[serde(default)]
    pub(crate) metadata: Option<Box<RawValue>>,
}

/// How a task is tried again, as far as its submitter says it.
#[derive(Debug, Deserialize)]
pub(crate) struct RetryShown {
    pub(crate) max_retries: Option<u32>,
    pub(crate) delay: Option<String>,
    pub(crate) max_delay: Option<String>,
    pub(crate) on: Option<Vec<String>>,
}

/// How far a task has come.
#[derive(Debug, Deserialize)]
pub(crate) struct Progress {
    /// 0 to 1.
    pub(crate) fraction: f64,
    /// In the model's words.
    pub(crate) message: Option<String>,
}

/// Why a task ran once more.
#[derive(Debug, Deserialize)]
pub(crate) struct Redelivery {
    pub(crate) attempt: u32,
    pub(crate) at: String,
    pub(crate) reason: String,
}

impl Task {
    /// The result's text; call it on a task in SUCCESS.
    pub(crate) fn result_text(&self) -> &str {
        self.result.as_deref().map_or("null", RawValue::get)
    }

    /// What ended the task, when that is not success.
    pub(crate) fn failure(&self) -> Option<Trouble> {
        let named = |what: &str| format!("task {} {what}", self.task_id);
        match self.status {
            State::Failure => {
                let error = self.error.as_ref();
                let exit = error
                    .and_then(TaskError::code)
                    .map_or(Exit::TASK_FAILED, Exit::from);
                let words =
                    error.map_or_else(|| "the server gives no reason".to_owned(), TaskError::to_string);
                let mut trouble = Trouble::new(exit, named(&format!("failed: {words}")));
                for line in error
                    .and_then(|e| e.traceback.as_deref())
                    .unwrap_or_default()
                    .lines()
                {
                    trouble = trouble.detail(line);
                }
                let shown = error.is_some_and(|error| error.traceback.is_some());
                Some(match error.and_then(TaskError::code) {
                    Some(Code::ModelError) if shown => trouble,
                    Some(Code::ModelError) => trouble
                        .hint("the server's log has the traceback; `cresset serve --show-tracebacks` gives it to callers"),
                    Some(code) => trouble.hint(code.remedy()),
                    None => trouble,
                })
            }
            State::Revoked => {
                let why = self
                    .error
                    .as_ref()
                    .map(|error| format!(": {error}"))
                    .unwrap_or_default();
                Some(Trouble::new(
                    Exit::TASK_FAILED,
                    named(&format!("was revoked{why}")),
                ))
            }
            State::Pending | State::Started | State::Retry | State::Success => None,
        }
    }
}

/// Why a task failed.
#[derive(Debug, Deserialize)]
pub(crate) struct TaskError {
    code: Option<String>,
    #[serde(rename = "type")]
    pub(crate) type_: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) traceback: Option<String>,
}

impl TaskError {
    /// The stable code, if it is one we know.
    pub(crate) fn code(&self) -> Option<Code> {
        self.code.as_deref()?.parse().ok()
    }

    /// The code as it was sent.
    pub(crate) fn code_text(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl std::fmt::Display for TaskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        match (text(&self.type_), text(&self.message)) {
            (Some(type_), Some(message)) => write!(f, "{type_}: {message}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one),
            (None, None) => f.write_str(self.code.as_deref().unwrap_or("no reason given")),
        }
    }
}

/// All models.
#[derive(Debug, Deserialize)]
pub(crate) struct Models {
    pub(crate) models: Vec<Model>,
}

/// One model. What an older or newer server does not say is shown as `-`.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) last_failure: Option<String>,
    #[serde(default)]
    pub(crate) inputs: Vec<Tensor>,
    #[serde(default)]
    pub(crate) outputs: Vec<Tensor>,
    #[serde(default)]
    pub(crate) instances: Vec<Instance>,
    pub(crate) batching: Option<Batching>,
    pub(crate) queue: Option<Queue>,
    pub(crate) running: Option<u64>,
    pub(crate) waiting: Option<u64>,
    pub(crate) items_per_second: Option<f64>,
}

/// A tensor that a model declares.
#[derive(Debug, Deserialize)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<i64>,
}

/// A process of a model.
#[derive(Debug, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: u64,
    pub(crate) device: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) restarts: Option<u64>,
    pub(crate) recycled: Option<u64>,
    pub(crate) replacement: Option<Replacement>,
    pub(crate) runtime: Option<String>,
}

/// The replacing of a process that still serves.
#[derive(Debug, Deserialize)]
pub(crate) struct Replacement {
    pub(crate) reason: String,
    pub(crate) failures: u64,
    pub(crate) last_failure: Option<String>,
}

/// How a model's batches form.
#[derive(Debug, Deserialize)]
pub(crate) struct Batching {
    pub(crate) max_batch_size: u64,
    pub(crate) max_delay_ms: f64,
}

/// A model's durable queue.
#[derive(Debug, Deserialize)]
pub(crate) struct Queue {
    pub(crate) tasks: u64,
}

fn state<'de, D: Deserializer<'de>>(input: D) -> Result<State, D::Error> {
    String::deserialize(input)?
        .parse()
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_keeps_its_digits_and_null_is_a_result() {
        let read = |result: &str| -> Task {
            let id = TaskId::fresh();
            serde_json::from_str(&format!(
                r#"{{"task_id":"{id}","model":"m","status":"SUCCESS","result":{result},"new_field":1}}"#
            ))
            .unwrap()
        };
        assert_eq!(
            read("0.10000000000000000001").result_text(),
            "0.10000000000000000001"
        );
        assert_eq!(read("null").result_text(), "null");
    }

    #[test]
    fn an_unknown_state_is_not_taken_for_one_we_know() {
        let text = format!(
            r#"{{"task_id":"{}","model":"m","status":"DONE"}}"#,
            TaskId::fresh()
        );
        let error = serde_json::from_str::<Task>(&text).unwrap_err().to_string();
        assert!(error.contains("a status is one of PENDING"), "{error}");
    }
}
