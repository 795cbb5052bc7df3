//! Acknowledging what has been dealt with. Whoever has done so only says it; what ends together is told the broker together.
//!
//! A broker that was not told in time delivers once more, as with every other loss of a connection: nothing here may tell it too early.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lapin::options::BasicAckOptions;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ledger::{Ack, Ledger};
use super::live::Live;

/// What is done with is told alone after so long, if something before it is under way still.
const PATIENCE: Duration = Duration::from_millis(20);
/// Or when it is this part of all that a broker lets us have at once: it sends no more otherwise.
const CROWD: usize = 2;

/// The acknowledgements of one epoch.
pub(super) struct Settling {
    ledger: Mutex<Ledger>,
    /// There is something new to tell.
    news: Notify,
    /// Held from taking acknowledgements out of the ledger until they are sent: whoever says goodbye does so after them.
    telling: tokio::sync::Mutex<()>,
    crowd: usize,
}

impl Settling {
    /// `prefetch`: how many a broker lets us have at once.
    pub(super) fn new(prefetch: u16) -> Self {
        Self {
            ledger: Mutex::default(),
            news: Notify::new(),
            telling: tokio::sync::Mutex::default(),
            crowd: usize::from(prefetch) / CROWD,
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This delivery is done with: the broker hears of it soon.
    pub(super) fn done(&self, delivery: u64) {
        self.ledger().done(delivery, Instant::now());
        self.news.notify_one();
    }

    /// The broker has been given this one back.
    pub(super) fn given_back(&self, delivery: u64) {
        self.ledger().given_back(delivery);
        self.news.notify_one();
    }

    /// Tells the broker all that there is to tell.
    pub(super) async fn tell_all(&self, live: &Live) {
        let _telling = self.telling.lock().await;
        let (acks, _) = self.due(true);
        send(live, acks).await;
    }

    /// Tells it what is due. Gives when more will be.
    async fn tell(&self, live: &Live) -> Option<Instant> {
        let _telling = self.telling.lock().await;
        let (acks, next) = self.due(false);
        send(live, acks).await;
        next
    }

    /// Takes what has nothing under way before it, and of the rest what has waited long enough, or all.
    fn due(&self, all: bool) -> (Vec<Ack>, Option<Instant>) {
        let mut ledger = self.ledger();
        let now = Instant::now();
        let mut acks = Vec::from_iter(ledger.first());
        let patience = match all || ledger.untold() >= self.crowd {
            true => Duration::ZERO,
            false => PATIENCE,
        };
        let before = now.checked_sub(patience).unwrap_or(now);
        if ledger.since().is_some_and(|since| since <= before) {
            acks.extend(ledger.others(before));
        }
        (acks, ledger.since().map(|since| since + PATIENCE))
    }

    async fn keep(&self, live: &Live) {
        let mut due: Option<Instant> = None;
        loop {
            let late = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = late => {}
            }
            // Whoever else can go on does so first, and may have something to tell, too.
            tokio::task::yield_now().await;
            due = self.tell(live).await;
        }
    }
}

async fn send(live: &Live, acks: Vec<Ack>) {
    let sent = acks.into_iter().map(|Ack { delivery, multiple }| {
        let options = BasicAckOptions { multiple };
        live.channel.basic_ack(delivery, options)
    });
    for told in join_all(sent).await {
        // Nothing that could be tried again: with its channel the message has gone back to the broker.
        if let Err(error) = told {
            live.lose(error.to_string());
        }
    }
}

/// Tells the broker what has been dealt with, until the epoch ends.
pub(super) async fn run(live: Arc<Live>) {
    tokio::select! {
        () = live.settling.keep(&live) => {}
        () = live.lost() => {}
    }
}
