//! Chords that nothing counts: with Celery's own tables as the result backend, its clients send a task of Celery's own with the header, which
//! looks again and again whether all parts have ended, and sends the body to where its route says. That may be our queue.
//!
//! It would have to read results that other workers have pickled, so it is not for us; but every real worker of the application does it.

use cresset_celery::{Exception, Message, Outgoing, Task};
use serde_json::Value;

use crate::chord;
use crate::insist::{Abandoned, insist};
use crate::job::{End, Job, short};

/// Sends it on to the application's default queue. Where that is ours there is nobody to do it, and its chord fails, in words.
pub(crate) async fn pass_on(job: &Job<'_>, task: &Task, message: Message) -> End {
    let settings = &job.shared.options.settings;
    let done = match settings.queues.contains(&settings.default_queue) {
        false => {
            let sends = [Outgoing {
                queue: settings.default_queue.clone(),
                message,
            }];
            let shared = job.shared;
            insist(&shared.abandon, "send a chord's watch on", || {
                shared.transport.publish(&sends)
            })
            .await
        }
        true => refuse(job, task).await,
    };
    match done {
        Ok(()) => End::Done,
        Err(Abandoned) => End::Back,
    }
}

async fn refuse(job: &Job<'_>, task: &Task) -> Result<(), Abandoned> {
    let why = "celery.chord_unlock is not done here, and `celery.default_queue` names no queue of another worker that does it";
    tracing::error!(queue = job.queue, id = short(&task.head.id), why, "chord fails");
    let body = task.body.args.get(1);
    let body: Option<Value> = body.and_then(|body| serde_json::from_str(body.get()).ok());
    match body {
        Some(body) => chord::fail(job, &task.head, &body, Exception::chord_because(why)).await,
        None => Ok(()),
    }
}
