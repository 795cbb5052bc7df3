//! Results that are kept for equal inputs, and computations that several wait for. One for each model that wants it, in
//! memory only.
//!
//! ```text
//!   begin(key) -+-> Kept(result)                          answered at once
//!               +-> Lead ----- computed ----> done -----> kept, and told to all followers
//!               |                 +---------> failed ---> told to all followers
//!               |                 +---------> dropped --> followers begin again: one of them leads
//!               +-> Follow: waits for the lead that is there
//! ```
//!
//! What is kept is of the processes that are there: whenever one comes or goes, everything is thrown away, and what was sent
//! before that is not kept when it ends. So a model whose files have changed never answers from before.
//!
//! Nobody waits longer for another's computation than for one of their own: a lead that is not under way yet is followed only
//! by those whose turn is not before its turn.

mod key;
mod shelf;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cresset_batch::Moment;
use cresset_config::ResultCache;
use cresset_task::{CacheUse, Failure, Payload};
use tokio::sync::watch;

pub(crate) use self::key::Key;
use self::shelf::{Look, Shelf};
use crate::metrics::CacheMetrics;

/// How a computation ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Done(Payload),
    Failed(Failure),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A caller on an open connection.
    Prediction,
    /// A leased task, with its place in the queue.
    Task { line: i64, priority: i8 },
}

/// What there is for who asks.
pub(crate) enum Begun {
    /// A result.
    Kept(Payload),
    /// Nothing: it is to be computed, and others may follow.
    Lead(Box<Lead>),
    /// A computation.
    Follow(Follow),
}

/// A computation that others may wait for.
struct Flight {
    number: u64,
    by: Asker,
    /// An instance has it.
    sent: AtomicBool,
    news: watch::Sender<Option<End>>,
}

impl Flight {
    /// Whether it has its turn no later than who asks would have.
    fn goes_before(&self, asker: Asker) -> bool {
        match (self.by, asker) {
            _ if self.sent.load(Ordering::Relaxed) => true,
            (Asker::Prediction, Asker::Prediction) => true,
            // A prediction goes before a task that comes later, unless that has been put forward.
            (Asker::Prediction, Asker::Task { priority, .. }) => priority <= 0,
            (Asker::Task { .. }, Asker::Prediction) => false,
            (Asker::Task { line: lead, .. }, Asker::Task { line, .. }) => lead <= line,
        }
    }
}

struct Inner {
    shelf: Shelf,
    /// The newest computation of each key that is under way, and which may be followed.
    flights: HashMap<Key, Weak<Flight>>,
    /// How many computations have begun.
    begun: u64,
    /// How often the processes have changed.
    generation: u64,
    /// When a kept result was last given.
    last_hit: Moment,
}

/// See above.
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    pub(crate) metrics: CacheMetrics,
}

impl Cache {
    pub(crate) fn new(bounds: ResultCache, metrics: CacheMetrics) -> Arc<Self> {
        let inner = Inner {
            shelf: Shelf::new(bounds),
            flights: HashMap::new(),
            begun: 0,
            generation: 0,
            last_hit: Moment::ZERO,
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            metrics,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing here can panic halfway, so a poisoned lock is sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is for an input. `use_` must not be `NoStore`: that has nothing to do with a cache.
    pub(crate) fn begin(self: &Arc<Self>, key: Key, asker: Asker, use_: CacheUse, now: Moment) -> Begun {
        let mut inner = self.inner();
        if use_ == CacheUse::Allowed {
            match inner.shelf.look(&key, now) {
                Look::Found(output) => {
                    self.metrics.hits.inc();
                    inner.last_hit = now;
                    return Begun::Kept(output);
                }
                Look::Old => {
                    self.metrics.expired.inc();
                    self.measure(&inner.shelf);
                }
                Look::Nothing => {}
            }
            let flight = inner.flights.get(&key).and_then(Weak::upgrade);
            if let Some(flight) = flight.filter(|flight| flight.goes_before(asker)) {
                return Begun::Follow(Follow(flight.news.subscribe()));
            }
            self.metrics.misses.inc();
        } else {
            self.metrics.bypasses.inc();
        }
        inner.begun += 1;
        let flight = Arc::new(Flight {
            number: inner.begun,
            by: asker,
            sent: AtomicBool::new(false),
            news: watch::Sender::new(None),
        });
        inner.flights.insert(key, Arc::downgrade(&flight));
        Begun::Lead(Box::new(Lead {
            cache: Arc::clone(self),
            key,
            flight,
            generation: None,
        }))
    }

    /// A process of the model has come or gone. Nothing that was computed before, or is being computed, is told to those who ask
    /// from now on.
    pub(crate) fn empty(&self) {
        let mut inner = self.inner();
        inner.generation += 1;
        let waits = |flight: Arc<Flight>| !flight.sent.load(Ordering::Relaxed);
        inner
            .flights
            .retain(|_, flight| flight.upgrade().is_some_and(waits));
        let old = inner.shelf.take();
        self.measure(&inner.shelf);
        drop(inner);
        self.metrics.emptied.inc_by(old.len() as u64);
    }

    /// When a kept result was last given; the start of the clock before the first.
    pub(crate) fn last_hit(&self) -> Moment {
        self.inner().last_hit
    }

    fn measure(&self, shelf: &Shelf) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.bytes.set(gauge(shelf.bytes()));
        self.metrics.entries.set(gauge(shelf.len() as u64));
    }
}

/// The right and duty to compute a result. Dropped without an end, its followers have to see for themselves.
pub(crate) struct Lead {
    cache: Arc<Cache>,
    key: Key,
    flight: Arc<Flight>,
    /// As the processes were when an instance was given it.
    generation: Option<u64>,
}

impl Lead {
    /// An instance has it now.
    pub(crate) fn sent(&mut self) {
        self.flight.sent.store(true, Ordering::Relaxed);
        self.generation = Some(self.cache.inner().generation);
    }

    /// Whether anybody waits for it, beside the one who began it.
    pub(crate) fn is_followed(&self) -> bool {
        self.flight.news.receiver_count() > 0
    }

    /// It has this result.
    pub(crate) fn done(self, output: &Payload, now: Moment) {
        let apart = shelf::apart(output);
        let mut inner = self.cache.inner();
        // Before it is out of the map: who asks now finds the one or the other.
        if self.generation == Some(inner.generation) {
            let gone = inner.shelf.keep(self.key, apart.clone(), self.flight.number, now);
            self.cache.metrics.evicted.inc_by(gone);
            self.cache.measure(&inner.shelf);
        }
        drop(inner);
        self.flight.news.send_replace(Some(End::Done(apart)));
    }

    /// It has failed: the input's fault, or the model's.
    pub(crate) fn failed(self, failure: &Failure) {
        self.flight.news.send_replace(Some(End::Failed(failure.clone())));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut inner = self.cache.inner();
        let flights = &mut inner.flights;
        let is_this = |flight: &Weak<Flight>| flight.as_ptr() == Arc::as_ptr(&self.flight);
        if flights.get(&self.key).is_some_and(is_this) {
            flights.remove(&self.key);
        }
    }
}

impl std::fmt::Debug for Lead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lead").field(&self.key).finish()
    }
}

/// A place among those who wait for a computation; given up when dropped.
pub(crate) struct Follow(watch::Receiver<Option<End>>);

impl Follow {
    /// How it ended; `None` when it was given up.
    pub(crate) async fn end(mut self) -> Option<End> {
        let end = self.0.wait_for(Option::is_some).await.ok()?;
        end.clone()
    }
}

#[cfg(test)]
mod tests;
