//! The inbox: tasks that applications wrote into the store's database, taken as there is room for them.
//!
//! ```text
//!   bell, or a look by itself -> rows in their order -> read as a submit is -> room? -- no --> they wait, the others go on
//!                                                             | yes
//!                                            made tasks in the step that removes the rows
//! ```
//!
//! A row passes the checks that a submit passes. What a submit would be refused for good is a task that has failed, with the
//! code and the words of that refusal: nobody is there to be told any other way. What a submit would be told to send again
//! waits where it is. Nothing is kept here that the store does not know: a death at any moment costs nothing.

mod state;
mod taker;

use std::collections::BTreeSet;
use std::sync::Arc;

use cresset_config::ModelConfig;
use cresset_queue::{InboxEntry, InboxRow, InboxTaken, NewTask, QueueError, Turn};
use cresset_task::{Attempt, Callback, Code, Failure, Outcome, Payload, State, TaskId, Timestamp};

use crate::admission::Claims;
use crate::api::{EngineError, Submission};
use crate::engine::{Engine, invalid, unknown};
use crate::inbox::state::InboxState;
use crate::item::check_fit;
use crate::served::Served;
use crate::submit::task_of;
use crate::waiters::News;

/// How rows are read: as a door reads a submit.
pub trait InboxReader: Send + Sync {
    /// What a row submits to this model, or what it is refused with.
    fn read(&self, row: &InboxRow, config: &ModelConfig) -> Result<Submission, Failure>;

    /// Whom it wants told, as far as that can be read; also where nothing else of it can.
    fn callback(&self, row: &InboxRow) -> Option<Callback>;
}

/// The inbox of an engine, once it is open.
pub(crate) struct Inbox {
    reader: Arc<dyn InboxReader>,
    /// A larger input is refused, and not read.
    max_row_bytes: usize,
    pub(crate) state: InboxState,
}

/// A row, read.
struct Read {
    row: InboxRow,
    /// Its model, if that is served.
    served: Option<Arc<Served>>,
    what: Result<Submission, Failure>,
    /// Its model is not served here, and is at another server on the store.
    is_elsewhere: bool,
}

/// What a row is to become, and the room that it has for that.
enum Verdict<'a> {
    Enters(InboxEntry, Option<Claims<'a>>),
    Waits(String),
}

impl Engine {
    /// Takes tasks out of the store's inbox from now on, if it has one. To be called when all models are served: one that is not
    /// known fails its tasks.
    pub fn take_in(&self, reader: Arc<dyn InboxReader>, max_row_bytes: usize) {
        let shared = &self.inner.shared;
        let Some(bell) = shared.backend.inbox() else {
            return;
        };
        let inbox = Arc::new(Inbox {
            reader,
            max_row_bytes,
            state: InboxState::default(),
        });
        if shared.inbox.set(Arc::clone(&inbox)).is_err() {
            tracing::error!("the inbox is being emptied already");
            return;
        }
        self.inner.tracker.spawn(taker::run(self.clone(), inbox, bell));
    }

    /// Makes a revoked task of one row, whoever serves its model and whatever is wrong with it. False: there is no such row (any
    /// more).
    pub(crate) async fn revoke_row(&self, id: TaskId, reason: &str) -> Result<bool, EngineError> {
        let Some(inbox) = self.inner.shared.inbox.get() else {
            return Ok(false);
        };
        let backend = &self.inner.shared.backend;
        // Its input is not wanted.
        let Some(row) = backend.inbox_row(id, 0).await? else {
            return Ok(false);
        };
        let served = self.inner.models.load().get(&row.model).map(Arc::clone);
        let reason = reason.to_owned();
        let entry = self.ended(inbox, &row, served.as_deref(), Outcome::Revoked { reason });
        let entries = [entry];
        let taken = backend.inbox_take(entries.to_vec(), Timestamp::now()).await?;
        self.publish(&entries, &taken);
        Ok(taken == [InboxTaken::Taken])
    }

