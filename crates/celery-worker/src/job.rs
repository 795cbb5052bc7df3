//! The life of one message, from the broker to its acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use cresset_celery::{
    Body, Exception, Head, Message, Status, Task, TaskEvent, UNLOCK, Unread, read, read_envelope, trace_of,
};
use cresset_config::ModelConfig;
use cresset_engine::{EngineError, Prediction, retry_wait};
use cresset_task::{Payload, Timestamp, Trace};
use tokio::time::Instant;

use crate::after::{self, Finished};
use crate::answer::{Answer, unfit};
use crate::arguments;
use crate::held::{Place, Stand};
use crate::insist::{Abandoned, insist};
use crate::transport::{Content, Receipt};
use crate::unlock;
use crate::worker::Shared;

/// A model that cannot take work is asked again after at most so long.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// A task that was delivered so often before, and never ended, is failed: it may be what ends its workers. Brokers that count do so for
/// each worker that stops and gives it back, too.
const DELIVERIES_MAX: u64 = 16;
/// Ids and names are cut in the log: anybody may make them as long as they like.
const LOGGED_MAX: usize = 128;

/// How a message leaves our hands.
pub(crate) enum End {
    /// It is done with.
    Done,
    /// The broker keeps it in another place until later.
    Parked,
    /// Another worker is to have it.
    Back,
}

/// A message under way.
pub(crate) struct Job<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) queue: &'a str,
    pub(crate) place: &'a Place,
    receipt: &'a Receipt,
}

/// Sees one message through.
pub(crate) async fn run(
    shared: Arc<Shared>,
    receipt: Receipt,
    queue: String,
    content: Content,
    place: Place,
) {
    let job = Job {
        shared: &shared,
        queue: &queue,
        place: &place,
        receipt: &receipt,
    };
    let end = job.live(content).await;
    if receipt.tag.is_empty() {
        return;
    }
    if let (End::Done, Some(head)) = (&end, place.head()) {
        shared.finished.add(&head);
    }
    let transport = &shared.transport;
    let settled = match end {
        End::Done | End::Parked => {
            insist(&shared.abandon, "acknowledge", || transport.acknowledge(&receipt)).await
        }
        // Once: a broker that is away will find by itself that we are.
        End::Back => transport.give_back(&receipt).await.map_err(|_| Abandoned),
    };
    if settled.is_err() {
        tracing::warn!(
            "broker could not be told that a message has been dealt with; it will be delivered again"
        );
    }
}

