//! One epoch: two connections to the broker, and the channels on them. It ends as a whole, whichever part of it is lost.
//!
//! Two, because a broker that is short of memory stops reading from whoever publishes: what is taken must be acknowledged all the same.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::types::ShortString;
use lapin::{Channel, Connection, Result};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::consume::Consumers;
use super::guard::Cord;
use super::post::{Letters, Post};
use super::settle::Settling;

/// A farewell is not waited for longer.
const FAREWELL: Duration = Duration::from_secs(2);
/// Channels on which is sent at once: whoever finds none waits.
const PUBLISHERS_MAX: usize = 32;
/// AMQP's reply code for an end that was meant.
const MEANT: u16 = 200;

/// The consumer of a queue.
pub(super) struct Current {
    pub(super) number: u64,
    pub(super) name: ShortString,
    /// It ends because we said so.
    pub(super) retired: Arc<AtomicBool>,
    /// What it took and waits for its time.
    pub(super) waiting: u64,
}

/// One epoch.
pub(super) struct Live {
    pub(super) epoch: u64,
    /// On which messages are taken and acknowledged.
    pub(super) taking: Connection,
    /// On which everything is sent.
    pub(super) giving: Connection,
    /// Consumers, and what they took.
    pub(super) channel: Channel,
    /// The consumer of each queue.
    pub(super) consumers: Vec<Mutex<Option<Current>>>,
    /// What was taken and has been dealt with.
    pub(super) settling: Settling,
    /// Tasks and results on their way.
    pub(super) post: Post,
    /// Channels on which nobody sends now.
    idle: std::sync::Mutex<Vec<Channel>>,
    publishers: Semaphore,
    teller: Mutex<Option<Channel>>,
    why: OnceLock<String>,
    /// Of both connections.
    cord: Cord,
}

impl Live {
    pub(super) fn new(
        epoch: u64,
        taking: Connection,
        giving: Connection,
        channel: Channel,
        consumers: &Consumers,
        cord: Cord,
    ) -> (Self, Letters) {
        let (post, letters) = Post::new();
        let live = Self {
            epoch,
            taking,
            giving,
            channel,
            consumers: consumers.queues.iter().map(|_| Mutex::default()).collect(),
            settling: Settling::new(consumers.prefetch),
            post,
            idle: std::sync::Mutex::default(),
            publishers: Semaphore::new(PUBLISHERS_MAX),
            teller: Mutex::default(),
            why: OnceLock::new(),
            cord,
        };
        (live, letters)
    }

    /// It is over, because of this. The first reason counts.
    pub(super) fn lose(&self, why: String) {
        // The later ones follow from the first.
        let _ = self.why.set(why);
        self.cord.gone.cancel();
    }

    /// Returns when it is over.
    pub(super) async fn lost(&self) {
        self.cord.gone.cancelled().await;
    }

    pub(super) fn why(&self) -> String {
        self.why
            .get()
            .cloned()
            .unwrap_or_else(|| "connection closed".into())
    }

    /// A new channel on which the broker confirms what it has.
    pub(super) async fn confirming(&self) -> Result<Channel> {
        let channel = self.giving.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// One that is the caller's alone.
    pub(super) async fn publisher(&self) -> Result<Publisher<'_>> {
        // It is never closed.
        let permit = self.publishers.acquire().await.ok();
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let channel = match idle.filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.confirming().await?,
        };
        Ok(Publisher {
            channel,
            live: self,
            _permit: permit,
        })
    }

    /// A channel for what may be lost: events and replies.
    pub(super) async fn teller(&self) -> Result<Channel> {
        let mut slot = self.teller.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.giving.create_channel().await?;
        *slot = Some(channel.clone());
        Ok(channel)
    }

    /// Tells what is to be told, says goodbye, and hangs up whether or not that was heard.
    pub(super) async fn close(&self) {
        let bye = async {
            if self.taking.status().connected() {
                self.settling.tell_all(self).await;
            }
            for connection in [&self.taking, &self.giving] {
                if connection.status().connected()
                    && let Err(error) = connection.close(MEANT, "bye".into()).await
                {
                    tracing::debug!(error = %error, "connection could not be closed");
                }
            }
        };
        if tokio::time::timeout(FAREWELL, bye).await.is_err() {
            tracing::debug!("broker did not say goodbye in time");
        }
        self.cord.cut.cancel();
    }
}

/// A channel that is one sender's alone. What the broker says on it, that a message came back or that it takes none of this kind,
/// names no message: among several senders it would be told to the wrong one.
pub(super) struct Publisher<'a> {
    pub(super) channel: Channel,
    live: &'a Live,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Publisher<'_> {
    /// All that was sent has been confirmed: it is the next one's. Otherwise it is closed.
    pub(super) fn done(self) {
        let mut idle = self.live.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(self.channel);
    }
}

/// What a message is acknowledged by, within its epoch: which consumer took it, and the number that the broker gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) consumer: u64,
    pub(super) delivery: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.consumer, self.delivery)
    }
}

impl FromStr for Tag {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (consumer, delivery) = text.split_once('.').ok_or(())?;
        Ok(Self {
            consumer: consumer.parse().map_err(drop)?,
            delivery: delivery.parse().map_err(drop)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_as_text() {
        let tag = Tag {
            consumer: 3,
            delivery: u64::MAX,
        };
        assert_eq!(tag.to_string().parse(), Ok(tag));
        assert!("".parse::<Tag>().is_err() && "1".parse::<Tag>().is_err());
    }
}
