//! One message, and what the broker says of it.

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Error};

/// Why a message was not sent, or may not have been.
#[derive(Clone)]
pub(super) enum Failed {
    Amqp(Error),
    Nacked,
    /// Its epoch has ended meanwhile.
    Lost,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Amqp(error)
    }
}

/// Sends one, and waits until the broker has it. `must_arrive`: it comes back if there is no such queue.
pub(super) async fn send(
    channel: &Channel,
    queue: ShortString,
    body: &[u8],
    properties: BasicProperties,
    must_arrive: bool,
) -> Result<Confirmation, Failed> {
    let options = BasicPublishOptions {
        mandatory: must_arrive,
        immediate: false,
    };
    let sent = channel
        .basic_publish(ShortString::default(), queue, options, body, properties)
        .await?;
    Ok(sent.await?)
}

/// Whether the broker has it.
pub(super) fn taken(confirmation: &Confirmation) -> Result<(), Failed> {
    if confirmation.is_nack() {
        Err(Failed::Nacked)
    } else {
        Ok(())
    }
}
