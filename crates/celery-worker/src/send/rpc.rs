//! Results as messages to a queue of ours (`rpc://`). The queue stays when we end, for a day: what workers say meanwhile is there for the
//! server that goes on, and is kept in memory until it asks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Told, read_answers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::{Answers, Desk, Expected};
use crate::insist::Waits;
use crate::transport::{Content, Delivery, Receipt, Transport, Trouble};

const SERVICE: &str = "result backend";
/// Results that are taken at once, and on their way to us at most.
pub(super) const PREFETCH: usize = 256;
/// A new connection that has brought nothing for so long has brought all that was there.
const SETTLED_AFTER: Duration = Duration::from_millis(300);
/// Whoever asks meanwhile waits so long.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// Results that nobody has asked for yet, at most; the oldest go. Most are of tasks that a killed server had sent.
const EARLY_MAX: usize = 10_000;
const EARLY_BYTES_MAX: usize = 64 << 20;

/// The backend.
pub(super) struct RpcAnswers {
    transport: Arc<dyn Transport>,
    desk: Arc<Desk>,
    early: Mutex<Early>,
    queue: String,
    /// The connection that has brought all that was there before it.
    settled: watch::Sender<u64>,
}

/// Results that have come before somebody asks for them.
#[derive(Default)]
struct Early {
    told: HashMap<String, Told>,
    order: VecDeque<String>,
    bytes: usize,
}

fn size(told: &Told) -> usize {
    match told {
        Told::Success(text) => text.len(),
        Told::Tensors(set) => set.data_len(),
        Told::Failure(failure) => failure.message.len() + failure.traceback.as_ref().map_or(0, String::len),
        Told::Parcel(_) | Told::Going(..) => 0,
    }
}

impl Early {
    fn add(&mut self, id: String, told: Told) {
        self.remove(&id);
        self.bytes += size(&told);
        self.order.push_back(id.clone());
        self.told.insert(id, told);
        while self.told.len() > EARLY_MAX || self.bytes > EARLY_BYTES_MAX {
            let Some(oldest) = self.order.front().cloned() else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(told) = self.told.remove(id) {
            self.bytes -= size(&told);
            self.order.retain(|other| other != id);
        }
    }
}

impl RpcAnswers {
    /// Takes what comes to `queue` by this transport; `tracker` owns that, until `leave`.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        queue: String,
        tracker: &TaskTracker,
        leave: CancellationToken,
    ) -> Arc<Self> {
        let answers = Arc::new(Self {
            transport,
            desk: Arc::default(),
            early: Mutex::default(),
            queue,
            settled: watch::Sender::new(0),
        });
        tracker.spawn(Arc::clone(&answers).run(leave));
        answers
    }

    fn early(&self) -> MutexGuard<'_, Early> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, leave: CancellationToken) {
        tokio::select! {
            () = self.take() => {}
            () = leave.cancelled() => {}
        }
    }

    async fn take(&self) {
        let mut waits = Waits::new();
        loop {
            match self.transport.fetch(PREFETCH).await {
                Ok(come) if come.is_empty() => {
                    waits = Waits::new();
                    let quiet = tokio::time::timeout(SETTLED_AFTER, self.transport.arrival()).await;
                    if quiet.is_err() {
                        self.settled.send_replace(self.transport.epoch());
                        self.transport.arrival().await;
                    }
                }
                Ok(come) => {
                    for one in come {
                        self.put(one).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %error, "results cannot be taken");
                    tokio::time::sleep(waits.next()).await;
                }
            }
        }
    }

    async fn put(&self, delivery: Delivery) {
        let Delivery {
            epoch,
            tag,
            place,
            content,
            ..
        } = delivery;
        let said = match content {
            Content::Message(message) => read_answers(&message),
            Content::Envelope(_) => Vec::new(),
        };
        for (id, told) in said {
            if let Some(id) = id
                && let Err(told) = self.desk.tell(&id, told)
                && told.is_end()
            {
                self.early().add(id, told);
            }
        }
        let receipt = Receipt { epoch, tag, place };
        if let Err(error) = self.transport.acknowledge(&receipt).await {
            tracing::debug!(error = %error, "a result comes again");
        }
    }
}

#[async_trait]
impl Answers for RpcAnswers {
    async fn check(&self) -> Result<(), Trouble> {
        let mut settled = self.settled.subscribe();
        let is_settled = settled.wait_for(|epoch| *epoch != 0 && *epoch == self.transport.epoch());
        match tokio::time::timeout(SETTLE_PATIENCE, is_settled).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Trouble {
                service: SERVICE,
                why: "what workers have said meanwhile is being read".into(),
            }),
        }
    }

    async fn expect(&self, id: &str) -> Result<Expected, Trouble> {
        Ok(self.desk.wait(id, |_| ()))
    }

    async fn stored(&self, id: &str) -> Result<Option<Told>, Trouble> {
        Ok(self.early().told.get(id).cloned())
    }

    async fn forget(&self, id: &str) -> Result<(), Trouble> {
        self.early().remove(id);
        Ok(())
    }

    fn reply_to(&self) -> Option<&str> {
        Some(&self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_results_have_a_bound_and_the_newest_counts() {
        let mut early = Early::default();
        let large = || Told::Success("x".repeat(EARLY_BYTES_MAX / 2));
        for id in ["a", "a", "b", "c"] {
            early.add(id.into(), large());
        }
        assert_eq!((early.told.len(), early.told.contains_key("a")), (2, false));
        early.remove("b");
        early.remove("b");
        assert_eq!((early.bytes, early.order.len()), (EARLY_BYTES_MAX / 2, 1));
        for at in 0..=EARLY_MAX {
            early.add(at.to_string(), Told::Success("1".into()));
        }
        assert_eq!(
            (early.told.len(), early.told.contains_key("0")),
            (EARLY_MAX, false)
        );
    }
}
