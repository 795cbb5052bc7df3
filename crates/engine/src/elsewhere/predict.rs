//! A prediction of a model that other servers run: a task, whose end is waited for.
//!
//! It is stored as every task is, goes before the tasks that wait, and is not tried again: its caller is on the line. Who hangs
//! up takes it out of the queue, or has it stopped where it runs. At its limit it is given up in the same way, or it is its
//! caller's task from then on.

use std::sync::Arc;
use std::time::Duration;

use cresset_batch::Moment;
use cresset_queue::{NewTask, Turn};
use cresset_task::{Code, Outcome, Payload, RetryTerms, State, TaskId, TaskRecord, Timestamp};
use tokio::time::Instant;

use crate::api::{Accepted, EngineError, PredictTerms, Predicted, Prediction, Submission};
use crate::engine::{Engine, invalid};
use crate::item::check_fit;
use crate::served::Served;
use crate::submit::task_of;
use crate::waiters::News;

/// Predictions go before tasks that have come up to so much earlier. They are bounded in number (`limits.max_waiting`).
const AHEAD_MICROS: i64 = 24 * 3600 * 1_000_000;
/// While this server drains nobody tells it of ends, and it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Engine {
    /// The result of a task made for this call; at its limit it is given up.
    pub(crate) async fn predict_elsewhere(
        &self,
        served: &Arc<Served>,
        input: Payload,
        limit: Duration,
        terms: PredictTerms,
    ) -> Result<Prediction, EngineError> {
        let deadline = Timestamp::now().plus(limit);
        let submission = Submission {
            model: served.config.name.clone(),
            input,
            priority: 0,
            metadata: None,
            due_at: None,
            expires_at: None,
            deadline_at: Some(deadline),
            cache: terms.cache,
            retry: None,
            trace: terms.trace,
            tenant: terms.tenant,
            callback: None,
            idempotency_key: None,
            client: terms.client,
        };
        match self.call_elsewhere(served, submission, limit, false).await? {
            Predicted::Ended(prediction) => Ok(prediction),
            Predicted::Task(_) => Err(served.late(limit, None)),
        }
    }

    /// The same for a caller who takes a task: at its limit it is theirs, under the bounds that a submit has.
    pub(crate) async fn predict_or_task_elsewhere(
        &self,
        served: &Arc<Served>,
        mut submission: Submission,
        limit: Duration,
    ) -> Result<Predicted, EngineError> {
        submission.callback = submission.callback.or_else(|| served.config.webhook.clone());
        self.admit_callback(submission.callback.as_ref())?;
        self.call_elsewhere(served, submission, limit, true).await
    }

    async fn call_elsewhere(
        &self,
        served: &Arc<Served>,
        mut submission: Submission,
        limit: Duration,
        goes_on: bool,
    ) -> Result<Predicted, EngineError> {
        served.check_available()?;
        check_fit(&submission.input, &served.config).map_err(|why| invalid(&why))?;
        // It counts among the predictions of its client, and not among the tasks.
        let client = submission.client.take();
        let began = self.inner.shared.now();
        let bytes = submission.input.weight();
        let _place = self.seat(served, bytes, client.clone())?;
        submission.retry.get_or_insert_with(|| {
            Box::new(RetryTerms {
                max_retries: Some(0),
                ..RetryTerms::default()
            })
        });
        let now = Timestamp::now();
        let task = NewTask {
            turn: Turn::from_micros(now.as_micros().saturating_sub(AHEAD_MICROS)),
            ..task_of(served, submission, None, None, now)
        };
        let (id, created_at) = (task.id, task.created_at);
        let given_up = GiveUp {
            engine: self,
            id: Some(id),
        };
        let until = Instant::now() + limit;
        let (engine, of) = (self.clone(), Arc::clone(served));
        // A stop waits for it.
        let work = async move { engine.answer_elsewhere(&of, task, (limit, until)).await };
        let mut answer = match self.inner.tracker.spawn(work).await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The only other way: the runtime shuts down.
            Err(_) => Err(EngineError::ShuttingDown),
        };
        // What runs already takes no room in the queue.
        if let Ok(Answered::Late(state)) = answer
            && goes_on
            && state != State::Started
            && let Err(refusal) = self.admit(served, bytes as u64, client.as_ref())
        {
            answer = Err(served.late(limit, Some(&refusal)));
        }
        match answer {
            Ok(Answered::Late(_)) if !goes_on => {
                self.told_elsewhere(served, began, false);
                Err(served.late(limit, None))
            }
            Ok(Answered::Late(state)) => {
                given_up.not_after_all();
                served.metrics.went_on();
                Ok(Predicted::Task(Accepted {
                    id,
                    model: served.config.name.clone(),
                    state,
                    created_at,
                    durable: self.inner.shared.backend.capabilities().durable,
                    replayed: false,
                }))
            }
            Ok(Answered::Ended(answer)) => {
                given_up.not_after_all();
                self.told_elsewhere(served, began, answer.is_ok());
                answer.map(Predicted::Ended)
            }
            Err(error) => {
                self.told_elsewhere(served, began, false);
                Err(error)
            }
        }
    }

    fn told_elsewhere(&self, served: &Served, began: Moment, ok: bool) {
        let took = self.inner.shared.now().saturating_sub(began);
        served.metrics.predicted(ok, took);
    }

    async fn answer_elsewhere(
        &self,
        served: &Served,
        task: NewTask,
        (limit, until): (Duration, Instant),
    ) -> Result<Answered, EngineError> {
        let shared = &self.inner.shared;
        let (id, deadline) = (task.id, task.deadline_at);
        let stored = shared.backend.submit(task).await;
        stored.inspect_err(|error| shared.store.failed(error))?;
        shared.store.works();
        if let Some(at) = deadline {
            shared.expiries.earlier(at);
        }
        loop {
            let mut waiting = shared.waiters.register(id);
            let mut record = self.task(id).await?.record;
            if record.state.is_terminal() {
                return Ok(Answered::Ended(predicted(served, record, limit)));
            }
            let is_draining = shared.draining.is_cancelled();
            let look = if is_draining {
                Instant::now() + LOOK_EVERY
            } else {
                until
            };
            tokio::select! {
                biased;
                Ok(news) = &mut waiting.news => if let News::Ended(ended) = news && ended.follows(&record) {
                    ended.apply(&mut record);
                    return Ok(Answered::Ended(predicted(served, record, limit)));
                },
                () = shared.abandon.cancelled() => return Err(EngineError::ShuttingDown),
                () = shared.draining.cancelled(), if !is_draining => {}
                () = tokio::time::sleep_until(look.min(until)) => if Instant::now() >= until {
                    let record = self.task(id).await?.record;
                    return Ok(match record.state.is_terminal() {
                        true => Answered::Ended(predicted(served, record, limit)),
                        false => Answered::Late(record.state),
                    });
                },
            }
        }
    }
}

