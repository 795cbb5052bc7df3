//! The tasks that have ended here lately. A broker that did not hear of it delivers them again, and there may be no backend that
//! could be asked: they are acknowledged, and not computed once more. What was sent again is another message: whoever sent it has no result.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use cresset_celery::Head;

/// Tasks that are remembered; the oldest go. More than are ever held at once between two acknowledgements.
const KEPT_MAX: usize = 16_384;

/// A message of a try of a task, in two keyed hashes: an id may be as long as a message.
type Try = [u64; 2];

/// The tasks.
#[derive(Default)]
pub(crate) struct Finished {
    keys: [RandomState; 2],
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashSet<Try>,
    order: VecDeque<Try>,
}

impl Finished {
    fn key(&self, head: &Head) -> Try {
        self.keys
            .each_ref()
            .map(|key| key.hash_one((&head.id, head.retries, &head.copy)))
    }

    pub(crate) fn add(&self, head: &Head) {
        let key = self.key(head);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.known.insert(key) {
            return;
        }
        inner.order.push_back(key);
        if inner.order.len() > KEPT_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
    }

    pub(crate) fn has(&self, head: &Head) -> bool {
        let key = self.key(head);
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.known.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known_each_by_its_try() {
        let finished = Finished::default();
        let head = |id: String, retries| Head {
            id,
            retries,
            ..Head::default()
        };
        finished.add(&head("a".into(), 0));
        assert!(finished.has(&head("a".into(), 0)) && !finished.has(&head("a".into(), 1)));
        let sent_again = Head {
            copy: Some("2".into()),
            ..head("a".into(), 0)
        };
        assert!(!finished.has(&sent_again), "its sender has lost the result");
        for n in 0..KEPT_MAX {
            finished.add(&head(n.to_string(), 0));
        }
        assert!(!finished.has(&head("a".into(), 0)) && finished.has(&head("0".into(), 0)));
    }
}
