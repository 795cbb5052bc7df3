//! The messages that are held: taken, and neither acknowledged nor given back. What remote control shows, and what a revocation
//! finds.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cresset_celery::{Head, show_time};
use cresset_task::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::transport::Receipt;

/// Tasks that wait for their time, at most: they take memory, and nothing else. When there are as many nothing new is taken until
/// one is due.
pub(crate) const SCHEDULED_MAX: usize = 50_000;

/// Where a held task stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stand {
    /// It is read, and will run next.
    Reserved,
    /// It waits until then.
    Scheduled(Timestamp),
    /// It is with its model since then.
    Active(Timestamp),
}

/// A held message.
struct Entry {
    receipt: Receipt,
    queue: String,
    /// The task, once it is read.
    head: Option<Arc<Head>>,
    stand: Stand,
    revoke: CancellationToken,
    void: CancellationToken,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Held {
    entries: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
    /// One left, or does not count for a while.
    freed: Notify,
    /// One left: for all who wait for that.
    left: Notify,
}

/// How many are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Those that are to run now.
    pub(crate) current: usize,
    pub(crate) scheduled: usize,
    pub(crate) active: usize,
}

/// A place among the held ones, until it is dropped.
pub(crate) struct Place {
    held: Arc<Held>,
    id: u64,
    /// Somebody wants the task to stop.
    pub(crate) revoke: CancellationToken,
    /// The message is not ours any more.
    pub(crate) void: CancellationToken,
}

impl Held {
    pub(crate) fn add(self: &Arc<Self>, receipt: Receipt, queue: String) -> Place {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (revoke, void) = (CancellationToken::new(), CancellationToken::new());
        let entry = Entry {
            receipt,
            queue,
            head: None,
            stand: Stand::Reserved,
            revoke: revoke.clone(),
            void: void.clone(),
        };
        self.lock().insert(id, entry);
        Place {
            held: Arc::clone(self),
            id,
            revoke,
            void,
        }
    }

