//! Who may come in. Connections are counted, in all and by address; one too many is let in as far as it takes to tell it
//! so: a caller that waits unseen in the kernel's backlog learns nothing, and nobody learns of it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_engine::{Bound, Engine, Unit, hint};
use cresset_task::{ClientKey, Code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::Socket;
use crate::problem::Problem;

/// Callers being told that they are too many, at once; beyond that their connections are only closed. Each takes a
/// descriptor and a second at most.
const TURNED_AWAY_MAX: usize = 256;
const TELLING_MAX: Duration = Duration::from_secs(1);
/// What they may have sent by then, read so that closing does not reset the connection before they have read the answer.
const UNREAD_MAX: usize = 256 << 10;

/// How many seconds are looked back on to tell how fast connections end.
const MARKS_MAX: usize = 32;
const MARK_EVERY: Duration = Duration::from_secs(1);

/// What is known of all connections.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    /// Ended ever.
    ended: AtomicU64,
    /// By address, where that is bounded. Addresses without a connection have no entry.
    by_address: Mutex<HashMap<ClientKey, usize>>,
}

impl Counts {
    fn addresses(&self) -> MutexGuard<'_, HashMap<ClientKey, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets connections in. Belongs to the one who accepts them.
pub(crate) struct Lobby {
    limit: usize,
    each: Option<usize>,
    counts: Arc<Counts>,
    marks: VecDeque<(Instant, u64)>,
    turned_away: Arc<Semaphore>,
    engine: Engine,
}

/// A connection that has been let in; its place is free again when this is dropped.
pub(crate) struct Guest {
    counts: Arc<Counts>,
    address: Option<ClientKey>,
    engine: Engine,
}

impl Lobby {
    pub(crate) fn new(limit: usize, each: Option<usize>, engine: Engine) -> Self {
        Self {
            limit,
            each,
            counts: Arc::default(),
            marks: VecDeque::from([(Instant::now(), 0)]),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
            engine,
        }
    }

    /// Lets a connection in, or says why not. One by the file system has no address.
    pub(crate) fn admit(&mut self, address: Option<IpAddr>) -> Result<Guest, Problem> {
        self.mark();
        // Only this side lets connections in, so there are not more of them than are seen here.
        let open = self.counts.open.load(Ordering::Relaxed);
        if open >= self.limit {
            self.engine.metrics().connection_refused("limit");
            let bound = bound("server.max_connections", self.limit, open);
            let detail = format!("the server has as many connections as it may have: {bound}");
            let leaving = (self.limit / 10).max(1);
            return Err(Problem::new(Code::ServerBusy, detail)
                .at_bound(bound)
                .retry_after(self.time_for(leaving)));
        }
        let address = match (self.each, address) {
            (Some(limit), Some(address)) => Some(self.admit_from(address, limit, open)?),
            _ => None,
        };
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        self.engine.metrics().connection_opened();
        Ok(Guest {
            counts: Arc::clone(&self.counts),
            address,
            engine: self.engine.clone(),
        })
    }

    fn admit_from(&self, address: IpAddr, limit: usize, open: usize) -> Result<ClientKey, Problem> {
        let key = ClientKey::address(address);
        let current = {
            let mut counts = self.counts.addresses();
            let own = counts.entry(key.clone()).or_default();
            if *own < limit {
                *own += 1;
                return Ok(key);
            }
            *own
        };
        self.engine.metrics().connection_refused("address");
        let bound = bound("server.max_connections_per_address", limit, current);
        let detail = format!("one address may have no more connections: {bound}");
        // Its connections end as those of others do.
        let among = open.div_ceil(current.max(1));
        Err(Problem::new(Code::ClientLimit, detail)
            .at_bound(bound)
            .retry_after(self.time_for(among)))
    }

    /// Room for telling a caller that it is one too many.
    pub(crate) fn may_tell(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turned_away).try_acquire_owned().ok()
    }

    fn mark(&mut self) {
        let now = Instant::now();
        if self.marks.back().is_none_or(|(at, _)| now >= *at + MARK_EVERY) {
            if self.marks.len() == MARKS_MAX {
                self.marks.pop_front();
            }
            self.marks
                .push_back((now, self.counts.ended.load(Ordering::Relaxed)));
        }
    }

    /// When so many connections should have ended, at the pace of the last while; as long again as none has ended.
    fn time_for(&self, count: usize) -> Duration {
        let Some((since, before)) = self.marks.front() else {
            return hint(Duration::ZERO);
        };
        let span = since.elapsed();
        let ended = self.counts.ended.load(Ordering::Relaxed).saturating_sub(*before);
        let time = if ended == 0 {
            span
        } else {
            span.mul_f64(count as f64 / ended as f64)
        };
        hint(time)
    }
}

fn bound(setting: &'static str, limit: usize, current: usize) -> Bound {
    Bound {
        setting,
        unit: Unit::Connections,
        limit: limit as u64,
        current: current as u64,
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
        self.engine.metrics().connection_closed();
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
        let Some(address) = self.address.take() else {
            return;
        };
        let mut counts = self.counts.addresses();
        if let Some(own) = counts.get_mut(&address) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// Tells a caller why it is not let in, and closes so that it can read that.
pub(crate) async fn turn_away(mut stream: Socket, why: Problem) {
    let answer = why.whole_answer();
    let told = timeout(TELLING_MAX, tell(&mut stream, &answer)).await;
    // A caller that does not listen is let go all the same.
    if let Ok(Err(error)) = told {
        tracing::debug!(%error, "a caller that was turned away had gone");
    }
}

async fn tell(stream: &mut Socket, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut unread = stream.take(UNREAD_MAX as u64);
    tokio::io::copy(&mut unread, &mut tokio::io::sink())
        .await
        .map(drop)
}
