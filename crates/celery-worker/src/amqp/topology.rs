//! Queues and exchanges: what is there is taken as it is, and what is not is declared as Celery declares it.
//!
//! A declaration that differs from what is there ends a channel, and a failed look does, too: each has a channel of its own.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Connection, Error, ErrorKind, ExchangeKind, Result};

/// Where Celery sends what is to be delayed by the broker itself, when an application has set that up.
const DELAYED: &str = "celery_delayed_delivery";

/// How a queue is declared that is not there yet.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueForm {
    pub(super) quorum: bool,
    pub(super) max_priority: Option<u8>,
    /// One of ours for results: it goes when nobody has used it for so long, and no exchange leads to it.
    pub(super) unused_for: Option<Duration>,
}

impl QueueForm {
    fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        if self.quorum {
            let name = LongString::from("quorum".as_bytes());
            arguments.insert("x-queue-type".into(), AMQPValue::LongString(name));
        }
        if let Some(max) = self.max_priority {
            arguments.insert("x-max-priority".into(), AMQPValue::LongInt(max.into()));
        }
        if let Some(unused) = self.unused_for {
            let unused = i64::try_from(unused.as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-expires".into(), AMQPValue::LongLongInt(unused));
        }
        arguments
    }
}

/// Whether the broker says that there is no such thing.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

/// Whether there is a queue of this name.
pub(super) async fn is_queue(connection: &Connection, name: &ShortString) -> Result<bool> {
    waiting(connection, name).await.map(|waiting| waiting.is_some())
}

/// How many messages wait in a queue; `None` where there is none of this name.
pub(super) async fn waiting(connection: &Connection, name: &ShortString) -> Result<Option<u32>> {
    let channel = connection.create_channel().await?;
    let look = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match channel
        .queue_declare(name.clone(), look, FieldTable::default())
        .await
    {
        Ok(queue) => Ok(Some(queue.message_count())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A queue of tasks: there afterwards.
pub(super) async fn queue(connection: &Connection, name: &ShortString, form: &QueueForm) -> Result<()> {
    if is_queue(connection, name).await? {
        return Ok(());
    }
    let is_for_results = form.unused_for.is_some();
    if !is_for_results {
        exchange(connection, name.clone(), ExchangeKind::Direct, true).await?;
    }
    let channel = connection.create_channel().await?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.clone(), durable, form.arguments())
        .await?;
    if is_for_results {
        return Ok(());
    }
    let none = QueueBindOptions::default();
    channel
        .queue_bind(
            name.clone(),
            name.clone(),
            name.clone(),
            none,
            FieldTable::default(),
        )
        .await?;
    tracing::info!(queue = name.as_str(), "queue was not there and has been declared");
    Ok(())
}

/// What an application has the broker delay comes to this queue, too, if it does that.
pub(super) async fn bind_delayed(connection: &Connection, queue: &ShortString) -> Result<()> {
    let exchange = ShortString::from(DELAYED);
    if !is_there(connection, &exchange, ExchangeKind::Topic).await? {
        return Ok(());
    }
    let Ok(key) = ShortString::try_new(format!("#.{}", queue.as_str())) else {
        return Ok(());
    };
    let channel = connection.create_channel().await?;
    let none = QueueBindOptions::default();
    channel
        .queue_bind(queue.clone(), exchange, key, none, FieldTable::default())
        .await
}

async fn is_there(connection: &Connection, exchange: &ShortString, kind: ExchangeKind) -> Result<bool> {
    let channel = connection.create_channel().await?;
    let look = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    match channel
        .exchange_declare(exchange.clone(), kind, look, FieldTable::default())
        .await
    {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// An exchange: there afterwards.
pub(super) async fn exchange(
    connection: &Connection,
    name: ShortString,
    kind: ExchangeKind,
    durable: bool,
) -> Result<()> {
    if is_there(connection, &name, kind.clone()).await? {
        return Ok(());
    }
    let channel = connection.create_channel().await?;
    let options = ExchangeDeclareOptions {
        durable,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name, kind, options, FieldTable::default())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_the_arguments_that_were_asked_for() {
        assert_eq!(QueueForm::default().arguments(), FieldTable::default());
        let form = QueueForm {
            quorum: true,
            max_priority: Some(9),
            unused_for: Some(Duration::from_secs(1)),
        };
        let arguments = form.arguments();
        assert!(arguments.contains_key("x-expires"));
        assert!(arguments.contains_key("x-queue-type") && arguments.contains_key("x-max-priority"));
    }
}
