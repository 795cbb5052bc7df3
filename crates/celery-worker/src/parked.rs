//! The tasks that we have had the broker keep until later, as remote control shows them. A note and no more: they are the broker's, they may
//! come back to another worker, and nothing but what is shown depends on what is noted here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_celery::Head;
use cresset_task::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::held::{Stand, show};

/// Tasks that are noted, at most; of further ones only how many they are.
const NOTED_MAX: usize = 10_000;
/// The same in bytes of what their senders may make as long as they like.
const BYTES_MAX: usize = 16 << 20;

/// The notes.
pub(crate) struct Parked {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    noted: HashMap<String, Note>,
    bytes: usize,
    /// When those that are not noted come back, in seconds, and how many.
    others: BTreeMap<u64, usize>,
}

struct Note {
    /// What is shown of it, and nothing else that its sender may have put there.
    head: Head,
    queue: String,
    eta: Timestamp,
    /// From then on it is in its queue again.
    until: Instant,
}

impl Note {
    fn bytes(&self) -> usize {
        let head = &self.head;
        let texts = [
            &head.id,
            &head.name,
            &head.argsrepr,
            &head.kwargsrepr,
            &self.queue,
        ];
        texts.into_iter().map(String::len).sum()
    }
}

impl Inner {
    fn forget(&mut self, id: &str) {
        if let Some(note) = self.noted.remove(id) {
            self.bytes -= note.bytes();
        }
    }

    /// Forgets what has come back.
    fn prune(&mut self, now: Instant, second: u64) {
        let bytes = &mut self.bytes;
        self.noted.retain(|_, note| {
            let stays = note.until > now;
            *bytes -= if stays { 0 } else { note.bytes() };
            stays
        });
        self.others = self.others.split_off(&second);
    }
}

impl Parked {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            inner: Mutex::default(),
        }
    }

    fn pruned(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        inner.prune(Instant::now(), self.began.elapsed().as_secs());
        inner
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker keeps this one for as long as that.
    pub(crate) fn add(&self, head: &Head, queue: &str, eta: Timestamp, stays: Duration) {
        let note = Note {
            head: Head {
                id: head.id.clone(),
                name: head.name.clone(),
                argsrepr: head.argsrepr.clone(),
                kwargsrepr: head.kwargsrepr.clone(),
                priority: head.priority,
                ..Head::default()
            },
            queue: queue.to_owned(),
            eta,
            until: Instant::now() + stays,
        };
        let mut inner = self.lock();
        inner.forget(&head.id);
        let bytes = note.bytes();
        let is_full = |inner: &Inner| inner.noted.len() >= NOTED_MAX || inner.bytes + bytes > BYTES_MAX;
        if is_full(&inner) {
            drop(inner);
            inner = self.pruned();
        }
        if is_full(&inner) {
            let second = (self.began.elapsed() + stays).as_secs();
            *inner.others.entry(second).or_default() += 1;
            return;
        }
        inner.bytes += bytes;
        inner.noted.insert(head.id.clone(), note);
    }

    /// It is here again, or will not run.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().forget(id);
    }

    /// How many are noted, and how many more there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let inner = self.pruned();
        (inner.noted.len(), inner.others.values().sum())
    }

    /// Those that are noted, the next one first.
    pub(crate) fn shown(&self, node: &str) -> Vec<Value> {
        let inner = self.pruned();
        let mut notes: Vec<_> = inner.noted.values().collect();
        notes.sort_by(|a, b| (a.eta, &a.head.id).cmp(&(b.eta, &b.head.id)));
        let one = |note: &&Note| show(&note.head, &note.queue, node, Stand::Scheduled(note.eta));
        notes.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn head(id: &str, args: usize) -> Head {
        Head {
            id: id.into(),
            argsrepr: "x".repeat(args),
            ..Head::default()
        }
    }

    fn ids(parked: &Parked) -> Vec<String> {
        let shown = parked.shown("n");
        let id = |one: &Value| one["request"]["id"].as_str().unwrap().to_owned();
        shown.iter().map(id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_aside_is_shown_until_it_comes_back() {
        let parked = Parked::new();
        let eta = |hours: u32| Timestamp::from_micros(0).plus(HOUR * hours);
        parked.add(&head("b", 1), "q", eta(3), HOUR);
        parked.add(&head("a", 1), "q", eta(2), HOUR);
        parked.add(&head("c", 1), "q", eta(1), HOUR * 2);
        assert_eq!(ids(&parked), ["c", "a", "b"]);
        parked.forget("a");
        parked.forget("nothing");
        tokio::time::advance(HOUR).await;
        assert_eq!(ids(&parked), ["c"]);
        // Aside once more: counted once.
        parked.add(&head("c", 1), "q", eta(1), HOUR);
        assert_eq!(parked.counts(), (1, 0));
        tokio::time::advance(HOUR).await;
        assert_eq!((parked.counts(), parked.lock().bytes), ((0, 0), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_only_the_number_is_known_and_that_not_for_ever() {
        let parked = Parked::new();
        let eta = Timestamp::from_micros(0);
        for n in 0..NOTED_MAX + 2 {
            parked.add(&head(&n.to_string(), 0), "q", eta, HOUR);
        }
        assert_eq!(parked.counts(), (NOTED_MAX, 2));
        tokio::time::advance(HOUR + Duration::from_secs(1)).await;
        parked.add(&head("large", BYTES_MAX), "q", eta, HOUR);
        parked.add(&head("small", 0), "q", eta, HOUR);
        assert_eq!(
            (ids(&parked), parked.counts()),
            (vec!["small".to_owned()], (1, 1))
        );
    }
}
