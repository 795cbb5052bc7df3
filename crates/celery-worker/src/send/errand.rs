//! One item at the workers, from the message to its result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_celery::{Call, Outgoing, Told};
use cresset_config::{Arguments, CeleryCall};
use cresset_runner::{ItemEnd, Name};
use cresset_task::{Code, Failure, Payload, TaskId, Timestamp, Trace};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::courier::Courier;
use crate::insist::{Abandoned, insist};
use crate::transport::Refused;

/// Priorities of Celery with Redis: 0 goes first, 9 last, and most have 0.
const REDIS_LAST: i64 = 9;

/// One item.
pub(super) struct Errand {
    courier: Arc<Courier>,
    call: Arc<CeleryCall>,
    id: String,
    name: Name,
    trace: Option<Trace>,
    input: Payload,
}

/// It was stopped before its end.
pub(super) struct Stopped {
    /// Workers may know of it.
    pub(super) is_sent: bool,
}

impl Errand {
    pub(super) fn new(
        courier: Arc<Courier>,
        call: Arc<CeleryCall>,
        input: Payload,
        name: Name,
        trace: Option<Trace>,
    ) -> Self {
        Self {
            courier,
            call,
            id: name.task.unwrap_or_else(TaskId::fresh).to_string(),
            name,
            trace,
            input,
        }
    }

    /// Runs it, until `stop`. `tell` is told how far it has come.
    pub(super) async fn run<F: Future<Output = ()>>(
        &self,
        stop: &CancellationToken,
        tell: impl Fn(f64, Option<String>) -> F,
    ) -> Result<ItemEnd, Stopped> {
        let Payload::Json(input) = &self.input else {
            return Ok(ItemEnd::Failed(failed(
                Code::InvalidInput,
                "InvalidInput",
                "tensors cannot be sent to Celery workers".into(),
            )));
        };
        let early = |_: Abandoned| Stopped { is_sent: false };
        let answers = &*self.courier.answers;
        // Before it is sent: nothing may be missed.
        let expected = insist(stop, "waiting for a result", || answers.expect(&self.id));
        let mut expected = expected.await.map_err(early)?;
        if self.name.task.is_some() {
            // An earlier attempt may have sent it, and ended before it could take its result.
            let stored = insist(stop, "looking for a result", || answers.stored(&self.id));
            if let Some(told) = stored.await.map_err(early)? {
                return self.end(told, stop).await.map_err(early);
            }
        }
        let message = self.message(input);
        let late = |_: Abandoned| Stopped { is_sent: true };
        let sent = insist(stop, "sending a task", || self.courier.transport.offer(&message));
        if let Some(Refused(why)) = sent.await.map_err(late)? {
            let message = format!("the message for Celery's workers cannot be sent: {why}");
            return Ok(ItemEnd::Failed(failed(
                Code::InvalidInput,
                "InvalidInput",
                message,
            )));
        }
        let deadline = Instant::now() + self.call.timeout;
        loop {
            let told = tokio::select! {
                told = expected.next() => told,
                () = tokio::time::sleep_until(deadline) => {
                    self.revoke().await;
                    return Ok(ItemEnd::Failed(self.overdue()));
                }
                () = stop.cancelled() => return Err(Stopped { is_sent: true }),
            };
            match told {
                Told::Going(fraction, words) => tell(fraction, words).await,
                end => return self.end(end, stop).await.map_err(late),
            }
        }
    }

    /// Nobody waits for it any more.
    pub(super) async fn revoke(&self) {
        self.courier.revoke(&self.id, self.call.terminate).await;
    }

    async fn end(&self, told: Told, stop: &CancellationToken) -> Result<ItemEnd, Abandoned> {
        Ok(match told {
            Told::Success(text) => ItemEnd::Done(Payload::Json(Bytes::from(text))),
            // That stays, as a result does: it is not tried again.
            Told::Failure(failure) if failure.code == Code::Revoked => ItemEnd::Failed(failure),
            Told::Failure(failure) => {
                // When it is tried again, this end must not be taken for that try's.
                insist(stop, "forgetting a failure", || {
                    self.courier.answers.forget(&self.id)
                })
                .await?;
                ItemEnd::Failed(failure)
            }
            Told::Going(..) => ItemEnd::Failed(failed(
                Code::Internal,
                "Internal",
                "a task that goes on was taken for one that has ended".into(),
            )),
        })
    }

    fn message(&self, input: &Bytes) -> Outgoing {
        let call = &self.call;
        let settings = &self.courier.settings;
        let is_redis = settings
            .broker
            .as_ref()
            .is_some_and(|url| url.scheme().starts_with("redis"));
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        let message = Call {
            id: &self.id,
            task: &call.task,
            origin: &self.courier.node,
            reply_to: self.courier.answers.reply_to(),
            priority: priority(self.name.priority, is_redis, settings.max_priority),
            limits: [seconds(call.hard_limit), seconds(call.soft_limit)],
            expires: Timestamp::now().plus(call.timeout),
            trace: self.trace.as_ref(),
            is_one: call.arguments == Arguments::One,
        };
        Outgoing {
            queue: settings.queue_of(call).to_owned(),
            // It was checked to be JSON, and so is UTF-8.
            message: message.message(&String::from_utf8_lossy(input)),
        }
    }

    fn overdue(&self) -> Failure {
        let message = format!(
            "no result came from Celery within {:?} (send.timeout): nobody takes tasks from the queue `{}`, or the worker that had \
             this one has died; it was revoked",
            self.call.timeout,
            self.courier.settings.queue_of(&self.call)
        );
        failed(Code::TimeLimit, "TimeLimit", message)
    }
}

/// A priority as the broker means it. Here a higher one is more urgent and 0 is the usual one.
fn priority(ours: i8, is_redis: bool, max: Option<u8>) -> i64 {
    let ours = i64::from(ours);
    match is_redis {
        true => (-ours).clamp(0, REDIS_LAST),
        false => ours.clamp(0, max.map_or(0, i64::from)),
    }
}

fn failed(code: Code, type_: &str, message: String) -> Failure {
    Failure {
        code,
        type_: type_.into(),
        message,
        traceback: None,
        stage: None,
        again: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_said_as_the_broker_means_it() {
        let redis = |ours| priority(ours, true, None);
        assert_eq!([redis(0), redis(5), redis(-3), redis(-100)], [0, 0, 3, 9]);
        let rabbit = |ours| priority(ours, false, Some(10));
        assert_eq!([rabbit(0), rabbit(5), rabbit(-3), rabbit(100)], [0, 5, 0, 10]);
        assert_eq!(priority(5, false, None), 0);
    }
}
