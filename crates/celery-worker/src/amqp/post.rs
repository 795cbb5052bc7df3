//! Tasks and results on their way: many under way at once, on one channel, each told of when the broker has it.
//!
//! What the broker sends back comes with the confirmation of another message, so all that have arrived are looked at before anybody is told.
//! What it refuses it says of no message, and a refusal ends the channel: so whatever it might refuse goes elsewhere, and after a refusal
//! each that was under way is tried by itself ([`super::publish`]).
//!
//! Results that are there at once for one server of ours go as one message: the broker's work is by the message, and a batch ends at once.

use std::collections::HashMap;
use std::sync::Arc;

use cresset_celery::{Properties, join, joined_len};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::{mpsc, oneshot};

use super::back::Back;
use super::live::Live;
use super::message;
use super::sent::{Failed, send, taken};

/// Messages that the broker has been sent and has not confirmed; as many wait for their turn.
const UNDER_WAY_MAX: usize = 512;
/// Larger ones go by themselves: a broker may refuse them.
pub(super) const BYTES_MAX: usize = 128 * 1024;
/// Results in one message. More would save little, and whoever takes them has each message's results in memory at once.
const JOINED_MAX: usize = 64;

/// What is sent.
pub(super) enum Kind {
    /// Has to arrive: a queue that is not there is declared.
    Task,
    /// Whoever waits for it has a queue; if that is gone, nobody waits.
    Result,
    /// The same for a server of ours, which reads several in one message: what that one is besides its body.
    OurResult(Properties),
}

/// Whom to tell whether the broker has it.
type Told = oneshot::Sender<Result<(), Failed>>;

/// One of them.
struct Letter {
    queue: ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
    kind: Kind,
    told: Told,
}

/// What goes as one message.
struct Parcel {
    queue: ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
    must_arrive: bool,
    told: Vec<Told>,
}

/// What came of a parcel. Whoever has to arrive is known by its id.
struct Sent {
    id: Option<ShortString>,
    confirmed: Result<Confirmation, Failed>,
    told: Vec<Told>,
}

/// What is to be sent.
pub(super) struct Letters(mpsc::Receiver<Letter>);

/// Where it is left.
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
        kind: Kind,
    ) -> Result<(), Failed> {
        let (told, heard) = oneshot::channel();
        let letter = Letter {
            queue,
            properties,
            body,
            kind,
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
            body: self.body,
            must_arrive: matches!(self.kind, Kind::Task),
            told: vec![self.told],
        }
    }

    /// Whether it can be in one message with these.
    fn joins(&self, others: &[Self]) -> bool {
        let is_ours = |one: &Self| matches!(one.kind, Kind::OurResult(_));
        let Some(first) = others.first().filter(|first| is_ours(first)) else {
            return false;
        };
        let bodies = others.iter().chain([self]).map(|one| one.body.as_slice());
        let fits = others.len() < JOINED_MAX && joined_len(bodies) <= BYTES_MAX;
        fits && is_ours(self) && first.queue == self.queue
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

fn joined(letters: Vec<Letter>) -> Vec<Parcel> {
    match one_for_all(&letters) {
        Some((queue, properties, body)) => vec![Parcel {
            queue,
            properties,
            body,
            must_arrive: false,
            told: letters.into_iter().map(|letter| letter.told).collect(),
        }],
        None => letters.into_iter().map(Letter::alone).collect(),
    }
}

/// One message for what is at least two of them, if there can be one.
fn one_for_all(letters: &[Letter]) -> Option<(ShortString, BasicProperties, Vec<u8>)> {
    let [first, _, ..] = letters else {
        return None;
    };
    let Kind::OurResult(about) = &first.kind else {
        return None;
    };
    let bodies: Vec<_> = letters.iter().map(|letter| letter.body.as_slice()).collect();
    let message = join(about.clone(), &bodies);
    let properties = message::write(&message).ok()?;
    Some((first.queue.clone(), properties, message.body))
}

/// Whose a message is.
fn id(properties: &BasicProperties) -> ShortString {
    properties.correlation_id().clone().unwrap_or_default()
}

impl Parcel {
    async fn go(self, channel: &Channel) -> Sent {
        let Self {
            queue,
            properties,
            body,
            must_arrive,
            told,
        } = self;
        let id = must_arrive.then(|| id(&properties));
        let confirmed = send(channel, queue, &body, properties, must_arrive).await;
        Sent { id, confirmed, told }
    }
}

/// One channel, for as long as there is one.
struct Round<'a> {
    live: &'a Live,
    channel: &'a Channel,
    back: Back,
    /// What came back and could not be sent again. Its own confirmation is to come.
    unsent: HashMap<ShortString, Failed>,
}

