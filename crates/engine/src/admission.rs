//! Who is let in: bounds on what is queued and on what waits, of one model, of one client and in all.
//!
//! What is queued is counted by the store, exactly and across restarts; what is on its way there is counted here, so that
//! of many submits at once none slips past a bound. Everything else that waits is in memory, and so is its count. A bound
//! that is not set costs a comparison.
//!
//! ```text
//!   submit ---> claim (coming + 1, then look at the store) ---> store: committed and counted ---> claim dropped
//!                  or: over a bound, told which, and when there should be room
//! ```
//!
//! A task is counted twice for the moment between its commit and the end of its claim: a bound may refuse one that would
//! just fit, and never lets one in that does not.

mod client;
mod drain;
mod hints;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cresset_config::Admission;
use cresset_queue::Load;
use tokio::sync::OwnedSemaphorePermit;

pub use self::client::Client;
pub(crate) use self::client::Clients;
pub(crate) use self::drain::{BusyClock, Done, Drain, Pace, What};
use crate::api::EngineError;
use crate::engine::Engine;
use crate::served::Served;

/// What a bound counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Queued tasks.
    Tasks,
    /// Bytes.
    Bytes,
    /// Synchronous predictions that wait or run.
    Predictions,
    /// Requests under way.
    Requests,
    /// Open connections.
    Connections,
}

impl Unit {
    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Bytes => "bytes",
            Self::Predictions => "predictions",
            Self::Requests => "requests",
            Self::Connections => "connections",
        }
    }
}

/// A bound that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The setting that sets it: `limits.max_queue`.
    pub setting: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// Its value.
    pub limit: u64,
    /// The figure now.
    pub current: u64,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            unit,
            limit,
            current,
        } = self;
        write!(f, "{current} of {limit} {} (`{setting}`)", unit.name())
    }
}

/// A pair of bounds on queued tasks, and the settings that set them.
struct Room {
    settings: [&'static str; 2],
    tasks: Option<u64>,
    bytes: Option<u64>,
}

const OF_MODEL: [&str; 2] = ["limits.max_queue", "limits.max_queue_bytes"];
const IN_ALL: [&str; 2] = ["limits.max_queue_total", "limits.max_queue_bytes_total"];
/// Set with the key, not in cresset.toml.
const OF_KEY: &str = "max_open";
const OF_CLIENT: [&str; 2] = ["clients.max_queue", "clients.max_queue_bytes"];

/// Tasks on their way into the store, not counted there yet.
#[derive(Debug, Default)]
pub(crate) struct Coming {
    tasks: AtomicU64,
    bytes: AtomicU64,
}

/// Room for one of them; given back when dropped.
struct Claim<'a> {
    coming: &'a Coming,
    bytes: u64,
}

impl Coming {
    /// Room for one task more, unless that would pass a bound: then which one.
    fn claim(&self, bytes: u64, room: &Room, stored: impl FnOnce() -> Load) -> Result<Claim<'_>, Bound> {
        // Counted before the store is asked: whoever has been taken out of this count is in the store's by then.
        let claim = Claim { coming: self, bytes };
        let tasks = self.tasks.fetch_add(1, Ordering::AcqRel);
        let weight = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let stored = stored();
        let (tasks, weight) = (
            stored.tasks.saturating_add(tasks),
            stored.bytes.saturating_add(weight),
        );
        let over = |unit, setting, limit: Option<u64>, current: u64, more: u64| {
            let limit = limit.filter(|limit| current.saturating_add(more) > *limit)?;
            Some(Bound {
                setting,
                unit,
                limit,
                current,
            })
        };
        let [of_tasks, of_bytes] = room.settings;
        match over(Unit::Tasks, of_tasks, room.tasks, tasks, 1)
            .or_else(|| over(Unit::Bytes, of_bytes, room.bytes, weight, bytes))
        {
            None => Ok(claim),
            Some(bound) => Err(bound),
        }
    }
}