    /// What was taken in an earlier epoch and has not begun is let go: it is delivered again. What runs goes on, as its result is worth
    /// having.
    pub(crate) fn void_before(&self, epoch: u64) {
        let entries = self.lock();
        for entry in entries.values() {
            if entry.receipt.epoch < epoch && !matches!(entry.stand, Stand::Active(_)) {
                entry.void.cancel();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the broker must be told of again.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        let entries = self.lock();
        let receipts = entries.values().map(|entry| entry.receipt.clone());
        receipts.filter(|receipt| !receipt.tag.is_empty()).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        let entries = self.lock();
        let mut counts = Counts::default();
        for entry in entries.values() {
            match entry.stand {
                Stand::Reserved => counts.current += 1,
                Stand::Scheduled(_) => counts.scheduled += 1,
                Stand::Active(_) => {
                    counts.current += 1;
                    counts.active += 1;
                }
            }
        }
        counts
    }

    /// Returns when there may be more room than before.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Tells the tasks of these ids to stop, those that run only if `running`. Gives the ids that were found.
    pub(crate) fn revoke(&self, ids: &[String], running: bool) -> Vec<String> {
        let entries = self.lock();
        let mut found = Vec::new();
        for entry in entries.values() {
            let Some(head) = entry.head.as_ref().filter(|head| ids.contains(&head.id)) else {
                continue;
            };
            if running || !matches!(entry.stand, Stand::Active(_)) {
                entry.revoke.cancel();
                found.push(head.id.clone());
            }
        }
        found
    }

    /// Whether this task is with its model.
    pub(crate) fn is_active(&self, id: &str) -> bool {
        let entries = self.lock();
        let mut active = entries
            .values()
            .filter(|entry| matches!(entry.stand, Stand::Active(_)));
        active.any(|entry| entry.head.as_ref().is_some_and(|head| head.id == id))
    }

    /// Those of these tasks that are held.
    pub(crate) fn among(&self, ids: &HashSet<&str>) -> Vec<String> {
        let entries = self.lock();
        let held = entries.values().filter_map(|entry| entry.head.as_ref());
        let sought = held.filter(|head| ids.contains(head.id.as_str()));
        sought.map(|head| head.id.clone()).collect()
    }

    /// The tasks that stand so, as remote control shows them.
    pub(crate) fn shown(&self, node: &str, wanted: impl Fn(Stand) -> bool) -> Vec<Value> {
        let entries = self.lock();
        let mut chosen: Vec<_> = entries.iter().filter(|(_, entry)| wanted(entry.stand)).collect();
        chosen.sort_by_key(|(id, _)| **id);
        chosen.iter().filter_map(|(_, entry)| entry.show(node)).collect()
    }
}

impl Entry {
    fn show(&self, node: &str) -> Option<Value> {
        let head = self.head.as_ref()?;
        Some(show(head, &self.queue, node, self.stand))
    }
}

/// A task as remote control shows it.
pub(crate) fn show(head: &Head, queue: &str, node: &str, stand: Stand) -> Value {
    let (started, pid) = match stand {
        Stand::Active(since) => (json!(since.as_micros() as f64 / 1e6), json!(std::process::id())),
        Stand::Reserved | Stand::Scheduled(_) => (Value::Null, Value::Null),
    };
    let info = json!({"exchange": "", "routing_key": queue, "priority": head.priority,
        "redelivered": head.redelivered});
    let request = json!({"id": head.id, "name": head.name, "args": head.argsrepr, "kwargs": head.kwargsrepr,
        "type": head.name, "hostname": node, "time_start": started, "acknowledged": false, "delivery_info": info,
        "worker_pid": pid});
    match stand {
        // Celery shows the priority of its own timer here.
        Stand::Scheduled(eta) => json!({"eta": show_time(eta), "priority": 6, "request": request}),
        Stand::Reserved | Stand::Active(_) => request,
    }
}

impl Place {
    /// The task has been read.
    pub(crate) fn is(&self, head: &Arc<Head>) {
        if let Some(entry) = self.held.lock().get_mut(&self.id) {
            entry.head = Some(Arc::clone(head));
        }
    }

    /// The task, if it has been read.
    pub(crate) fn head(&self) -> Option<Arc<Head>> {
        self.held.lock().get(&self.id)?.head.clone()
    }

    /// Returns when no earlier delivery of the same task, at the same try, is here any more.
    pub(crate) async fn alone(&self, head: &Head) {
        loop {
            let left = self.held.left.notified();
            let is_twin = |(id, entry): (&u64, &Entry)| {
                let twin = entry.head.as_ref();
                *id < self.id && twin.is_some_and(|twin| twin.id == head.id && twin.retries == head.retries)
            };
            if !self.held.lock().iter().any(is_twin) {
                return;
            }
            left.await;
        }
    }

    /// It stands so from now on.
    pub(crate) fn stands(&self, stand: Stand) {
        if let Some(entry) = self.held.lock().get_mut(&self.id) {
            entry.stand = stand;
        }
        if matches!(stand, Stand::Scheduled(_)) {
            self.held.freed.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.lock().remove(&self.id);
        self.held.freed.notify_one();
        self.held.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_shown_and_found() {
        let held = Arc::new(Held::default());
        let place = |tag: &str, id: &str| {
            let receipt = Receipt {
                epoch: 1,
                tag: tag.into(),
                place: 0,
            };
            let place = held.add(receipt, "q".into());
            let head = Head {
                id: id.into(),
                ..Head::default()
            };
            place.is(&Arc::new(head));
            place
        };
        let (a, b, c) = (place("1", "a"), place("2", "b"), place("", "c"));
        a.stands(Stand::Active(Timestamp::from_micros(1_500_000)));
        b.stands(Stand::Scheduled(Timestamp::from_micros(0)));
        let counts = Counts {
            current: 2,
            scheduled: 1,
            active: 1,
        };
        assert_eq!((held.counts(), held.receipts().len()), (counts, 2));
        let active = held.shown("n", |stand| matches!(stand, Stand::Active(_)));
        assert_eq!(
            (active[0]["id"].clone(), active[0]["time_start"].clone()),
            (json!("a"), json!(1.5))
        );
        let ids = ["a".to_owned(), "b".to_owned()];
        assert_eq!(held.revoke(&ids, false), ["b"]);
        assert!(b.revoke.is_cancelled() && !a.revoke.is_cancelled() && held.is_active("a"));
        assert_eq!(held.among(&["c", "d"].into()), ["c"]);
        held.void_before(1);
        assert!(!c.void.is_cancelled());
        held.void_before(2);
        assert!(c.void.is_cancelled() && b.void.is_cancelled() && !a.void.is_cancelled());
        drop((a, b, c));
        assert_eq!(held.counts(), Counts::default());
    }

    #[tokio::test]
    async fn a_delivery_waits_for_the_earlier_ones_of_its_task() {
        let held = Arc::new(Held::default());
        let place = || {
            let receipt = Receipt {
                epoch: 0,
                tag: "t".into(),
                place: 0,
            };
            held.add(receipt, "q".into())
        };
        let of = |retries| {
            Arc::new(Head {
                id: "a".into(),
                retries,
                ..Head::default()
            })
        };
        let (first, retry, second) = (place(), place(), place());
        first.is(&of(0));
        retry.is(&of(1));
        second.is(&of(0));
        first.alone(&of(0)).await;
        let head = of(0);
        let mut waits = by_hand(second.alone(&head));
        assert!(!waits.poll());
        drop(first);
        assert!(waits.poll());
        drop(retry);
    }

    /// A future that is polled by hand.
    struct ByHand<F>(std::pin::Pin<Box<F>>);

    fn by_hand<F: Future<Output = ()>>(future: F) -> ByHand<F> {
        ByHand(Box::pin(future))
    }

    impl<F: Future<Output = ()>> ByHand<F> {
        fn poll(&mut self) -> bool {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            self.0.as_mut().poll(&mut context).is_ready()
        }
    }
}