impl Round<'_> {
    /// Sends again what came back, and then tells what came of these.
    async fn settle(&mut self, arrived: Vec<Sent>) {
        let mut done = Vec::with_capacity(arrived.len());
        for Sent { id, confirmed, told } in arrived {
            let came = match confirmed {
                Ok(confirmation) => {
                    let came = taken(&confirmation);
                    self.again(confirmation).await;
                    came
                }
                Err(failed) => Err(failed),
            };
            done.push((id, came, told));
        }
        for (id, came, told) in done {
            let unsent = id.and_then(|id| self.unsent.remove(&id));
            let came = unsent.map_or(came, Err);
            for one in told {
                // As in Letter::tell.
                let _ = one.send(came.clone());
            }
        }
    }

    /// What a confirmation brings may be another one's, and what is said of that yet another's.
    async fn again(&mut self, confirmation: Confirmation) {
        let mut brought = confirmation.take_message();
        while let Some(message) = brought {
            let id = id(&message.delivery.properties);
            let sent = self.back.again(self.live, self.channel, message).await;
            let (came, another) = match sent {
                Ok(confirmation) => (taken(&confirmation), confirmation.take_message()),
                Err(failed) => (Err(failed), None),
            };
            if let Err(failed) = came {
                self.unsent.insert(id, failed);
            }
            brought = another;
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
    async fn go(&mut self, live: &Live, channel: &Channel, some: &mut Vec<Letter>) {
        let mut under_way = FuturesUnordered::new();
        let mut round = Round {
            live,
            channel,
            back: Back::default(),
            unsent: HashMap::new(),
        };
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
                Some(sent) = under_way.next(), if !under_way.is_empty() => {
                    let mut arrived = vec![sent];
                    while let Some(Some(sent)) = under_way.next().now_or_never() {
                        arrived.push(sent);
                    }
                    round.settle(arrived).await;
                }
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
                Ok(channel) => letters.go(&live, &channel, &mut some).await,
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

    fn letter(queue: &str, id: &str, size: usize, kind: Kind) -> Letter {
        let body = format!(
            r#"{{"task_id": "{id}", "status": "SUCCESS", "result": "{}"}}"#,
            "x".repeat(size)
        );
        let (told, _) = oneshot::channel();
        Letter {
            queue: queue.into(),
            properties: BasicProperties::default().with_correlation_id(id.into()),
            body: body.into_bytes(),
            kind,
            told,
        }
    }

    fn ours() -> Kind {
        Kind::OurResult(Properties::default())
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
            letter("ours", "a", 1, ours()),
            letter("ours", "b", 1, ours()),
            letter("another", "c", 1, ours()),
            letter("celery", "d", 1, Kind::Result),
            letter("celery", "e", 1, Kind::Task),
            letter("ours", "f", 1, ours()),
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
        let many = (0..2 * JOINED_MAX + 1).map(|at| letter("ours", &at.to_string(), 1, ours()));
        let counts: Vec<_> = shown(many.collect()).iter().map(|(_, ids)| ids.len()).collect();
        assert_eq!(counts, [JOINED_MAX, JOINED_MAX, 1]);
        let large = (0..3).map(|at| letter("ours", &at.to_string(), BYTES_MAX / 3, ours()));
        let counts: Vec<_> = shown(large.collect()).iter().map(|(_, ids)| ids.len()).collect();
        assert_eq!(counts, [2, 1]);
    }
}
