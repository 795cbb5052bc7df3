//! The messages of an errand: what they say, and how urgent they are.

use std::time::Duration;

use cresset_celery::{BODY_BYTES_MAX, Call, Cargo, Message, Outgoing, Sending};
use cresset_config::{Arguments, Celery, ServiceUrl};
use cresset_task::{Payload, Timestamp};

use super::errand::{ByStore, Errand};

/// Priorities of Celery with Redis: 0 goes first, 9 last, and most have 0.
const REDIS_LAST: i64 = 9;
/// In a fleet: the step of a usual task, as predictions have the first.
const REDIS_USUAL: i64 = 3;

impl Errand {
    pub(super) fn message(&self, by_store: &ByStore) -> Result<Outgoing, String> {
        let settings = &self.courier.settings;
        let message = match (&self.courier.fleet, &self.input) {
            (Some(replies), _) => self.ours(replies, by_store)?,
            // It was checked to be JSON, and so is UTF-8.
            (None, Payload::Json(input)) => self.call().message(&String::from_utf8_lossy(input)),
            (None, Payload::Tensors(_)) => return Err("tensors cannot be sent to Celery workers".into()),
        };
        Ok(Outgoing {
            queue: settings.queue_of(&self.call).to_owned(),
            message,
        })
    }

    fn ours(&self, replies: &str, by_store: &ByStore) -> Result<Message, String> {
        let settings = &self.courier.settings;
        let sending = Sending {
            id: &self.id,
            task: &self.call.task,
            reply_to: replies,
            copy: &uuid::Uuid::now_v7().simple().to_string(),
            // Whose caller is on the line goes first.
            priority: match (is_redis(settings), self.name.task) {
                (true, None) => 0,
                (true, Some(_)) => {
                    (REDIS_USUAL - i64::from(self.name.priority)).clamp(REDIS_USUAL, REDIS_LAST)
                }
                (false, _) => priority(self.name.priority, false, settings.max_priority),
            },
            trace: self.trace.as_ref(),
            store: by_store.results,
        };
        let whole = Cargo::Payload(&self.input);
        let message = sending.message(by_store.parcel.as_ref().map_or(whole, Cargo::Parcel));
        let bytes = message.body.len();
        if bytes > BODY_BYTES_MAX {
            return Err(format!(
                "the input must be at most {BODY_BYTES_MAX} bytes to go by the broker, is {bytes}"
            ));
        }
        Ok(message)
    }

    fn call(&self) -> Call<'_> {
        let call = &self.call;
        let settings = &self.courier.settings;
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        Call {
            id: &self.id,
            task: &call.task,
            origin: &self.courier.node,
            reply_to: self.courier.answers.reply_to(),
            priority: priority(self.name.priority, is_redis(settings), settings.max_priority),
            limits: [seconds(call.hard_limit), seconds(call.soft_limit)],
            expires: Timestamp::now().plus(call.timeout),
            trace: self.trace.as_ref(),
            is_one: call.arguments == Arguments::One,
        }
    }
}

fn is_redis(settings: &Celery) -> bool {
    let broker = settings.broker.as_ref();
    broker.is_some_and(ServiceUrl::is_redis)
}

/// A priority as the broker means it. Here a higher one is more urgent and 0 is the usual one.
fn priority(ours: i8, is_redis: bool, max: Option<u8>) -> i64 {
    let ours = i64::from(ours);
    match is_redis {
        true => (-ours).clamp(0, REDIS_LAST),
        false => ours.clamp(0, max.map_or(0, i64::from)),
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
