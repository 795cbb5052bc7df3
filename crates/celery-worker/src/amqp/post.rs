//! Results on their way to whoever waits for them: many under way at once, on one channel, each told of when the broker has it.
//!
//! Only for what need not be there to arrive. What the broker sends back, or refuses, it says of no message, and a refusal ends the channel: so
//! whatever it might refuse goes elsewhere, and after a refusal each that was under way is tried by itself ([`super::publish`]).

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};
use tokio::sync::{mpsc, oneshot};

use super::live::Live;
use super::publish::{self, Failed};

/// Results that the broker has been sent and has not confirmed; as many wait for their turn.
const UNDER_WAY_MAX: usize = 512;
/// Larger ones go by themselves: a broker may refuse them.
pub(super) const BYTES_MAX: usize = 512 * 1024;

/// One of them.
struct Letter {
    queue: ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
    told: oneshot::Sender<Result<(), Failed>>,
}

/// What is to be sent.
pub(super) struct Letters(mpsc::Receiver<Letter>);

/// Where results are left.
pub(super) struct Post(mpsc::Sender<Letter>);

impl Post {
    pub(super) fn new() -> (Self, Letters) {
        let (post, letters) = mpsc::channel(UNDER_WAY_MAX);
        (Self(post), Letters(letters))
    }

    /// Sends one, and returns when the broker has it.
    pub(super) async fn send(
        &self,
        queue: ShortString,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> Result<(), Failed> {
        let (told, heard) = oneshot::channel();
        let letter = Letter {
            queue,
            properties,
            body,
            told,
        };
        match self.0.send(letter).await {
            Ok(()) => heard.await.unwrap_or(Err(Failed::Lost)),
            Err(_) => Err(Failed::Lost),
        }
    }
}

impl Letter {
    fn tell(self, sent: Result<(), Failed>) {
        // Whoever does not wait any more will find by itself what came of it.
        let _ = self.told.send(sent);
    }

    async fn go(self, channel: &Channel) {
        let Self {
            queue,
            properties,
            body,
            told,
        } = self;
        let sent = publish::send(channel, queue, &body, properties).await;
        let _ = told.send(sent);
    }
}

impl Letters {
    /// The next ones, once there is one. Whoever leaves them is held by the epoch, and the epoch by us: they never end.
    async fn take(&mut self, some: &mut Vec<Letter>, max: usize) {
        self.0.recv_many(some, max).await;
        // Results of a batch come together: those whose tasks can go on now come along.
        tokio::task::yield_now().await;
        while some.len() < max
            && let Ok(letter) = self.0.try_recv()
        {
            some.push(letter);
        }
    }

    /// Sends on one channel for as long as there is one.
    async fn go(&mut self, channel: &Channel, some: &mut Vec<Letter>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let is_open = channel.status().connected();
            if is_open {
                under_way.extend(some.drain(..).map(|letter| letter.go(channel)));
            } else if under_way.is_empty() {
                return;
            }
            let room = UNDER_WAY_MAX.saturating_sub(under_way.len());
            tokio::select! {
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                () = self.take(some, room), if is_open && room > 0 => {}
            }
        }
    }
}

/// Sends what is left at the post, until the epoch ends.
pub(super) async fn run(live: Arc<Live>, mut letters: Letters) {
    let work = async {
        let mut some = Vec::new();
        loop {
            if some.is_empty() {
                letters.take(&mut some, UNDER_WAY_MAX).await;
            }
            match live.confirming().await {
                Ok(channel) => letters.go(&channel, &mut some).await,
                Err(error) => some
                    .drain(..)
                    .for_each(|letter| letter.tell(Err(Failed::Amqp(error.clone())))),
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = live.lost() => {}
    }
}
