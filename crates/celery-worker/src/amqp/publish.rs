//! Sending: through the default exchange to a queue, and the broker confirms that it has it.

use cresset_celery::{Message, Outgoing};
use lapin::options::BasicPublishOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Error, ErrorKind, PublisherConfirm};

use super::back::Back;
use super::live::Live;
use super::message;
use super::post::{self, Kind};
use super::sent::{Failed, send, taken};
use crate::transport::{Refused, Trouble};

/// Messages that wait for their confirmation at once.
const TOGETHER: usize = 500;

pub(super) const SERVICE: &str = "broker";

pub(super) fn trouble(error: Error) -> Trouble {
    Trouble {
        service: SERVICE,
        why: error.to_string(),
    }
}

/// Sends task messages. A queue that is not there is declared, as whoever sends a task in Celery does.
pub(super) async fn tasks(live: &Live, messages: &[Outgoing]) -> Result<(), Trouble> {
    for some in messages.chunks(TOGETHER) {
        if refused(together(live, some).await)?.is_none() {
            continue;
        }
        // One of them; which one, only trying each by itself tells.
        for one in some {
            if let Some(Refused(why)) = task(live, one).await? {
                tracing::error!(
                    queue = one.queue,
                    why,
                    "message is refused by the broker and is not sent"
                );
            }
        }
    }
    Ok(())
}

/// Sends one of them.
pub(super) async fn task(live: &Live, one: &Outgoing) -> Result<Option<Refused>, Trouble> {
    let (queue, properties) = match sendable(one) {
        Ok(sendable) => sendable,
        Err(why) => return Ok(Some(Refused(why))),
    };
    let alone = std::slice::from_ref(one);
    let body = &one.message.body;
    let sent = if body.len() > post::BYTES_MAX {
        together(live, alone).await
    } else {
        match live.post.send(queue, properties, body.clone(), Kind::Task).await {
            // As for results.
            Err(Failed::Amqp(error)) if is_refusal(&error) => together(live, alone).await,
            sent => sent,
        }
    };
    Ok(refused(sent)?.map(Refused))
}

/// Where a message goes, and its properties; or why it can never be sent.
fn sendable(one: &Outgoing) -> Result<(ShortString, BasicProperties), String> {
    let properties = message::write(&one.message)?;
    let queue = ShortString::try_new(one.queue.as_str()).map_err(|error| error.to_string())?;
    Ok((queue, properties))
}

/// Why a message can never be sent, if so.
pub(super) fn refuses(message: &Message) -> Option<String> {
    message::write(message).err()
}

/// Sends a message to a queue that was there a moment ago. False: the broker does not take it there.
pub(super) async fn existing(live: &Live, one: &Outgoing) -> Result<bool, Trouble> {
    let publisher = live.publisher().await.map_err(trouble)?;
    let Some(confirm) = put(&publisher.channel, one).await.map_err(trouble)? else {
        return Ok(false);
    };
    let confirmation = confirm.await.map_err(trouble)?;
    publisher.done();
    Ok(confirmation.is_ack() && confirmation.take_message().is_none())
}

/// Sends a result to whoever waits for it. Their queue is theirs: if it is gone, nobody waits.
/// `may_join`: they read several in one message.
pub(super) async fn result(
    live: &Live,
    queue: &str,
    message: &Message,
    may_join: bool,
) -> Result<Option<Refused>, Trouble> {
    let properties = match message::write(message) {
        Ok(properties) => properties,
        Err(why) => return Ok(Some(Refused(why))),
    };
    let Ok(queue) = ShortString::try_new(queue) else {
        return Ok(Some(Refused("the queue's name is longer than 255 bytes".into())));
    };
    let body = &message.body;
    let sent = if body.len() > post::BYTES_MAX {
        alone(live, queue, body, properties).await
    } else {
        let kind = match may_join {
            true => Kind::OurResult(message.properties.clone()),
            false => Kind::Result,
        };
        let (to, about) = (queue.clone(), properties.clone());
        match live.post.send(to, about, body.clone(), kind).await {
            // One of those that were under way; whether it is this one, only trying it by itself tells.
            Err(Failed::Amqp(error)) if is_refusal(&error) => alone(live, queue, body, properties).await,
            sent => sent,
        }
    };
    Ok(refused(sent)?.map(Refused))
}

/// Sends one that need not arrive on a channel of its own.
async fn alone(
    live: &Live,
    queue: ShortString,
    body: &[u8],
    properties: BasicProperties,
) -> Result<(), Failed> {
    let publisher = live.publisher().await?;
    let confirmation = send(&publisher.channel, queue, body, properties, false).await?;
    publisher.done();
    taken(&confirmation)
}

/// Why the broker will never take it, if so; trouble otherwise.
fn refused(sent: Result<(), Failed>) -> Result<Option<String>, Trouble> {
    match sent {
        Ok(()) => Ok(None),
        Err(Failed::Amqp(error)) if is_refusal(&error) => Ok(Some(error.to_string())),
        Err(Failed::Amqp(error)) => Err(trouble(error)),
        Err(Failed::Nacked) => Err(not_sent("it could not take a message")),
        Err(Failed::Lost) => Err(not_sent("the connection was lost before it had a message")),
    }
}

fn not_sent(why: &str) -> Trouble {
    Trouble {
        service: SERVICE,
        why: why.into(),
    }
}

async fn together(live: &Live, messages: &[Outgoing]) -> Result<(), Failed> {
    let publisher = live.publisher().await?;
    let mut waiting = Vec::with_capacity(messages.len());
    for one in messages {
        waiting.extend(put(&publisher.channel, one).await?);
    }
    // What came back comes with some confirmation or other, not with its own.
    let (mut returned, mut came) = (Vec::new(), Ok(()));
    for confirm in waiting {
        let confirmation = confirm.await?;
        came = came.and(taken(&confirmation));
        returned.extend(confirmation.take_message());
    }
    let mut back = Back::default();
    for one in returned {
        let confirmation = back.again(live, &publisher.channel, one).await?;
        came = came.and(taken(&confirmation));
    }
    publisher.done();
    came
}

/// Sends one that must arrive, or come back.
async fn put(channel: &Channel, one: &Outgoing) -> Result<Option<PublisherConfirm>, Error> {
    let (queue, properties) = match sendable(one) {
        Ok(sendable) => sendable,
        Err(why) => {
            tracing::error!(why, "message cannot be sent");
            return Ok(None);
        }
    };
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let body = &one.message.body;
    channel
        .basic_publish(ShortString::default(), queue, options, body, properties)
        .await
        .map(Some)
}

/// A broker closes the channel of whoever sends what it does not take: a larger message, a header of another type.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}
