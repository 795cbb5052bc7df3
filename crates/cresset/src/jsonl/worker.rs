//! The life of one line: submit, remember, wait. Told to stop, it comes back at the next place where nothing is half
//! done: a submit that is under way is seen through and remembered.

use std::sync::Arc;

use bytes::Bytes;
use cresset_task::{Code, RetryTerms, TaskId};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::journal::{Entry, Journal, digest};
use super::lines::{LINE_MAX, Line};
use super::patience::Patience;
use super::record::Record;
use crate::client::{CallError, Client, POLL, SubmitBody};
use crate::exit::{Exit, Trouble};

/// What all workers of a run share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) model: String,
    pub(super) priority: Option<i8>,
    pub(super) metadata: Option<Box<RawValue>>,
    pub(super) retry: Option<RetryTerms>,
    pub(super) journal: Journal,
    pub(super) patience: Patience,
    pub(super) stop: CancellationToken,
}

/// How a line's life ended.
#[derive(Debug)]
pub(super) enum End {
    /// It has its record.
    Done(Record),
    /// Told to stop; the line was not submitted.
    NotSubmitted,
    /// Told to stop; the task is remembered and goes on without us.
    LeftWaiting,
    /// Nothing more can be done for this line or any other.
    Fatal(Trouble),
}

impl Worker {
    /// Runs the line to its end. `known`: the task it became in an earlier run.
    pub(super) async fn run(self: Arc<Self>, line: Line, known: Option<Entry>) -> End {
        match self.try_run(line, known).await {
            Ok(end) => end,
            Err(trouble) => End::Fatal(trouble),
        }
    }

    async fn try_run(&self, line: Line, known: Option<Entry>) -> Result<End, Trouble> {
        let number = line.number;
        let Some(text) = line.text else {
            let message = format!("the line is longer than {LINE_MAX} bytes");
            return Ok(End::Done(Record::bad_line(number, message)));
        };
        let digest = digest(&text);
        if let Some(entry) = known {
            if entry.digest != digest {
                return Err(changed(number));
            }
            match self.wait(number, entry.task_id).await? {
                Waited::End(end) => return Ok(end),
                // The server has no such task (its store was replaced): the line is to be submitted after all.
                Waited::Unknown(_) => {}
            }
        }
        let body = match serde_json::from_slice::<&RawValue>(&text) {
            Ok(input) => SubmitBody {
                priority: self.priority,
                metadata: self.metadata.as_deref(),
                retry: self.retry.as_ref(),
                ..SubmitBody::default()
            }
            .render(input),
            Err(error) => return Ok(End::Done(Record::bad_line(number, not_json(&error)))),
        };
        drop(text);
        let task_id = match self.submit(number, body).await? {
            Submitted::Accepted(task_id) => task_id,
            Submitted::End(end) => return Ok(end),
        };
        self.journal.remember(Entry {
            line: number,
            task_id,
            digest,
        })?;
        match self.wait(number, task_id).await? {
            Waited::End(end) => Ok(end),
            Waited::Unknown(error) => Ok(End::Done(Record::refused(number, Some(task_id), &error))),
        }
    }

    async fn submit(&self, line: u64, body: Bytes) -> Result<Submitted, Trouble> {
        let key = self.journal.key(line);
        for attempt in 0.. {
            if self.stop.is_cancelled() {
                break;
            }
            let error = match self.client.submit(&self.model, body.clone(), Some(&key)).await {
                Ok((accepted, _)) => {
                    self.patience.good(Instant::now());
                    return Ok(Submitted::Accepted(accepted.task_id));
                }
                Err(error) => error,
            };
            if error.passes() {
                self.pause(attempt, &error).await?;
            } else if concerns_all(&error) {
                return Err(error.trouble());
            } else {
                self.patience.good(Instant::now());
                return Ok(Submitted::End(End::Done(Record::refused(line, None, &error))));
            }
        }
        Ok(Submitted::End(End::NotSubmitted))
    }

    async fn wait(&self, line: u64, id: TaskId) -> Result<Waited, Trouble> {
        let mut attempt = 0;
        loop {
            // Dropping a wait loses nothing: the task is remembered.
            let answer = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Waited::End(End::LeftWaiting)),
                answer = self.client.task(id, Some(POLL)) => answer,
            };
            match answer {
                Ok((task, _)) if task.status.is_terminal() => {
                    self.patience.good(Instant::now());
                    return Ok(Waited::End(End::Done(Record::ended(line, task))));
                }
                Ok(_) => {
                    self.patience.good(Instant::now());
                    attempt = 0;
                }
                Err(error) if error.passes() => {
                    self.pause(attempt, &error).await?;
                    attempt += 1;
                }
                Err(error) if error.code() == Some(Code::UnknownTask) => return Ok(Waited::Unknown(error)),
                Err(error) if concerns_all(&error) => return Err(error.trouble()),
                Err(error) => return Ok(Waited::End(End::Done(Record::refused(line, Some(id), &error)))),
            }
        }
    }

    /// Pauses before another try, or until told to stop; an error when the server has been away for too long.
    async fn pause(&self, attempt: u32, error: &CallError) -> Result<(), Trouble> {
        let Some(pause) = self.patience.pause(Instant::now(), attempt, error) else {
            return Err(error.trouble());
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }
}

enum Submitted {
    Accepted(TaskId),
    End(End),
}

enum Waited {
    End(End),
    Unknown(CallError),
}

/// True when every other line would be answered the same.
fn concerns_all(error: &CallError) -> bool {
    match error {
        CallError::Foreign { .. } => true,
        CallError::Refused(problem) => {
            matches!(problem.status, 401 | 403)
                || matches!(
                    problem.code,
                    Some(
                        Code::UnknownModel
                            | Code::UnknownRoute
                            | Code::MethodNotAllowed
                            | Code::UnsupportedMediaType
                    )
                )
        }
        CallError::Unreachable { .. }
        | CallError::Lost { .. }
        | CallError::TooLarge { .. }
        | CallError::Unread { .. } => false,
    }
}

fn changed(line: u64) -> Trouble {
    Trouble::new(
        Exit::DATA,
        format!("line {line} of the input is not the one that was submitted"),
    )
    .hint("give the input that the run was started with, or begin anew with another --output")
}

/// The parser's words, its line number (always 1) taken out: a record names the line of the file.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("not JSON: {what} at column {}", error.column())
}
