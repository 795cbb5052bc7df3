//! Sending: through the default exchange to a queue, and the broker confirms that it has it.

use cresset_celery::{Message, Outgoing};
use lapin::options::BasicPublishOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, Error, ErrorKind, PublisherConfirm};

use super::live::Live;
use super::message;
use super::topology::{self, QueueForm};
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
        if is_refused(&together(live, some).await)? {
            // One of them; which one, only trying each by itself tells.
            for one in some {
                if is_refused(&together(live, std::slice::from_ref(one)).await)? {
                    tracing::error!(
                        queue = one.queue,
                        "message is refused by the broker and is not sent: it is too large for it"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Why a message can never be sent, if so.
pub(super) fn refuses(message: &Message) -> Option<String> {
    message::write(message).err()
}

/// Sends a message to a queue that was there a moment ago. False: the broker does not take it there.
pub(super) async fn existing(live: &Live, one: &Outgoing) -> Result<bool, Trouble> {
    let channel = live.publisher().await.map_err(trouble)?;
    let Some(confirm) = put(&channel, one, true).await.map_err(trouble)? else {
        return Ok(false);
    };
    let confirmation = confirm.await.map_err(trouble)?;
    Ok(confirmation.is_ack() && confirmation.take_message().is_none())
}

/// Sends a result to whoever waits for it. Their queue is theirs: if it is gone, nobody waits.
pub(super) async fn result(live: &Live, queue: &str, message: &Message) -> Result<Option<Refused>, Trouble> {
    let properties = match message::write(message) {
        Ok(properties) => properties,
        Err(why) => return Ok(Some(Refused(why))),
    };
    let Ok(queue) = ShortString::try_new(queue) else {
        return Ok(Some(Refused("the queue's name is longer than 255 bytes".into())));
    };
    let sent = async {
        let options = BasicPublishOptions::default();
        let channel = live.publisher().await?;
        let confirm = channel
            .basic_publish(ShortString::default(), queue, options, &message.body, properties)
            .await?;
        confirm.await
    };
    match sent.await {
        Ok(confirmation) => confirmed(&confirmation).map(|()| None),
        Err(error) if is_too_large(&error) => Ok(Some(Refused(error.to_string()))),
        Err(error) => Err(trouble(error)),
    }
}

/// Whether the broker will never take it; trouble otherwise.
fn is_refused(sent: &Result<(), Failed>) -> Result<bool, Trouble> {
    match sent {
        Ok(()) => Ok(false),
        Err(Failed::Amqp(error)) if is_too_large(error) => Ok(true),
        Err(Failed::Amqp(error)) => Err(trouble(error.clone())),
        Err(Failed::Nacked) => Err(Trouble {
            service: SERVICE,
            why: "it could not take a message".into(),
        }),
    }
}

enum Failed {
    Amqp(Error),
    Nacked,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Amqp(error)
    }
}

async fn together(live: &Live, messages: &[Outgoing]) -> Result<(), Failed> {
    let channel = live.publisher().await?;
    let mut waiting = Vec::with_capacity(messages.len());
    for one in messages {
        if let Some(confirm) = put(&channel, one, true).await? {
            waiting.push((one, confirm));
        }
    }
    for (one, confirm) in waiting {
        let confirmation = confirm.await?;
        if confirmation.is_nack() {
            return Err(Failed::Nacked);
        }
        if confirmation.take_message().is_none() {
            continue;
        }
        // It came back: there is no such queue.
        if let Ok(queue) = ShortString::try_new(one.queue.clone()) {
            topology::queue(&live.giving, &queue, &QueueForm::default()).await?;
        }
        let channel = live.publisher().await?;
        if let Some(confirm) = put(&channel, one, false).await?
            && confirm.await?.is_nack()
        {
            return Err(Failed::Nacked);
        }
    }
    Ok(())
}

async fn put(channel: &Channel, one: &Outgoing, mandatory: bool) -> Result<Option<PublisherConfirm>, Error> {
    let sendable = message::write(&one.message);
    let queue = ShortString::try_new(one.queue.clone()).map_err(|error| error.to_string());
    let (properties, queue) = match (sendable, queue) {
        (Ok(properties), Ok(queue)) => (properties, queue),
        (Err(why), _) | (_, Err(why)) => {
            tracing::error!(why, "message cannot be sent");
            return Ok(None);
        }
    };
    let options = BasicPublishOptions {
        mandatory,
        immediate: false,
    };
    let body = &one.message.body;
    channel
        .basic_publish(ShortString::default(), queue, options, body, properties)
        .await
        .map(Some)
}

fn confirmed(confirmation: &Confirmation) -> Result<(), Trouble> {
    match confirmation.is_nack() {
        false => Ok(()),
        true => Err(Trouble {
            service: SERVICE,
            why: "it could not take a message".into(),
        }),
    }
}

/// A broker closes the channel of whoever sends a larger message than it takes.
fn is_too_large(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}