#[cfg(feature = "testing")]
impl Coming {
    pub(crate) fn sum(&self) -> u64 {
        self.tasks.load(Ordering::Acquire) + self.bytes.load(Ordering::Acquire)
    }
}

#[cfg(feature = "testing")]
impl Admissions {
    pub(crate) fn coming(&self) -> u64 {
        self.coming.sum()
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.coming.tasks.fetch_sub(1, Ordering::AcqRel);
        self.coming.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A submission's room everywhere; held until the store has counted it.
pub(crate) struct Claims<'a> {
    _model: Claim<'a>,
    _total: Option<Claim<'a>>,
    _client: Option<Claim<'a>>,
}

/// One of something that is counted in memory; no more once dropped.
#[derive(Debug)]
struct Counted {
    of: Arc<AtomicU64>,
    by: u64,
}

impl Counted {
    /// Counts `by` more, unless that passes `limit`: then how many there are.
    fn new(of: &Arc<AtomicU64>, by: u64, limit: u64) -> Result<Self, u64> {
        let before = of.fetch_add(by, Ordering::Relaxed);
        let counted = Self {
            of: Arc::clone(of),
            by,
        };
        // Only a sum is kept, and nothing else is read on the strength of it.
        if before.saturating_add(by) > limit {
            Err(before)
        } else {
            Ok(counted)
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.fetch_sub(self.by, Ordering::Relaxed);
    }
}

/// A prediction's place everywhere, until it is gone.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _bytes: Option<Counted>,
    _total: Option<Counted>,
    _of_client: Option<Counted>,
    /// The request itself counts as long as its prediction is there.
    _client: Option<Client>,
}

/// The bounds over all models, and what counts against them.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    bounds: Admission,
    coming: Coming,
    waiting: Arc<AtomicU64>,
    clients: Arc<Clients>,
}

impl Admissions {
    pub(crate) fn new(bounds: Admission) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }
}

impl Engine {
    /// Begins a request of a client; it is under way until the last clone is dropped. `max_open` is how many queued tasks and
    /// predictions this one may have at once.
    pub fn enter(&self, key: cresset_task::ClientKey, max_open: Option<u64>) -> Result<Client, EngineError> {
        let admission = &self.inner.shared.admission;
        let limit = admission.bounds.client.max_requests;
        let now = self.inner.shared.now();
        client::enter(&admission.clients, key, max_open, limit, now)
            .map_err(|(bound, retry_after)| EngineError::ClientLimit { bound, retry_after })
    }