    /// Reads rows; on a blocking thread where they are many bytes.
    async fn read(&self, inbox: &Arc<Inbox>, rows: Vec<InboxRow>) -> Result<Vec<Read>, EngineError> {
        let bytes = rows.iter().map(weight).sum();
        let models = self.inner.models.load_full();
        let named: BTreeSet<_> = rows.iter().map(|row| &row.model).collect();
        let strangers = named.into_iter().filter(|model| !models.contains_key(*model));
        let strangers: Vec<_> = strangers.cloned().collect();
        let elsewhere = match strangers.is_empty() {
            true => Vec::new(),
            false => self.inner.shared.backend.served_elsewhere(strangers).await?,
        };
        let inbox = Arc::clone(inbox);
        let limit = inbox.max_row_bytes;
        let one = move |row: InboxRow| {
            let served = models.get(&row.model).map(Arc::clone);
            let what = match (&served, &row.input) {
                (None, _) => Err(failure(&unknown(row.model.as_str(), &models))),
                (Some(_), cresset_queue::InboxInput::TooLarge(bytes)) => {
                    Err(failure(&EngineError::TooLarge {
                        setting: "limits.max_body_bytes",
                        limit: limit as u64,
                        bytes: *bytes,
                    }))
                }
                (Some(served), _) => inbox.reader.read(&row, &served.config).and_then(|submission| {
                    check_fit(&submission.input, &served.config).map_err(|why| failure(&invalid(&why)))?;
                    Ok(submission)
                }),
            };
            Read {
                is_elsewhere: elsewhere.contains(&row.model),
                row,
                served,
                what,
            }
        };
        self.digest(bytes, move || rows.into_iter().map(one).collect())
            .await
    }

    /// Whether a row has room, and what it becomes.
    fn admit_row<'a>(&'a self, inbox: &Inbox, read: &'a Read) -> Verdict<'a> {
        if read.is_elsewhere {
            let model = &read.row.model;
            return Verdict::Waits(format!("the server that serves `{model}` has not taken it yet"));
        }
        let (Some(served), Ok(submission)) = (&read.served, &read.what) else {
            return Verdict::Enters(self.entry(inbox, read), None);
        };
        let callback = submission.callback.as_ref().or(served.config.webhook.as_ref());
        let room = self
            .admit_callback(callback)
            .and_then(|()| self.admit(served, submission.input.weight() as u64, None));
        match room {
            Ok(room) => Verdict::Enters(self.entry(inbox, read), Some(room)),
            Err(error) if error.retry_after().is_some() => Verdict::Waits(error.to_string()),
            Err(never) => Verdict::Enters(self.failed(inbox, read, failure(&never)), None),
        }
    }

    /// What a row becomes, as far as it itself says.
    fn entry(&self, inbox: &Inbox, read: &Read) -> InboxEntry {
        match (&read.served, &read.what) {
            (Some(served), Ok(submission)) => {
                let mut submission = submission.clone();
                submission.callback = submission.callback.or_else(|| served.config.webhook.clone());
                let mut task = task_of(served, submission, None, None, read.row.inserted_at);
                task.id = read.row.id;
                InboxEntry::Task(Box::new(task))
            }
            (_, Err(failure)) => self.failed(inbox, read, failure.clone()),
            (None, Ok(_)) => self.failed(inbox, read, failure(&EngineError::ShuttingDown)),
        }
    }

    fn failed(&self, inbox: &Inbox, read: &Read, failure: Failure) -> InboxEntry {
        self.ended(
            inbox,
            &read.row,
            read.served.as_deref(),
            Outcome::Failure(failure),
        )
    }

    /// A row's end without a run.
    fn ended(&self, inbox: &Inbox, row: &InboxRow, served: Option<&Served>, outcome: Outcome) -> InboxEntry {
        let asked = inbox.reader.callback(row);
        let of_model = || served?.config.webhook.clone();
        // Who cannot be told must not keep the task from ending.
        let callback = (asked.or_else(of_model)).filter(|to| self.admit_callback(Some(to)).is_ok());
        let task = NewTask {
            id: row.id,
            priority: row.priority,
            turn: Turn::of(row.inserted_at, row.priority, Default::default()),
            metadata: row.metadata.clone().map(Into::into),
            due_at: row.due_at,
            expires_at: row.expires_at,
            deadline_at: row.deadline_at,
            tenant: row.tenant.clone(),
            callback,
            ..NewTask::new(
                row.model.clone(),
                Payload::Json(Default::default()),
                row.inserted_at,
            )
        };
        InboxEntry::Ended(Box::new(task), outcome)
    }

