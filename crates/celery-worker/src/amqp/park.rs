//! Tasks for much later. A broker ends the channel of whoever holds a message for longer than its `consumer_timeout` (half an hour,
//! unless it is told otherwise), so what is due later than that is not held: it goes to a queue beside its own, whose messages come back
//! by themselves when they are as old as the queue says. Then it is looked at again.
//!
//! All messages of such a queue are as old as the queue lets them be: none waits behind one that is due later.

use std::time::Duration;

use cresset_celery::{Message, Outgoing};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::live::Live;
use super::publish::{self, trouble};
use super::topology::{self, QueueForm};
use crate::transport::Trouble;

/// What is due within this time is held: well below the time that a broker gives for an acknowledgement.
const HELD_MAX: Duration = Duration::from_secs(600);
/// How long a message stays aside at a time. Never longer than a revocation is remembered.
const STEPS: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(300)];

/// How long a message that is due after `wait` is put aside, if it is.
pub(super) fn step(wait: Duration) -> Option<Duration> {
    if wait <= HELD_MAX {
        return None;
    }
    STEPS.into_iter().find(|step| *step < wait)
}

/// Puts a message aside. False: that is not possible, and it is held.
pub(super) async fn put(
    live: &Live,
    queue: &ShortString,
    form: &QueueForm,
    message: &Message,
    step: Duration,
) -> Result<bool, Trouble> {
    let seconds = step.as_secs();
    let name = format!("{}.cresset-{seconds}s", queue.as_str());
    let Ok(aside) = ShortString::try_new(name.clone()) else {
        return Ok(false);
    };
    let one = Outgoing {
        queue: name,
        message: message.clone(),
    };
    if publish::refuses(&one.message).is_some() {
        return Ok(false);
    }
    if topology::is_queue(&live.giving, &aside).await.map_err(trouble)? {
        return publish::existing(live, &one).await;
    }
    let channel = live.giving.create_channel().await.map_err(trouble)?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(aside, durable, arguments(queue, form, step))
        .await
        .map_err(trouble)?;
    publish::existing(live, &one).await
}

fn arguments(queue: &ShortString, form: &QueueForm, step: Duration) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text.as_bytes()));
    let mut arguments = FieldTable::default();
    let milliseconds = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(milliseconds));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue.as_str()));
    if form.quorum {
        arguments.insert("x-queue-type".into(), text("quorum"));
        // A message leaves it when the other queue has it, and not before.
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_far_off_is_put_aside_and_comes_back_before_it_is_due() {
        let of = |seconds| step(Duration::from_secs(seconds)).map(|step| step.as_secs());
        assert_eq!([of(0), of(600)], [None, None]);
        assert_eq!([of(601), of(3600), of(3601)], [Some(300), Some(300), Some(3600)]);
        assert_eq!(step(Duration::MAX), Some(STEPS[0]));
    }

    #[test]
    fn the_queue_beside_gives_back_to_its_own() {
        let arguments = arguments(&"q".into(), &QueueForm::default(), STEPS[1]);
        let of = |name: &str| arguments.inner().get(name).cloned();
        assert_eq!(of("x-message-ttl"), Some(AMQPValue::LongLongInt(300_000)));
        assert_eq!(
            of("x-dead-letter-routing-key"),
            Some(AMQPValue::LongString("q".into()))
        );
        assert!(of("x-queue-type").is_none());
    }
}