    /// Room for a submission of so many bytes, or the first bound that it would pass: its model's, its client's, then that of all.
    pub(crate) fn admit<'a>(
        &'a self,
        served: &'a Served,
        bytes: u64,
        client: Option<&'a Client>,
    ) -> Result<Claims<'a>, EngineError> {
        let shared = &self.inner.shared;
        served.check_available()?;
        let (limits, bounds) = (&served.config.limits, &shared.admission.bounds);
        let room = Room {
            settings: OF_MODEL,
            tasks: Some(limits.max_queue),
            bytes: Some(limits.max_queue_bytes),
        };
        let stored = || {
            let depth = shared.backend.depth(&served.config.name);
            Load {
                tasks: depth.tasks,
                bytes: depth.bytes,
            }
        };
        fits_at_all(bytes, &room)?;
        let model = served.coming.claim(bytes, &room, stored);
        let model = model.map_err(|bound| self.queue_full(served, bound, bytes))?;

        let mut of_client = None;
        let limits = &bounds.client;
        if let Some(client) = client
            && (limits.max_queue.is_some() || limits.max_queue_bytes.is_some() || client.max_open().is_some())
        {
            let waiting = client.waiting().load(Ordering::Relaxed);
            let open = client.max_open().map(|open| open.saturating_sub(waiting));
            let is_own = open.is_some_and(|open| limits.max_queue.is_none_or(|limit| open < limit));
            let room = Room {
                settings: [if is_own { OF_KEY } else { OF_CLIENT[0] }, OF_CLIENT[1]],
                tasks: if is_own { open } else { limits.max_queue },
                bytes: limits.max_queue_bytes,
            };
            fits_at_all(bytes, &room)?;
            let claim = client
                .coming()
                .claim(bytes, &room, || shared.backend.client_load(client.key()));
            let whole = |bound: Bound| Bound {
                limit: bound.limit + if bound.setting == OF_KEY { waiting } else { 0 },
                current: bound.current + if bound.setting == OF_KEY { waiting } else { 0 },
                ..bound
            };
            of_client = Some(claim.map_err(|bound| self.client_queue_full(whole(bound), bytes))?);
        }

        let mut total = None;
        if bounds.max_queue.is_some() || bounds.max_queue_bytes.is_some() {
            let room = Room {
                settings: IN_ALL,
                tasks: bounds.max_queue,
                bytes: bounds.max_queue_bytes,
            };
            fits_at_all(bytes, &room)?;
            let claim = shared
                .admission
                .coming
                .claim(bytes, &room, || shared.backend.load());
            total = Some(claim.map_err(|bound| self.server_full(bound, bytes))?);
        }
        Ok(Claims {
            _model: model,
            _client: of_client,
            _total: total,
        })
    }

    /// A place for a prediction, or the first bound that it would pass: its model's, its client's, then that of all.
    pub(crate) fn seat(
        &self,
        served: &Served,
        bytes: usize,
        client: Option<Client>,
    ) -> Result<Place, EngineError> {
        let admission = &self.inner.shared.admission;
        let permit = Arc::clone(&served.permits).try_acquire_owned();
        let permit = permit.map_err(|_| self.overloaded(served))?;
        let in_bytes = |limit: usize| self.seat_bytes(served, bytes as u64, limit as u64);
        let of_bytes = served.config.limits.max_waiting_bytes.map(in_bytes).transpose()?;

        let of_client = client
            .as_ref()
            .map(|client| self.seat_client(client))
            .transpose()?
            .flatten();
        let in_all = |limit| {
            let counted = Counted::new(&admission.waiting, 1, limit);
            counted.map_err(|waiting| self.all_wait(limit, waiting))
        };
        let total = admission.bounds.max_waiting.map(in_all).transpose()?;
        Ok(Place {
            _permit: permit,
            _bytes: of_bytes,
            _total: total,
            _of_client: of_client,
            _client: client,
        })
    }

    /// A place among what its client has, where that is bounded.
    fn seat_client(&self, client: &Client) -> Result<Option<Counted>, EngineError> {
        let shared = &self.inner.shared;
        let of_all = shared.admission.bounds.client.max_waiting;
        let queued = || shared.backend.client_load(client.key()).tasks;
        let open = client.max_open().map(|open| open.saturating_sub(queued()));
        let (setting, limit) = match (open, of_all) {
            (Some(open), limit) if limit.is_none_or(|limit| open < limit) => (OF_KEY, open),
            (_, Some(limit)) => ("clients.max_waiting", limit),
            (_, None) => return Ok(None),
        };
        let counted = Counted::new(client.waiting(), 1, limit);
        counted
            .map(Some)
            .map_err(|waiting| self.client_waits(setting, limit, waiting))
    }

    fn seat_bytes(&self, served: &Served, bytes: u64, limit: u64) -> Result<Counted, EngineError> {
        let setting = "limits.max_waiting_bytes";
        if bytes > limit {
            return Err(EngineError::TooLarge {
                setting,
                limit,
                bytes,
            });
        }
        let counted = Counted::new(&served.waiting_bytes, bytes, limit);
        counted.map_err(|current| {
            let bound = Bound {
                setting,
                unit: Unit::Bytes,
                limit,
                current,
            };
            self.too_heavy(served, bound)
        })
    }
}

/// What no wait makes fit is refused for good.
fn fits_at_all(bytes: u64, room: &Room) -> Result<(), EngineError> {
    match room.bytes {
        Some(limit) if bytes > limit => Err(EngineError::TooLarge {
            setting: room.settings[1],
            limit,
            bytes,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
