//! Leased tasks of a model with a result cache on their way into the batcher: their keys are computed, what is kept ends
//! them, and those whose input is being computed wait for that, aside.
//!
//! A task that waits aside takes no place in a batch, and no seat. When what it waits for does not succeed, it is run itself:
//! no task fails but by its own run.

use std::sync::Arc;

use cresset_batch::Moment;
use cresset_runner::Timing;
use cresset_task::CacheUse;
use prometheus_client::metrics::counter::Counter;
use tokio::task::{JoinError, JoinSet};

use super::Driver;
use crate::cache::{Asker, Begun, End, Follow, Key};
use crate::idempotency::OFFLOAD_BYTES;
use crate::item::{Item, Leased, Origin};
use crate::metrics::CacheMetrics;
use crate::verdict::Resolution;

/// Tasks that wait for the computation of another, at most, and what their inputs weigh. One more is run itself: so however
/// many equal tasks are queued, neither memory nor those behind them pay for it.
const FOLLOWERS_MAX: usize = 1024;
const FOLLOWERS_BYTES_MAX: usize = 64 << 20;

/// What comes back.
pub(super) enum Back {
    /// Tasks, with their keys.
    Keyed(Vec<(Item, Key)>),
    /// A task that waited, and what for: `None` when that was given up.
    Followed(Box<Item>, Key, Option<End>),
}

/// See above.
#[derive(Default)]
pub(super) struct Aside {
    under_way: JoinSet<Back>,
    is_keying: bool,
    followers: usize,
    bytes: usize,
}

impl Aside {
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// No more is leased until the keys of what was leased last are known.
    pub(super) fn is_keying(&self) -> bool {
        self.is_keying
    }

    /// The next that comes back; there must be one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Back, JoinError> {
        match self.under_way.join_next().await {
            Some(back) => back,
            None => std::future::pending().await,
        }
    }

    fn has_room_for(&self, item: &Item) -> bool {
        self.followers < FOLLOWERS_MAX && self.bytes + item.payload.weight() <= FOLLOWERS_BYTES_MAX
    }

    fn follow(&mut self, item: Item, key: Key, follow: Follow) {
        self.followers += 1;
        self.bytes += item.payload.weight();
        let item = Box::new(item);
        self.under_way
            .spawn(async move { Back::Followed(item, key, follow.end().await) });
    }
}

impl Driver {
    /// Leased tasks that fit the model.
    pub(super) fn take_in(&mut self, items: Vec<Item>) {
        if self.served.cache.is_none() {
            items.into_iter().for_each(|item| self.push(item));
            return;
        }
        let (asks, others): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| asks(item).is_some());
        others.into_iter().for_each(|item| self.push(item));
        let config = Arc::clone(&self.served.config);
        let bytes: usize = asks.iter().map(|item| item.payload.weight()).sum();
        let with_key = move |item: Item| {
            let key = Key::of(&config, &item.payload);
            (item, key)
        };
        if bytes < OFFLOAD_BYTES {
            self.place(asks.into_iter().map(with_key).collect());
        } else {
            self.aside.is_keying = true;
            let keyed = move || Back::Keyed(asks.into_iter().map(with_key).collect());
            self.aside.under_way.spawn_blocking(keyed);
        }
    }

    /// Something has come back.
    pub(super) fn on_back(&mut self, back: Result<Back, JoinError>) {
        // As with what a lease brings.
        self.hung_up |= !self.revoked.is_empty();
        match back {
            Ok(Back::Keyed(items)) => {
                self.aside.is_keying = false;
                self.place(items);
            }
            Ok(Back::Followed(item, key, end)) => {
                let item = *item;
                self.aside.followers -= 1;
                self.aside.bytes -= item.payload.weight();
                match end {
                    _ if item.is_among(&self.revoked) => {}
                    Some(End::Done(output)) => {
                        self.count(|metrics| &metrics.coalesced);
                        self.resolve(vec![(item, Resolution::Kept(output))], Timing::default());
                    }
                    Some(End::Failed(_)) => {
                        self.count(|metrics| &metrics.misses);
                        self.push(item);
                    }
                    None => self.place(vec![(item, key)]),
                }
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Nobody ends these but with the runtime, which drops us next.
            Err(_) => {}
        }
        self.put_down();
    }

    /// Tasks whose keys are known: what is kept ends them, others wait for a computation, the rest is to be computed.
    fn place(&mut self, items: Vec<(Item, Key)>) {
        let now = self.shared.now();
        let mut kept = Vec::new();
        for (mut item, key) in items {
            if item.is_among(&self.revoked) {
                continue;
            }
            let (Some(cache), Some(task)) = (&self.served.cache, asks(&item)) else {
                self.push(item);
                continue;
            };
            let asker = Asker::Task {
                line: task.line,
                priority: task.priority,
            };
            match cache.begin(key, asker, task.cache, now) {
                Begun::Kept(output) => kept.push((item, Resolution::Kept(output))),
                Begun::Lead(lead) => {
                    item.lead = Some(lead);
                    self.push(item);
                }
                Begun::Follow(follow) if self.aside.has_room_for(&item) => {
                    self.aside.follow(item, key, follow)
                }
                Begun::Follow(_) => {
                    self.count(|metrics| &metrics.misses);
                    self.push(item);
                }
            }
        }
        self.resolve(kept, Timing::default());
    }

    fn count(&self, which: impl Fn(&CacheMetrics) -> &Counter) {
        if let Some(cache) = &self.served.cache {
            which(&cache.metrics).inc();
        }
    }

    fn push(&mut self, item: Item) {
        let now = self.shared.now();
        let entry = self.measure.entry(item, &self.served.config.inputs, now);
        self.batcher.push(entry);
    }

    /// The end of an item, for those who wait for the same.
    pub(super) fn tell_followers(&self, item: &mut Item, resolution: &Resolution, now: Moment) {
        let Some(lead) = item.lead.take() else {
            return;
        };
        match resolution {
            // A cancelled task's process may have been told so, and its result is thrown away.
            _ if item.is_among(&self.revoked) => {}
            Resolution::Done(output) | Resolution::Kept(output) => lead.done(output, now),
            Resolution::Failed(failure) | Resolution::Dead(failure, _) => lead.failed(failure),
        }
    }

    /// The processes are not those that they were.
    pub(super) fn forget_results(&self) {
        if let Some(cache) = &self.served.cache {
            cache.empty();
        }
    }
}

/// The task, if it has anything to do with a cache.
fn asks(item: &Item) -> Option<Leased> {
    match &item.origin {
        Origin::Queue(task) if task.cache != CacheUse::NoStore => Some(task.clone()),
        _ => None,
    }
}