/// What comes of a task that is waited for.
enum Answered {
    /// Its end.
    Ended(Result<Prediction, EngineError>),
    /// Its limit, in this state.
    Late(State),
}

/// The end of the task, as that of a prediction.
fn predicted(served: &Served, record: TaskRecord, limit: Duration) -> Result<Prediction, EngineError> {
    let ended = record.finished_at.unwrap_or(record.created_at);
    let started = record.started_at.unwrap_or(ended);
    match record.outcome {
        Some(Outcome::Success(output)) => Ok(Prediction {
            output,
            version: record.version.unwrap_or_else(|| served.config.version.clone()),
            queued: started.since(record.created_at),
            compute: ended.since(started),
            cache: None,
        }),
        Some(Outcome::Failure(failure)) => Err(EngineError::Failed(failure)),
        Some(Outcome::Revoked { .. }) if record.deadline_at.is_some_and(|at| ended >= at) => {
            Err(served.late(limit, None))
        }
        Some(Outcome::Revoked { reason }) => {
            Err(EngineError::Failed(crate::inbox::refused(Code::Revoked, reason)))
        }
        None => Err(served.late(limit, None)),
    }
}

/// Cancels the task of a caller who has gone, unless that one has its end.
struct GiveUp<'a> {
    engine: &'a Engine,
    id: Option<TaskId>,
}

impl GiveUp<'_> {
    fn not_after_all(mut self) {
        self.id = None;
    }
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let engine = self.engine.clone();
            // Dropped at once, it is carried out behind us. One that was never stored, or has ended, stays as it is.
            drop(self.engine.see_through(async move {
                if let Err(error) = engine.revoke(id).await {
                    tracing::debug!(task = %id, %error, "a prediction that nobody waits for is left to its deadline");
                }
            }));
        }
    }
}
