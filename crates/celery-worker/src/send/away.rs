//! What has been sent and has no result, and what speaks for its being lost. No I/O: whoever looks brings what it has seen.
//!
//! A task that is in no queue and at no worker, and has no result, is lost: somebody has emptied the queue, or what said that it ended has been
//! lost. That is so when it is found nowhere twice: between the two looks whatever was on its way has arrived.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What was sent less long ago is not looked for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Found nowhere so often, it is lost.
const STRIKES: u32 = 2;
/// Tasks that one look is about, the oldest first.
const LOOK_MAX: usize = 1024;

/// All that one model has at the workers.
#[derive(Debug, Default)]
pub(super) struct Away(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    items: BTreeMap<u64, Item>,
    /// Of each priority: when what has come back was sent, the latest. Queues are lines: what was sent before that is not in one any more.
    passed: HashMap<i64, Instant>,
}

#[derive(Debug)]
struct Item {
    id: String,
    priority: i64,
    sent: Instant,
    strikes: u32,
    lost: Arc<Notify>,
}

/// Something that was sent, until it is dropped.
pub(super) struct Sent {
    away: Arc<Away>,
    key: u64,
    lost: Arc<Notify>,
}

impl Away {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is sent, at this priority.
    pub(super) fn sent(self: &Arc<Self>, id: &str, priority: i64) -> Sent {
        let lost = Arc::new(Notify::new());
        let mut inner = self.lock();
        let key = inner.next;
        inner.next += 1;
        let item = Item {
            id: id.to_owned(),
            priority,
            sent: Instant::now(),
            strikes: 0,
            lost: Arc::clone(&lost),
        };
        inner.items.insert(key, item);
        drop(inner);
        Sent {
            away: Arc::clone(self),
            key,
            lost,
        }
    }

    /// Whether anything is away for long.
    pub(super) fn is_waiting(&self) -> bool {
        let inner = self.lock();
        inner.items.values().any(|item| item.sent.elapsed() >= PATIENCE)
    }

    /// Those that may be lost while so many messages wait in their queue.
    pub(super) fn suspects(&self, waiting: u64) -> Vec<String> {
        let inner = self.lock();
        let is_suspect = |item: &&Item| {
            let is_passed = |passed: &Instant| *passed > item.sent + PATIENCE;
            item.sent.elapsed() >= PATIENCE
                && (waiting == 0 || inner.passed.get(&item.priority).is_some_and(is_passed))
        };
        let suspects = inner.items.values().filter(is_suspect).take(LOOK_MAX);
        suspects.map(|item| item.id.clone()).collect()
    }

    /// Workers were asked for these suspects, and have some of them. Those that are lost are told so; says how many.
    pub(super) fn judge(&self, asked: &[String], held: &HashSet<String>) -> usize {
        let asked: HashSet<&str> = asked.iter().map(String::as_str).collect();
        let mut count = 0;
        for item in self.lock().items.values_mut() {
            if held.contains(&item.id) {
                item.strikes = 0;
            } else if asked.contains(item.id.as_str()) {
                item.strikes += 1;
                if item.strikes == STRIKES {
                    item.lost.notify_one();
                    count += 1;
                }
            }
        }
        count
    }
}

impl Sent {
    /// Returns when it is lost.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// It is sent once more.
    pub(super) fn again(&self) {
        if let Some(item) = self.away.lock().items.get_mut(&self.key) {
            item.sent = Instant::now();
            item.strikes = 0;
        }
    }

    /// It has come back.
    pub(super) fn ended(&self) {
        let mut inner = self.away.lock();
        if let Some(item) = inner.items.remove(&self.key) {
            let passed = inner.passed.entry(item.priority).or_insert(item.sent);
            *passed = item.sent.max(*passed);
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.away.lock().items.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_twice_in_no_queue_and_at_no_worker_is_lost() {
        let away = Arc::new(Away::default());
        let (one, two) = (away.sent("1", 0), away.sent("2", 0));
        assert!(!away.is_waiting() && away.suspects(0).is_empty());
        tokio::time::advance(PATIENCE).await;
        assert!(
            away.is_waiting() && away.suspects(1).is_empty(),
            "one of them may wait"
        );
        let asked = away.suspects(0);
        assert_eq!(asked, ids(&["1", "2"]));
        let held: HashSet<String> = ["2".to_owned()].into();
        assert_eq!(away.judge(&asked, &held), 0);
        assert_eq!(away.judge(&asked, &held), 1);
        assert!(one.lost().now_or_never().is_some() && two.lost().now_or_never().is_none());
        assert_eq!(away.judge(&asked, &held), 0, "it is told once");
        one.again();
        assert_eq!(away.suspects(0), ids(&["2"]));
        drop((one, two));
        assert!(!away.is_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_between_two_looks_is_not_lost() {
        let away = Arc::new(Away::default());
        let one = away.sent("1", 0);
        let asked = ids(&["1"]);
        away.judge(&asked, &HashSet::new());
        away.judge(&asked, &["1".to_owned()].into());
        assert_eq!(away.judge(&asked, &HashSet::new()), 0);
        assert!(one.lost().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_of_its_line_have_overtaken_is_not_in_the_queue() {
        let away = Arc::new(Away::default());
        let _slow = away.sent("slow", 3);
        let _urgent = away.sent("urgent", 0);
        tokio::time::advance(PATIENCE).await;
        away.sent("soon", 3).ended();
        assert!(away.suspects(7).is_empty(), "they may have gone at the same time");
        tokio::time::advance(PATIENCE).await;
        away.sent("late", 3).ended();
        assert_eq!(away.suspects(7), ids(&["slow"]));
    }
}
