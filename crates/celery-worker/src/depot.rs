//! Payloads that go by a store that gateways and workers both have, as both use it: how large they are, how many are on their way at once, and
//! what becomes of those that are not needed any more.
//!
//! Whoever leaves a parcel gives it a name of its own, so that nobody takes away what another counts on. An input stays until the end of its task is
//! recorded: its message may be delivered again. What a killed server has left is swept by whichever gateway is there.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cresset_celery::{PARCEL_BYTES_MAX, Parcel};
use cresset_engine::{Parcels, QueueError};
use cresset_task::Payload;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::transport::Trouble;

/// Parcels on their way to or from the store at once; each is in memory as a whole.
const AT_ONCE: usize = 4;
/// What is not needed any more stays so long: until then the end of its task is recorded.
const DONE_FOR: Duration = Duration::from_secs(5);
/// Such parcels are removed so often,
const REMOVE_EVERY: Duration = Duration::from_secs(1);
/// so many in one step,
const REMOVED_MAX: usize = 256;
/// and of more than that the oldest are left to be swept.
const DONE_MAX: usize = 16 * 1024;
/// Parcels whose tasks are away are made known to be needed so often.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// What nobody has put or said to need for so long is swept: longer than a result waits at a broker for a gateway that is away.
const UNKEPT_FOR: Duration = Duration::from_secs(2 * 3600);
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// The last removals are not waited for for ever.
const FAREWELL: Duration = Duration::from_secs(2);

/// Whether the store can be used is looked at so often, and an answer takes no longer.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// It cannot be left or had, and never will.
#[derive(Debug, PartialEq)]
pub(crate) struct Never(pub(crate) String);

/// The store's parcels.
pub(crate) struct Depot {
    parcels: Arc<dyn Parcels>,
    above: usize,
    at_once: Semaphore,
    ours: Mutex<Ours>,
    /// Why it cannot be used, if so.
    trouble: watch::Sender<Option<String>>,
}

/// Those that this server answers for.
#[derive(Default)]
struct Ours {
    /// Somebody may ask for them yet.
    needed: BTreeSet<Uuid>,
    /// Nobody will, since then.
    done: VecDeque<(Instant, Uuid)>,
}

impl fmt::Debug for Depot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Depot")
            .field("parcels", &self.parcels)
            .field("above", &self.above)
            .finish_non_exhaustive()
    }
}

impl Depot {
    /// Payloads of more bytes than `above` go by it.
    pub(crate) fn new(parcels: Arc<dyn Parcels>, above: usize) -> Arc<Self> {
        Arc::new(Self {
            parcels,
            above,
            at_once: Semaphore::new(AT_ONCE),
            ours: Mutex::default(),
            trouble: watch::Sender::new(None),
        })
    }

    fn ours(&self) -> MutexGuard<'_, Ours> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which store it is.
    pub(crate) fn store(&self) -> Uuid {
        self.parcels.store()
    }