impl Job<'_> {
    async fn live(&self, content: Content) -> End {
        let message: Message = match content {
            Content::Message(message) => *message,
            Content::Envelope(envelope) => match read_envelope(&envelope) {
                Ok((message, _)) => message,
                Err(error) => {
                    tracing::error!(queue = self.queue, error = %error, "message that nobody can read is thrown away");
                    return End::Done;
                }
            },
        };
        // It may wait for hours, and need not weigh twice.
        match read(&message) {
            Ok(task) if task.head.name == UNLOCK => unlock::pass_on(self, &task, message).await,
            Ok(task) => {
                if let Some(end) = self.park(&task.head, &message).await {
                    return end;
                }
                drop(message);
                self.task(task).await
            }
            Err(unread) => self.refuse(*unread).await,
        }
    }

    /// What is due much later need not be held, where the broker can keep it.
    async fn park(&self, head: &Head, message: &Message) -> Option<End> {
        let eta = head.eta?;
        self.shared.parked.forget(&head.id);
        let wait = eta.since(Timestamp::now());
        let is_ours = self.shared.catalog.find(&head.name).is_some();
        if wait.is_zero() || !is_ours || self.too_late(head).is_some() {
            return None;
        }
        let transport = &self.shared.transport;
        let parked = insist(&self.shared.closing, "put a task aside", || {
            transport.park(self.receipt, message, wait)
        });
        match parked.await {
            Ok(true) => {
                if let Some(stays) = transport.parks_for(wait) {
                    self.shared.parked.add(head, self.queue, eta, stays);
                }
                Some(End::Parked)
            }
            Ok(false) => None,
            Err(Abandoned) => Some(End::Back),
        }
    }

    /// A message that is no task: its sender is told, if it is known.
    async fn refuse(&self, unread: Unread) -> End {
        let Unread { why, head, exception } = unread;
        let head = head.map(|head| *head).unwrap_or_default();
        let (id, task) = (short(&head.id), short(&head.name));
        tracing::error!(queue = self.queue, id, task, why, "message is refused");
        if head.id.is_empty() {
            return End::Done;
        }
        self.shared.events.task(&head, TaskEvent::Rejected);
        let line = exception.line();
        self.finish(&head, &Body::default(), Status::Failure(exception, line))
            .await
    }

    async fn task(&self, task: Task) -> End {
        let head = Arc::clone(&task.head);
        self.place.is(&head);
        self.shared.events.task(&head, TaskEvent::Received);
        if head.redelivered {
            self.shared.was_redelivered(&head.name);
        }
        if let Some(status) = self.too_late(&head) {
            return self.finish(&head, &task.body, status).await;
        }
        let Some(config) = self.shared.catalog.find(&head.name) else {
            tracing::error!(
                queue = self.queue,
                id = short(&head.id),
                task = short(&head.name),
                "task that no model answers"
            );
            let exception = Exception::not_registered(&head.name);
            let line = exception.line();
            return self
                .finish(&head, &task.body, Status::Failure(exception, line))
                .await;
        };
        if let Some(eta) = head.eta.filter(|eta| *eta > Timestamp::now())
            && !self.wait_until(eta).await
        {
            return End::Back;
        }
        if let Some(status) = self.too_late(&head) {
            return self.finish(&head, &task.body, status).await;
        }
        if head.redelivered {
            tokio::select! {
                () = self.place.alone(&head) => {}
                () = self.place.void.cancelled() => return End::Back,
                () = self.shared.closing.cancelled() => return End::Back,
            }
            if self.shared.finished.has(&head) {
                tracing::info!(
                    id = short(&head.id),
                    "task was delivered again after it had ended here"
                );
                return End::Done;
            }
            if head.delivered >= DELIVERIES_MAX {
                let exception = Exception::worker_lost(head.delivered);
                let line = exception.line();
                return self
                    .finish(&head, &task.body, Status::Failure(exception, line))
                    .await;
            }
            match after::done_before(self, &head, &task.body).await {
                Ok(false) => {}
                Ok(true) => return End::Done,
                Err(Abandoned) => return End::Back,
            }
        }
        if let Some(parcel) = task.body.parcel.as_ref().filter(|_| head.is_ours) {
            let began = Instant::now();
            return match self.fetch(parcel).await {
                Ok(input) => self.compute(&task, &head, config, input).await,
                Err(answer) => self.answered(&task, &head, config, began, answer).await,
            };
        }
        let input = match arguments::input(&head.name, &task.body, config) {
            Ok(input) => input,
            Err(exception) => {
                let line = exception.line();
                return self
                    .finish(&head, &task.body, Status::Failure(exception, line))
                    .await;
            }
        };
        self.compute(&task, &head, config, input).await
    }

    /// Revoked, or past its time.
    fn too_late(&self, head: &Head) -> Option<Status> {
        let reason = if self.shared.revoked.has(&head.id) || self.place.revoke.is_cancelled() {
            "revoked"
        } else if head.expires.is_some_and(|expires| expires <= Timestamp::now()) {
            "expired"
        } else {
            return None;
        };
        Some(Status::Revoked(Exception::revoked(reason)))
    }

    /// True when the time has come, or somebody has revoked it; false when the door closes before, or the message is not ours any
    /// more.
    async fn wait_until(&self, eta: Timestamp) -> bool {
        self.place.stands(Stand::Scheduled(eta));
        self.shared.transport.set_aside(self.receipt).await;
        let due = tokio::time::sleep(eta.since(Timestamp::now()));
        let come = tokio::select! {
            () = due => true,
            () = self.place.revoke.cancelled() => true,
            () = self.shared.closing.cancelled() => false,
            () = self.place.void.cancelled() => false,
        };
        self.place.stands(Stand::Reserved);
        come
    }

    async fn compute(&self, task: &Task, head: &Arc<Head>, config: &ModelConfig, input: Payload) -> End {
        let began = Instant::now();
        let shared = self.shared;
        self.place.stands(Stand::Active(Timestamp::now()));
        if after::is_wanted(head) && shared.options.settings.track_started {
            let status = Status::Started {
                pid: std::process::id(),
                node: shared.options.node.clone(),
            };
            if after::store(self, head, &status, &[], None).await.is_err() {
                return End::Back;
            }
        }
        shared.events.task(head, TaskEvent::Started);
        let answered = tokio::select! {
            answered = self.ask(head, config, input, began, trace_of(&task.headers)) => answered,
            () = self.place.revoke.cancelled() => Answer::Ends(Status::Revoked(Exception::revoked("terminated"))),
            () = shared.abandon.cancelled() => Answer::Back,
        };
        self.answered(task, head, config, began, answered).await
    }

    /// Does what is to be done of an answer.
    async fn answered(
        &self,
        task: &Task,
        head: &Arc<Head>,
        config: &ModelConfig,
        began: Instant,
        answered: Answer,
    ) -> End {
        match answered {
            Answer::Ends(status) => {
                let finished = Finished {
                    head,
                    body: &task.body,
                    status,
                    took: began.elapsed(),
                };
                self.end(finished).await
            }
            Answer::Failed(failure) => {
                let exception = Exception::of_failure(&failure, config.limits.timeout.as_secs_f64());
                let traceback = failure.traceback.clone().unwrap_or_else(|| exception.line());
                if head.is_ours {
                    // Whoever has sent it decides whether it is tried again.
                    let status = Status::Failure(exception.standing_for(&failure), traceback);
                    return self.finish(head, &task.body, status).await;
                }
                let wait = retry_wait(&config.retry, head.retries, &failure, rand::random());
                if let Some(wait) = wait {
                    return after::again(self, task, exception, traceback, wait).await;
                }
                let status = Status::Failure(exception, traceback);
                self.finish(head, &task.body, status).await
            }
            Answer::Back => End::Back,
        }
    }

    /// Asks the engine, again while it has no room or no process.
    async fn ask(
        &self,
        head: &Head,
        config: &ModelConfig,
        input: Payload,
        began: Instant,
        trace: Option<Trace>,
    ) -> Answer {
        let limit = head
            .hard_limit
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        loop {
            let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
            if let Some(seconds) = head.hard_limit.filter(|_| left == Some(Duration::ZERO)) {
                let exception = Exception::time_limit(seconds);
                let line = exception.line();
                return Answer::Ends(Status::Failure(exception, line));
            }
            let trace = trace.clone().map(Box::new);
            let error = match self
                .shared
                .engine
                .work(&config.name, input.clone(), left, trace)
                .await
            {
                Ok(Prediction { output, .. }) => return self.answer(&output, head).await,
                Err(error) => error,
            };
            let wait = match error {
                EngineError::Failed(failure) => return Answer::Failed(failure),
                EngineError::ShuttingDown => return Answer::Back,
                EngineError::InvalidInput(_) | EngineError::TooLarge { .. } if head.is_ours => {
                    return Answer::Failed(unfit(error.to_string()));
                }
                EngineError::InvalidInput(_) | EngineError::TooLarge { .. } => {
                    let exception = Exception::builtin("ValueError", &error.to_string());
                    let line = exception.line();
                    return Answer::Ends(Status::Failure(exception, line));
                }
                // The time is over: the next round says so.
                EngineError::PredictTimeout { .. } => Duration::ZERO,
                error => error.retry_after().unwrap_or(ASK_AGAIN).min(ASK_AGAIN),
            };
            let wait = left.map_or(wait, |left| wait.min(left));
            if self.shared.closing.is_cancelled() {
                return Answer::Back;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shared.closing.cancelled() => return Answer::Back,
            }
            if let Some(status) = self.too_late(head) {
                return Answer::Ends(status);
            }
        }
    }

    async fn finish(&self, head: &Head, body: &Body, status: Status) -> End {
        let finished = Finished {
            head,
            body,
            status,
            took: Duration::ZERO,
        };
        self.end(finished).await
    }

    async fn end(&self, finished: Finished<'_>) -> End {
        match after::finish(self, finished).await {
            Ok(()) => End::Done,
            Err(Abandoned) => End::Back,
        }
    }
}

/// The beginning of a text from outside, for the log.
pub(crate) fn short(text: &str) -> &str {
    match text.char_indices().nth(LOGGED_MAX) {
        Some((at, _)) => text.get(..at).unwrap_or_default(),
        None => text,
    }
}
