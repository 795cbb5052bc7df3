//! The ids that were revoked: a message of such a task may come later. Bounded in number and in time, as in Celery.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Ids kept at most; the oldest go.
const KEPT_MAX: usize = 50_000;
/// How long an id is kept.
const KEPT_FOR: Duration = Duration::from_secs(3 * 3600);

/// The ids.
#[derive(Default)]
pub(crate) struct Revoked(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    until: HashMap<String, Instant>,
    order: VecDeque<String>,
}

impl Inner {
    fn prune(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let is_over = self.until.get(oldest).is_none_or(|until| *until <= now);
            if !is_over && self.order.len() <= KEPT_MAX {
                return;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.until.remove(&oldest);
            }
        }
    }
}

impl Revoked {
    pub(crate) fn add(&self, id: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if inner.until.insert(id.to_owned(), now + KEPT_FOR).is_none() {
            inner.order.push_back(id.to_owned());
        }
        inner.prune(now);
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.until.get(id).is_some_and(|until| *until > Instant::now())
    }

    pub(crate) fn all(&self) -> Vec<String> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.prune(Instant::now());
        inner.order.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_forgotten_after_a_while_and_when_there_are_too_many() {
        let revoked = Revoked::default();
        revoked.add("a");
        assert!(revoked.has("a") && !revoked.has("b"));
        tokio::time::advance(KEPT_FOR + Duration::from_secs(1)).await;
        assert!(!revoked.has("a") && revoked.all().is_empty());
        for n in 0..=KEPT_MAX {
            revoked.add(&n.to_string());
        }
        assert!(!revoked.has("0") && revoked.has("1"));
    }
}
