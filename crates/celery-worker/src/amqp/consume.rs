//! Messages as they come: the broker pushes as many to a consumer as its prefetch allows, and they wait here until they are fetched.
//!
//! What waits for its time would fill the prefetch, and a broker cannot raise that of a consumer that is there (nor, on a quorum
//! queue, of a channel). So the consumer is replaced by a new one: what the old one took stays ours and counts for nobody.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cresset_celery::Message;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicRejectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Consumer, Result};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::live::{Current, Live, Tag};
use super::message;

/// Messages that are read at once.
const TOGETHER_MAX: usize = 128;

/// What has come and was not fetched yet.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    pub(super) came: Notify,
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whose messages are taken; 0: nobody's.
    epoch: u64,
    waiting: VecDeque<Arrived>,
    /// Nothing more is taken.
    closed: bool,
}

/// A message that has come.
pub(super) struct Arrived {
    pub(super) epoch: u64,
    pub(super) tag: Tag,
    /// The queue's number.
    pub(super) place: usize,
    pub(super) message: Message,
}

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives them back when nothing more is taken. Those of an earlier epoch are dropped: the broker has them again.
    fn push(&self, epoch: u64, arrived: Vec<Arrived>) -> Vec<Arrived> {
        let mut state = self.lock();
        if state.epoch != epoch {
            return Vec::new();
        }
        if state.closed {
            return arrived;
        }
        state.waiting.extend(arrived);
        drop(state);
        self.came.notify_one();
        Vec::new()
    }

    /// The first ones.
    pub(super) fn take(&self, max: usize) -> Vec<Arrived> {
        let mut state = self.lock();
        let count = max.min(state.waiting.len());
        state.waiting.drain(..count).collect()
    }

    /// From now on those of this epoch are taken.
    fn open(&self, epoch: u64) {
        self.lock().epoch = epoch;
    }

    /// Forgets what waits, and takes nothing until it is opened again: the broker has it all.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.epoch = 0;
        state.waiting.clear();
    }

    /// Takes nothing more, and hands over what waits.
    fn close(&self) -> VecDeque<Arrived> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.waiting)
    }
}

/// Who consumes.
pub(super) struct Consumers {
    pub(super) queues: Vec<ShortString>,
    pub(super) prefetch: u16,
    pub(super) inbox: Arc<Inbox>,
    /// Owns what reads from the consumers.
    pub(super) tracker: TaskTracker,
}

impl Consumers {
    /// Starts those of a new epoch.
    pub(super) async fn begin(&self, live: &Arc<Live>) -> Result<()> {
        self.inbox.open(live.epoch);
        for (place, slot) in live.consumers.iter().enumerate() {
            *slot.lock().await = Some(self.start(live, place).await?);
        }
        Ok(())
    }

    async fn start(&self, live: &Arc<Live>, place: usize) -> Result<Current> {
        let number = self.inbox.next.fetch_add(1, Ordering::Relaxed);
        let queue = self.queues.get(place).cloned().unwrap_or_default();
        let name = ShortString::from(format!("cresset-{number}"));
        let consumer = live
            .channel
            .basic_consume(
                queue,
                name.clone(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let retired = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            live: Arc::clone(live),
            inbox: Arc::clone(&self.inbox),
            retired: Arc::clone(&retired),
            number,
            place,
        };
        self.tracker.spawn(reader.read(consumer));
        Ok(Current {
            number,
            name,
            retired,
            waiting: 0,
        })
    }

    /// What this tag stands for waits for its time.
    pub(super) async fn set_aside(&self, live: &Arc<Live>, tag: Tag, place: usize) {
        let Some(slot) = live.consumers.get(place) else {
            return;
        };
        let mut slot = slot.lock().await;
        let Some(current) = slot.as_mut().filter(|current| current.number == tag.consumer) else {
            return;
        };
        current.waiting += 1;
        if current.waiting * 2 < u64::from(self.prefetch) {
            return;
        }
        match self.start(live, place).await {
            Ok(fresh) => {
                if let Some(old) = slot.replace(fresh) {
                    retire(live, &old).await;
                }
            }
            Err(error) => live.lose(error.to_string()),
        }
    }

    /// Takes nothing more, and gives back what has come.
    pub(super) async fn end(&self, live: &Live) {
        for slot in &live.consumers {
            if let Some(current) = slot.lock().await.take() {
                retire(live, &current).await;
            }
        }
        for arrived in self.inbox.close() {
            if arrived.epoch == live.epoch {
                give_back(live, arrived.tag).await;
            }
        }
    }
}

async fn retire(live: &Live, current: &Current) {
    current.retired.store(true, Ordering::Relaxed);
    let options = BasicCancelOptions::default();
    if let Err(error) = live.channel.basic_cancel(current.name.clone(), options).await {
        live.lose(error.to_string());
    }
}

/// To whoever is next.
pub(super) async fn give_back(live: &Live, tag: Tag) {
    let again = BasicRejectOptions { requeue: true };
    match live.channel.basic_reject(tag.delivery, again).await {
        // Not before: until the broker has heard it, no acknowledgement may cover it.
        Ok(()) => live.settling.given_back(tag.delivery),
        Err(error) => live.lose(error.to_string()),
    }
}

/// Reads what one consumer is given.
struct Reader {
    live: Arc<Live>,
    inbox: Arc<Inbox>,
    retired: Arc<AtomicBool>,
    number: u64,
    place: usize,
}

impl Reader {
    async fn read(self, consumer: Consumer) {
        let mut coming = consumer.ready_chunks(TOGETHER_MAX);
        while let Some(some) = coming.next().await {
            let arrived: Result<Vec<_>> = some
                .into_iter()
                .map(|given| given.map(|delivery| self.arrived(delivery)))
                .collect();
            match arrived {
                Ok(arrived) => {
                    for unwanted in self.inbox.push(self.live.epoch, arrived) {
                        give_back(&self.live, unwanted.tag).await;
                    }
                    // More may come by the time that others have gone on.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    self.live.lose(error.to_string());
                    return;
                }
            }
        }
        if !self.retired.load(Ordering::Relaxed) {
            self.live
                .lose("the broker delivers nothing more of a queue; was it deleted?".into());
        }
    }

    fn arrived(&self, delivery: Delivery) -> Arrived {
        Arrived {
            epoch: self.live.epoch,
            tag: Tag {
                consumer: self.number,
                delivery: delivery.delivery_tag,
            },
            place: self.place,
            message: message::read(&delivery.properties, delivery.data, delivery.redelivered),
        }
    }
}
