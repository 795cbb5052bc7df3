//! What is done when a task has ended: what follows it is sent, its end is stored, its chord is told, and whoever watches.
//!
//! In this order: whoever sees the end sees what follows, too; and whatever is interrupted in between is done again, as the
//! message has not been acknowledged.

use std::time::Duration;

use cresset_celery::{BadSignature, Body, Exception, Head, Meta, Next, Plan, Status, Task, TaskEvent};
use cresset_task::Timestamp;
use serde_json::Value;

use crate::chord;
use crate::insist::{Abandoned, insist};
use crate::job::{End, Job, short};

/// A result is shown to monitors up to so many bytes.
const SHOWN_MAX: usize = 200;

/// A task that has ended.
pub(crate) struct Finished<'a> {
    pub(crate) head: &'a Head,
    pub(crate) body: &'a Body,
    pub(crate) status: Status,
    pub(crate) took: Duration,
}

/// Whether anybody wants its state.
pub(crate) fn is_wanted(head: &Head) -> bool {
    head.ignore_result != Some(true)
}

/// Does all that follows an end.
pub(crate) async fn finish(job: &Job<'_>, finished: Finished<'_>) -> Result<(), Abandoned> {
    let Finished {
        head,
        body,
        mut status,
        took,
    } = finished;
    let planned = follow(job, head, body, &status).map_err(|error| error.to_string());
    let planned = planned.and_then(|plan| {
        let refused = plan
            .sends
            .iter()
            .find_map(|one| job.shared.transport.refuses(one));
        refused.map_or(Ok(plan), Err)
    });
    let plan = match planned {
        Ok(plan) => plan,
        Err(why) => {
            tracing::warn!(
                id = short(&head.id),
                task = short(&head.name),
                why,
                "what was to follow a task cannot be sent"
            );
            let exception = Exception::builtin("ValueError", &why);
            let line = exception.line();
            status = Status::Failure(exception, line);
            Plan::default()
        }
    };
    send(job, &plan).await?;
    if is_wanted(head) {
        store(job, head, &status, &plan.children, Some(Timestamp::now())).await?;
    }
    if let Some(exception) = status.exception() {
        for id in body.embed.lost_steps() {
            // The steps that will not happen have failed of the same.
            let lost = Head {
                id,
                ignore_result: None,
                reply_to: head.reply_to.clone(),
                ..Head::default()
            };
            let status = Status::Failure(exception.clone(), exception.line());
            store(job, &lost, &status, &[], Some(Timestamp::now())).await?;
        }
    }
    if let (Some(body), Some(group)) = (&body.embed.chord, &head.group) {
        chord::part(job, head, group, body, &status).await?;
    }
    tell(job, head, &status, took);
    job.shared.count(&head.name, &status);
    Ok(())
}

/// The messages that follow.
fn follow(job: &Job<'_>, head: &Head, body: &Body, status: &Status) -> Result<Plan, BadSignature> {
    let embed = &body.embed;
    let is_last = |list: &Option<Vec<Value>>| list.as_ref().is_none_or(Vec::is_empty);
    match status {
        Status::Success(_) if is_last(&embed.callbacks) && is_last(&embed.chain) => Ok(Plan::default()),
        Status::Success(result) => next(job, head, |next| next.after_success(embed, result.get())),
        Status::Failure(..) | Status::Revoked(_) => {
            next(job, head, |next| next.after_failure(embed.errbacks.as_deref()))
        }
        Status::Tensors(_) | Status::Parcel(_) | Status::Started { .. } | Status::Retry(..) => {
            Ok(Plan::default())
        }
    }
}

/// Calls `act` with what makes messages for a task.
pub(crate) fn next<T>(job: &Job<'_>, head: &Head, act: impl FnOnce(&mut Next<'_>) -> T) -> T {
    act(&mut Next {
        head,
        node: &job.shared.options.node,
        queue_of: &|task| job.shared.queue_of(task),
        unlocks: job.shared.results.has_no_counters(),
        new_id: &mut || uuid::Uuid::now_v7().to_string(),
        now: Timestamp::now(),
    })
}