    /// Tells whom it concerns what has become of rows.
    fn publish(&self, entries: &[InboxEntry], taken: &[InboxTaken]) {
        let shared = &self.inner.shared;
        let models = self.inner.models.load();
        let mut refused = Vec::new();
        for (entry, taken) in entries.iter().zip(taken) {
            let task = entry.task();
            let served = models.get(&task.model);
            self.inner.metrics.inbox.became(entry, *taken);
            match (taken, entry) {
                (InboxTaken::Gone, _) => {}
                (InboxTaken::Refused, _) => refused.push(task.id),
                (InboxTaken::Taken, InboxEntry::Task(_)) => {
                    if let Some(at) = task.expires_at {
                        shared.expiries.earlier(at);
                    }
                    shared.tell(task.id, &task.model, State::Pending, Attempt(0));
                    if let Some(served) = served {
                        served.metrics.accepted();
                        served.wake.notify_one();
                    }
                }
                (InboxTaken::Taken, InboxEntry::Ended(_, Outcome::Revoked { .. })) => {
                    if let Some(served) = served {
                        served.metrics.accepted();
                    }
                    self.revoked(task.id, &task.model, false);
                }
                (InboxTaken::Taken, InboxEntry::Ended(_, outcome)) => {
                    tracing::debug!(task = %task.id, model = %task.model, ?outcome, "a task of the inbox failed");
                    shared.tell(task.id, &task.model, State::Failure, Attempt(0));
                    shared.ended(task.id, &News::Look);
                    if let Some(served) = served {
                        served.metrics.accepted();
                        served.metrics.failed_unrun();
                    }
                }
                (InboxTaken::Taken, InboxEntry::Unfit(..)) => {}
            }
        }
        if let Some(first) = refused.first() {
            tracing::warn!(
                task = %first,
                rows = refused.len(),
                "rows of the inbox cannot be tasks and stay there; their column `error` says why"
            );
        }
    }

    /// Something was asked of the store, and nobody knows whether it was done: everybody looks.
    fn look_everywhere(&self) {
        self.inner.shared.expiries.returned();
        for served in self.inner.models.load().values() {
            served.wake.notify_one();
        }
    }
}

/// What is held in memory for a row, about.
fn weight(row: &InboxRow) -> usize {
    match &row.input {
        cresset_queue::InboxInput::Json(bytes) | cresset_queue::InboxInput::Body { bytes, .. } => bytes.len(),
        cresset_queue::InboxInput::TooLarge(_) => 0,
    }
}

/// A refusal, as the end of a task.
fn failure(refusal: &EngineError) -> Failure {
    refused(refusal.code(), refusal.to_string())
}

/// A refusal with this code, as the end of a task. Its class is the code, written as classes are.
#[must_use]
pub fn refused(code: Code, message: String) -> Failure {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    Failure {
        code,
        type_: code.name().split('_').map(word).collect(),
        message,
        traceback: None,
        stage: None,
        again: Default::default(),
    }
}

/// Whether asking for rows one by one may do what asking for them together did not.
fn is_of_a_row(error: &QueueError) -> bool {
    use cresset_queue::QueueErrorKind::{Corrupt, Internal};
    matches!(error.kind, Internal | Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_failure_with_its_code_and_a_class_of_that_name() {
        let failure = failure(&EngineError::UnknownModel {
            name: "digits".into(),
            nearest: None,
        });
        assert_eq!(failure.code, Code::UnknownModel);
        assert_eq!(failure.type_, "UnknownModel");
        assert_eq!(failure.message, "no model is called `digits`");
    }
}
