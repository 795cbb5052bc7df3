//! One line of the output: what became of one line of the input.

use cresset_task::{Code, State, TaskId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::client::{CallError, Task};

/// What became of a line.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    /// The line of the input, counted from 1.
    line: u64,
    /// The task it became; none if it became none.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<TaskId>,
    status: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(Debug, Serialize)]
struct Error {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_: Option<String>,
    message: String,
}

impl Record {
    /// A line whose task has ended.
    pub(super) fn ended(line: u64, task: Task) -> Self {
        let success = task.status == State::Success;
        let error = (!success).then(|| Error {
            code: task
                .error
                .as_ref()
                .and_then(|error| error.code_text())
                .map(str::to_owned),
            type_: task.error.as_ref().and_then(|error| error.type_.clone()),
            message: task
                .error
                .and_then(|error| error.message)
                .unwrap_or_else(|| "no reason given".to_owned()),
        });
        let result = success.then(|| task.result.unwrap_or_else(|| RawValue::NULL.to_owned()));
        Self {
            line,
            task_id: Some(task.task_id),
            status: task.status,
            result,
            error,
        }
    }

    /// A line that is not an input.
    pub(super) fn bad_line(line: u64, message: String) -> Self {
        let error = Error {
            code: Some(Code::MalformedBody.name().to_owned()),
            type_: None,
            message,
        };
        Self {
            line,
            task_id: None,
            status: State::Failure,
            result: None,
            error: Some(error),
        }
    }

    /// A line that the server refused, or whose task it does not know any more.
    pub(super) fn refused(line: u64, task_id: Option<TaskId>, refusal: &CallError) -> Self {
        let mut message = refusal.to_string();
        if let CallError::Refused(problem) = refusal {
            for field in problem.errors.iter().filter(|_| problem.errors.len() > 1) {
                message.push_str("; ");
                message.push_str(field);
            }
        }
        let error = Error {
            code: refusal.code().map(|code| code.name().to_owned()),
            type_: None,
            message,
        };
        Self {
            line,
            task_id,
            status: State::Failure,
            result: None,
            error: Some(error),
        }
    }

    /// True when the line gave a result.
    pub(super) fn is_success(&self) -> bool {
        self.status == State::Success
    }

    /// One line of JSON, ended.
    pub(super) fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        // A result keeps its own text, which may be spread over lines; in JSON a line's end is only ever white space.
        for byte in bytes.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_one_line_and_say_what_became_of_the_task() {
        let task = |rest: &str| -> Task {
            let text = format!(r#"{{"task_id":"019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10","model":"m",{rest}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let records = [
            Record::ended(1, task("\"status\":\"SUCCESS\",\"result\":[1.50,\n 2]")),
            Record::ended(2, task(r#""status":"SUCCESS","result":null"#)),
            Record::ended(
                3,
                task(
                    r#""status":"FAILURE","error":{"code":"model_error","type":"ValueError","message":"odd"}"#,
                ),
            ),
            Record::ended(4, task(r#""status":"REVOKED""#)),
            Record::bad_line(5, "not JSON: expected value at column 1".into()),
        ];
        let text: Vec<u8> = records
            .iter()
            .flat_map(|record| record.render().unwrap())
            .collect();
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }
}
