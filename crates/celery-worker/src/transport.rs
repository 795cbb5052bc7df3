//! A broker, as the door needs it.
//!
//! Promises: a delivery stays the broker's until it is acknowledged or given back. Whoever dies with it loses nothing: it is
//! delivered again, to whoever is there, and marked so. An acknowledgement of what is not held any more does nothing.

use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Message, Outgoing, Target};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A message that is ours for now.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Of which connection it is; see [`Transport::epoch`].
    pub(crate) epoch: u64,
    /// By which it is acknowledged. Empty: it is not the broker's any more.
    pub(crate) tag: String,
    /// The queue that it came by.
    pub(crate) queue: String,
    /// Its place at the broker, for giving it back.
    pub(crate) place: usize,
    /// The message, as it came.
    pub(crate) content: Content,
}

/// A message, as a broker carries it.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it in one text, which may be anything.
    Envelope(Vec<u8>),
    /// Its parts.
    Message(Box<Message>),
}

/// What is kept of a delivery that is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Receipt {
    pub(crate) epoch: u64,
    pub(crate) tag: String,
    pub(crate) place: usize,
}

/// A service that cannot be used now.
#[derive(Debug, thiserror::Error)]
#[error("{service}: {why}")]
pub(crate) struct Trouble {
    pub(crate) service: &'static str,
    pub(crate) why: String,
}

/// Why a broker will never take a message.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

/// A broker.
#[async_trait]
pub(crate) trait Transport: Send + Sync + 'static {
    /// At most `max` messages, the most urgent first; none when there are none.
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>, Trouble>;

    /// Returns when there may be something to fetch. May return for nothing; must be asked after each empty fetch.
    async fn arrival(&self);

    /// The message is done with.
    async fn acknowledge(&self, receipt: &Receipt) -> Result<(), Trouble>;

    /// The message is to be delivered next, to whomever.
    async fn give_back(&self, receipt: &Receipt) -> Result<(), Trouble>;

    /// With some brokers what was taken is theirs again as soon as the connection is lost. Each connection is an epoch then; what
    /// is held of an earlier one is not ours, and will be delivered again. 0: the broker is not one of them, or is away.
    fn epoch(&self) -> u64 {
        0
    }

    /// This one is held until its time comes, and must not keep others from being delivered.
    async fn set_aside(&self, _: &Receipt) {}

    /// Has the broker keep a copy of a message that is due after `wait`, and deliver it again before that, unless the message is
    /// the broker's again anyway. False: it is held.
    async fn park(&self, _: &Receipt, _: &Message, _: Duration) -> Result<bool, Trouble> {
        Ok(false)
    }

    /// For how long a message that is due after `wait` stays away when it is put aside so.
    fn parks_for(&self, _: Duration) -> Option<Duration> {
        None
    }

    /// These are held still.
    async fn keep(&self, held: &[Receipt]) -> Result<(), Trouble>;

    /// Makes what dead workers held available again; says how many messages that were.
    async fn restore(&self) -> Result<usize, Trouble>;

    /// Sends messages to their queues.
    async fn publish(&self, messages: &[Outgoing]) -> Result<(), Trouble>;

    /// Sends a task, or says why it will never be sent.
    async fn offer(&self, message: &Outgoing) -> Result<Option<Refused>, Trouble> {
        match self.refuses(message) {
            Some(why) => Ok(Some(Refused(why))),
            None => self.publish(std::slice::from_ref(message)).await.map(|()| None),
        }
    }

    /// Sends a result to the queue of whoever waits for it. Whoever does not wait any more is nobody's mistake. `may_join`: they read several
    /// results in one message.
    async fn answer(
        &self,
        queue: &str,
        message: &Message,
        _may_join: bool,
    ) -> Result<Option<Refused>, Trouble> {
        let (queue, message) = (queue.to_owned(), message.clone());
        self.publish(&[Outgoing { queue, message }]).await.map(|()| None)
    }

    /// How many messages wait in this queue, with those that were taken by somebody who is not heard of any more.
    async fn waiting(&self, queue: &str) -> Result<u64, Trouble>;

    /// Why a message can never be sent, if so.
    fn refuses(&self, _: &Outgoing) -> Option<String> {
        None
    }

    /// Tells all workers.
    async fn broadcast(&self, message: &Message) -> Result<(), Trouble>;

    /// Whether it can be used.
    async fn check(&self) -> Result<(), Trouble>;

    /// Makes the queues and the node known.
    async fn announce(&self) -> Result<(), Trouble>;

    /// Tells whoever watches.
    async fn tell(&self, routing_key: &str, message: &Message) -> Result<(), Trouble>;

    /// Answers a request.
    async fn reply(&self, target: &Target, message: &Message) -> Result<(), Trouble>;

    /// Hands over requests of remote control, until the connection is lost or the receiver gone. `heard` is cancelled as soon as
    /// every request from then on reaches us.
    async fn listen(
        &self,
        requests: &mpsc::Sender<Message>,
        heard: &CancellationToken,
    ) -> Result<(), Trouble>;

    /// Tells every server of the fleet that listens now. Somebody must have listened on this connection before.
    async fn call(&self, words: &[u8]) -> Result<(), Trouble>;

    /// Hands over what servers of the fleet tell, this one among them, until the connection is lost or the receiver gone. `heard` is
    /// cancelled as soon as everything from then on reaches us.
    async fn overhear(&self, words: &mpsc::Sender<Vec<u8>>, heard: &CancellationToken)
    -> Result<(), Trouble>;

    /// Counts how often what the broker had may have been lost without its having been away. `None`: that cannot be.
    fn moves(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// What `stats` says of the connection.
    fn describe(&self) -> serde_json::Value;
}
