//! Results on their way to whoever waits for them: many under way at once, on one channel, each told of when the broker has it.
//!
//! Only for what need not be there to arrive. What the broker sends back, or refuses, it says of no message, and a refusal ends the channel: so
//! whatever it might refuse goes elsewhere, and after a refusal each that was under way is tried by itself ([`super::publish`]).
//!
//! What is there at once for one server of ours goes as one message: the broker's work is by the message, and a batch ends at once.

use std::sync::Arc;

use cresset_celery::{Message, join, joined_len};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};
use tokio::sync::{mpsc, oneshot};

use super::live::Live;
use super::message;
use super::publish::{self, Failed};

/// Results that the broker has been sent and has not confirmed; as many wait for their turn.
const UNDER_WAY_MAX: usize = 512;
/// Larger ones go by themselves: a broker may refuse them.
pub(super) const BYTES_MAX: usize = 512 * 1024;
/// Results in one message. More would save little, and whoever takes them has each message's results in memory at once.
const JOINED_MAX: usize = 64;

/// One of them.
struct Letter {
    queue: ShortString,
    properties: BasicProperties,
    message: Message,
    may_join: bool,
    told: oneshot::Sender<Result<(), Failed>>,
}

/// What goes as one message.
struct Parcel {
    queue: ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
    told: Vec<oneshot::Sender<Result<(), Failed>>>,
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
        message: Message,
        may_join: bool,
    ) -> Result<(), Failed> {
        let (told, heard) = oneshot::channel();
        let letter = Letter {
            queue,
            properties,
            message,
            may_join,
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

    /// By itself.
    fn alone(self) -> Parcel {
        Parcel {
            queue: self.queue,
            properties: self.properties,
            body: self.message.body,
            told: vec![self.told],
        }
    }

    /// Whether it can be in one message with these.
    fn joins(&self, others: &[Self]) -> bool {
        let bodies = others.iter().chain([self]).map(|one| one.message.body.as_slice());
        let fits = others.len() < JOINED_MAX && joined_len(bodies) <= BYTES_MAX;
        fits && self.may_join
            && others
                .first()
                .is_some_and(|first| first.may_join && first.queue == self.queue)
    }
}

/// As few messages as they can go in. Those to one queue keep their order.
fn packed(letters: impl Iterator<Item = Letter>) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    let mut together: Vec<Letter> = Vec::new();
    for letter in letters {
        if !letter.joins(&together) {
            parcels.extend(joined(std::mem::take(&mut together)));
        }
        together.push(letter);
    }
    parcels.extend(joined(together));
    parcels
}

fn joined(mut letters: Vec<Letter>) -> Vec<Parcel> {
    if letters.len() < 2 {
        return letters.into_iter().map(Letter::alone).collect();
    }
    let messages: Vec<_> = letters
        .iter_mut()
        .map(|letter| std::mem::take(&mut letter.message))
        .collect();
    let message = join(&messages);
    let Some(queue) = letters.first().map(|first| first.queue.clone()) else {
        return Vec::new();
    };
    match message::write(&message) {
        Ok(properties) => vec![Parcel {
            queue,
            properties,
            body: message.body,
            told: letters.into_iter().map(|letter| letter.told).collect(),
        }],
        Err(_) => letters
            .into_iter()
            .zip(messages)
            .map(|(letter, message)| Letter { message, ..letter }.alone())
            .collect(),
    }
}

impl Parcel {
    async fn go(self, channel: &Channel) {
        let Self {
            queue,
            properties,
            body,
            told,
        } = self;
        let sent = publish::send(channel, queue, &body, properties).await;
        for one in told {
            let _ = one.send(sent.clone());
        }
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
                under_way.extend(
                    packed(some.drain(..))
                        .into_iter()
                        .map(|parcel| parcel.go(channel)),
                );
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

#[cfg(test)]
mod tests {
    use cresset_celery::read_answers;

    use super::*;

    fn letter(queue: &str, id: &str, size: usize, may_join: bool) -> Letter {
        let body = format!(
            r#"{{"task_id": "{id}", "status": "SUCCESS", "result": "{}"}}"#,
            "x".repeat(size)
        );
        let (told, _) = oneshot::channel();
        Letter {
            queue: queue.into(),
            properties: BasicProperties::default().with_correlation_id(id.into()),
            message: Message::json(Default::default(), Default::default(), body.into_bytes()),
            may_join,
            told,
        }
    }

    /// Where each message goes, and of which tasks it tells.
    fn shown(letters: Vec<Letter>) -> Vec<(String, Vec<String>)> {
        let parcels = packed(letters.into_iter());
        parcels
            .iter()
            .map(|parcel| {
                let message = message::read(&parcel.properties, parcel.body.clone(), false);
                let ids: Vec<_> = read_answers(&message)
                    .into_iter()
                    .filter_map(|(id, _)| id)
                    .collect();
                assert_eq!(ids.len(), parcel.told.len());
                (parcel.queue.to_string(), ids)
            })
            .collect()
    }

    fn of(queue: &str, ids: &[&str]) -> (String, Vec<String>) {
        (queue.into(), ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn results_for_one_server_of_ours_go_as_one_message_and_all_others_alone() {
        assert_eq!(shown(Vec::new()), []);
        let letters = vec![
            letter("ours", "a", 1, true),
            letter("ours", "b", 1, true),
            letter("another", "c", 1, true),
            letter("celery", "d", 1, false),
            letter("celery", "e", 1, false),
            letter("ours", "f", 1, true),
        ];
        assert_eq!(
            shown(letters),
            [
                of("ours", &["a", "b"]),
                of("another", &["c"]),
                of("celery", &["d"]),
                of("celery", &["e"]),
                of("ours", &["f"]),
            ]
        );
    }

    #[test]
    fn a_message_is_bounded_in_count_and_bytes() {
        let many = (0..2 * JOINED_MAX + 1).map(|at| letter("ours", &at.to_string(), 1, true));
        let counts: Vec<_> = shown(many.collect()).iter().map(|(_, ids)| ids.len()).collect();
        assert_eq!(counts, [JOINED_MAX, JOINED_MAX, 1]);
        let large = (0..3).map(|at| letter("ours", &at.to_string(), BYTES_MAX / 3, true));
        let counts: Vec<_> = shown(large.collect()).iter().map(|(_, ids)| ids.len()).collect();
        assert_eq!(counts, [2, 1]);
    }
}