/// Sends what is planned.
pub(crate) async fn send(job: &Job<'_>, plan: &Plan) -> Result<(), Abandoned> {
    let shared = job.shared;
    for size in &plan.sizes {
        insist(&shared.abandon, "store the size of a chord", || {
            shared.results.chord_size(size)
        })
        .await?;
    }
    if plan.sends.is_empty() {
        return Ok(());
    }
    insist(&shared.abandon, "send what follows a task", || {
        shared.transport.publish(&plan.sends)
    })
    .await
}

/// Stores a state.
pub(crate) async fn store(
    job: &Job<'_>,
    head: &Head,
    status: &Status,
    children: &[Value],
    done: Option<Timestamp>,
) -> Result<(), Abandoned> {
    let shared = job.shared;
    let extended = shared.options.settings.result_extended;
    let meta = Meta {
        head,
        status,
        children,
        done,
        extended: extended.then_some((shared.options.node.as_str(), job.queue)),
    };
    insist(&shared.abandon, "store a result", || shared.results.store(&meta)).await
}

/// A task whose success is stored already: only what may be missing of its chord is done again. False: it has to run.
pub(crate) async fn done_before(job: &Job<'_>, head: &Head, body: &Body) -> Result<bool, Abandoned> {
    let shared = job.shared;
    let stored = insist(&shared.abandon, "look for a result", || {
        shared.results.success(&head.id)
    })
    .await?;
    let Some(stored) = stored else {
        return Ok(false);
    };
    tracing::info!(
        id = short(&head.id),
        "task was delivered again after its result had been stored"
    );
    if let (Some(body), Some(group)) = (&body.embed.chord, &head.group) {
        chord::part(job, head, group, body, &Status::Success(stored.result)).await?;
    }
    Ok(true)
}

/// The task once more, later.
pub(crate) async fn again(
    job: &Job<'_>,
    task: &Task,
    exception: Exception,
    traceback: String,
    wait: Duration,
) -> End {
    let head = &task.head;
    let (shown, text) = (exception.repr(), traceback.clone());
    let status = Status::Retry(exception, traceback);
    let message = next(job, head, |next| next.again(task, next.now.plus(wait), job.queue));
    let shared = job.shared;
    let told = async {
        if is_wanted(head) {
            store(job, head, &status, &[], None).await?;
        }
        let messages = [message];
        insist(&shared.abandon, "send a task again", || {
            shared.transport.publish(&messages)
        })
        .await
    };
    if told.await.is_err() {
        return End::Back;
    }
    shared.tries_again(&head.name, &status);
    shared.events.task(head, TaskEvent::Retried(&shown, &text));
    End::Done
}

fn tell(job: &Job<'_>, head: &Head, status: &Status, took: Duration) {
    let events = &job.shared.events;
    match status {
        Status::Success(result) => {
            let text = result.get();
            let end = text
                .char_indices()
                .nth(SHOWN_MAX)
                .map_or(text.len(), |(at, _)| at);
            let shown = text.get(..end).unwrap_or_default();
            events.task(head, TaskEvent::Succeeded(shown, took.as_secs_f64()));
        }
        Status::Failure(exception, traceback) => {
            events.task(head, TaskEvent::Failed(&exception.repr(), traceback))
        }
        Status::Revoked(exception) => {
            let is = |reason: &str| exception.args.first().is_some_and(|arg| arg == reason);
            let revoked = TaskEvent::Revoked {
                terminated: is("terminated"),
                expired: is("expired"),
            };
            events.task(head, revoked);
        }
        Status::Tensors(_) | Status::Parcel(_) => {
            events.task(head, TaskEvent::Succeeded("", took.as_secs_f64()))
        }
        Status::Started { .. } | Status::Retry(..) => {}
    }
}