    /// Whether so many bytes go by it.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        bytes > self.above && bytes as u64 <= PARCEL_BYTES_MAX
    }

    /// What is to be said of a payload that is to be put, and its bytes.
    pub(crate) fn pack(&self, payload: &Payload) -> (Parcel, Bytes) {
        let bytes = payload.encode();
        (Parcel::of(payload, Uuid::now_v7(), self.store(), &bytes), bytes)
    }

    /// Leaves it there.
    pub(crate) async fn put(&self, parcel: &Parcel, bytes: &Bytes) -> Result<Result<(), Never>, Trouble> {
        let _permit = self.permit().await;
        told(self.parcels.put(parcel.id, bytes.clone()).await)
    }

    /// The payload; `None` when it is not there any more.
    pub(crate) async fn get(&self, parcel: &Parcel) -> Result<Result<Option<Payload>, Never>, Trouble> {
        if parcel.size > PARCEL_BYTES_MAX {
            return Ok(Err(Never(format!(
                "parcel {} is said to have more than {PARCEL_BYTES_MAX} bytes",
                parcel.id
            ))));
        }
        let _permit = self.permit().await;
        let bytes = match told(self.parcels.get(parcel.id).await)? {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Ok(None)),
            Err(never) => return Ok(Err(never)),
        };
        Ok(parcel.open(&bytes).map(Some).map_err(Never))
    }

    async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // It is never closed.
        self.at_once.acquire().await.ok()
    }

    /// Nobody needs it any more, once what is known now is recorded.
    pub(crate) fn done(&self, id: Uuid) {
        let mut ours = self.ours();
        ours.needed.remove(&id);
        ours.done.push_back((Instant::now(), id));
        if ours.done.len() > DONE_MAX {
            ours.done.pop_front();
        }
    }

    /// Removes what is done, says what is needed, and sweeps what killed servers have left, until `leave`.
    pub(crate) async fn care(self: Arc<Self>, leave: CancellationToken) {
        let mut removes = every(REMOVE_EVERY);
        let mut keeps = every(KEEP_EVERY);
        let mut sweeps = every(SWEEP_EVERY);
        loop {
            let (what, cared) = tokio::select! {
                biased;
                () = leave.cancelled() => break,
                _ = keeps.tick() => ("say which parcels are needed", self.keep().await),
                _ = sweeps.tick() => ("sweep parcels", self.sweep().await),
                _ = removes.tick() => ("remove parcels", self.remove(DONE_FOR).await),
            };
            if let Err(error) = cared {
                tracing::debug!(%error, what, "what is to be done at the store is done later");
            }
        }
        // Whatever has an end by now, that is recorded.
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, self.remove(Duration::ZERO)).await {
            tracing::debug!(%error, "parcels that nobody needs are left to be swept");
        }
    }

    /// Looks whether the store can be used, again and again, until `leave`.
    pub(crate) async fn look(self: Arc<Self>, leave: CancellationToken) {
        let mut looks = every(LOOK_EVERY);
        loop {
            let look = async {
                looks.tick().await;
                self.answers().await
            };
            tokio::select! {
                looked = look => self.say(looked.err()),
                () = leave.cancelled() => return,
            }
        }
    }

    /// Why the store cannot be used, while that is so, where somebody looks.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    async fn answers(&self) -> Result<(), String> {
        // No parcel has this name.
        match tokio::time::timeout(LOOK_PATIENCE, self.parcels.get(Uuid::nil())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it does not answer within {LOOK_PATIENCE:?}")),
        }
    }

    fn say(&self, why: Option<String>) {
        let why = why.map(|why| format!("store for large payloads: {why}"));
        match (&*self.trouble.borrow(), &why) {
            (None, Some(why)) => tracing::warn!(why, "large payloads can be neither had nor left"),
            (Some(_), None) => tracing::info!("the store for large payloads can be used again"),
            _ => {}
        }
        self.trouble.send_if_modified(|told| {
            let is_news = *told != why;
            *told = why;
            is_news
        });
    }

    /// Ends its connections.
    pub(crate) async fn close(&self) {
        self.parcels.close().await;
    }

    async fn remove(&self, age: Duration) -> Result<(), QueueError> {
        loop {
            let ids: BTreeSet<Uuid> = {
                let ours = self.ours();
                let old = ours.done.iter().take_while(|(since, _)| since.elapsed() >= age);
                old.take(REMOVED_MAX).map(|(_, id)| *id).collect()
            };
            if ids.is_empty() {
                return Ok(());
            }
            self.parcels.remove(&Vec::from_iter(ids.iter().copied())).await?;
            self.ours().done.retain(|(_, id)| !ids.contains(id));
        }
    }

    async fn keep(&self) -> Result<(), QueueError> {
        let needed: Vec<Uuid> = self.ours().needed.iter().copied().collect();
        for ids in needed.chunks(REMOVED_MAX) {
            self.parcels.keep(ids).await?;
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<(), QueueError> {
        let mut swept = 0;
        loop {
            match self.parcels.sweep(UNKEPT_FOR).await? {
                0 => break,
                some => swept += some,
            }
        }
        if swept > 0 {
            tracing::info!(
                parcels = swept,
                "payloads were swept that servers had left in the store and nobody needs"
            );
        }
        Ok(())
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What a store says, as what may be tried again and what may not.
fn told<T>(answer: Result<T, QueueError>) -> Result<Result<T, Never>, Trouble> {
    match answer {
        Ok(done) => Ok(Ok(done)),
        Err(error) if error.is_temporary() => Err(Trouble {
            service: "store",
            why: error.to_string(),
        }),
        Err(error) => Ok(Err(Never(error.to_string()))),
    }
}

/// How large inputs go to the workers of one model.
pub(crate) struct Passage {
    pub(crate) depot: Arc<Depot>,
    /// No worker of the model is known that does not have the store.
    pub(crate) is_shared: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The inputs that were left for one item. Those of one that goes on without us stay, as its message may be delivered.
pub(crate) struct Left {
    depot: Option<Arc<Depot>>,
    ids: Mutex<Vec<Uuid>>,
}

impl Left {
    pub(crate) fn new(depot: Option<Arc<Depot>>) -> Self {
        Self {
            depot,
            ids: Mutex::default(),
        }
    }

    fn ids(&self) -> Vec<Uuid> {
        std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more is to be left.
    pub(crate) fn add(&self, id: Uuid) {
        if let Some(depot) = &self.depot {
            depot.ours().needed.insert(id);
            self.ids.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
    }

    /// The item has ended, or nobody wants it any more.
    pub(crate) fn done(&self) {
        for id in self.ids() {
            if let Some(depot) = &self.depot {
                depot.done(id);
            }
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        for id in self.ids() {
            if let Some(depot) = &self.depot {
                depot.ours().needed.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
