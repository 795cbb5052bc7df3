//! Connections for reading: a few, opened when they are needed and again when they are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Dial, Link, Trouble};
use crate::kit::IntoQueueError as _;
use crate::{QueueError, QueueErrorKind};

/// One question takes this long at most.
pub const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

/// A question changes nothing, so it is asked again when its connection goes: at most so often. At so many places a
/// connection is looked for.
const ASKED_MAX: usize = 4;

/// A connection that is lost while it is opened is opened again: so often in all, and after pauses of which this is the first
/// and each next one is twice as long. A database that ends connections ends one after another; all pauses are a third of
/// a second.
const OPENED_MAX: u32 = 6;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

/// After a connection could not be had, questions are answered with that for so long.
const REFUSED_FOR: Duration = Duration::from_millis(250);

/// The front of what has readers alone: nobody writes in groups there, and what a question changes may be changed again.
pub struct Questions<D: Dial> {
    readers: Readers<D>,
    closing: CancellationToken,
}

impl<D: Dial> Questions<D> {
    /// So many connections at most.
    pub fn new(dialer: D, count: usize) -> Self {
        Self {
            readers: Readers::new(dialer, count),
            closing: CancellationToken::new(),
        }
    }

    /// One question (see `ask!`).
    pub fn asking(&self, operation: &'static str) -> Result<Asking<'_, D>, QueueError> {
        if self.closing.is_cancelled() {
            return Err(QueueError::new(QueueErrorKind::Closed, operation, ""));
        }
        Ok(Asking::new(&self.readers, operation))
    }

    /// Ends the connections. Nothing is answered any more.
    pub async fn close(&self) {
        self.closing.cancel();
        self.readers.close().await;
    }
}

/// The connections.
pub struct Readers<D: Dial> {
    dialer: D,
    places: Vec<Mutex<Place<D>>>,
    next: AtomicUsize,
}

struct Place<D: Dial> {
    conn: Option<Arc<D::Conn>>,
    refused: Option<(Instant, D::Error)>,
}

impl<D: Dial> Default for Place<D> {
    fn default() -> Self {
        Self {
            conn: None,
            refused: None,
        }
    }
}

impl<D: Dial> Place<D> {
    /// Why there was none to be had a moment ago.
    fn refused(&self) -> Option<&D::Error> {
        let (at, error) = self.refused.as_ref()?;
        (at.elapsed() < REFUSED_FOR).then_some(error)
    }

    /// A connection that was there a moment ago.
    async fn connected(&mut self, dialer: &D) -> Result<Arc<D::Conn>, D::Error> {
        if let Some(conn) = self.conn.as_ref().filter(|conn| !conn.is_over()) {
            return Ok(Arc::clone(conn));
        }
        self.conn = None;
        match open(dialer).await {
            Ok(conn) => {
                self.conn = Some(Arc::clone(&conn));
                self.refused = None;
                Ok(conn)
            }
            Err(error) => {
                self.refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

async fn open<D: Dial>(dialer: &D) -> Result<Arc<D::Conn>, D::Error> {
    let mut pause = OPEN_PAUSE;
    for _ in 1..OPENED_MAX {
        match dialer.open().await {
            Err(error) if error.was_lost() => {
                tracing::debug!(
                    error = error.whole(),
                    "a connection was lost while it was opened, and is opened again"
                );
            }
            opened => return opened,
        }
        sleep(pause).await;
        pause *= 2;
    }
    dialer.open().await
}

impl<D: Dial> Readers<D> {
    /// So many, and one at least.
    pub fn new(dialer: D, count: usize) -> Self {
        let places = (0..count.max(1)).map(|_| Mutex::default());
        Self {
            dialer,
            places: places.collect(),
            next: AtomicUsize::new(0),
        }
    }

    async fn get(&self) -> Result<Reader<'_, D>, D::Error> {
        let mut looked = 1;
        let (place, mut guard) = loop {
            let (place, guard) = self.place().await;
            match guard.refused() {
                Some(_) if looked < ASKED_MAX => looked += 1,
                Some(error) => return Err(error.clone()),
                None => break (place, guard),
            }
        };
        let conn = guard.connected(&self.dialer).await?;
        let alone = (!D::ANSWERS_MANY).then_some(guard);
        Ok(Reader { conn, place, alone })
    }

    /// The next in turn; where a connection answers one at a time, one that nobody uses rather than that.
    async fn place(&self) -> (&Mutex<Place<D>>, MutexGuard<'_, Place<D>>) {
        let free = |place| Some((place, Mutex::try_lock(place).ok()?));
        if !D::ANSWERS_MANY
            && let Some(free) = self.places.iter().find_map(free)
        {
            return free;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.places.len();
        let place = &self.places[number];
        (place, place.lock().await)
    }

    /// Lets go of all connections, and waits until they have ended.
    pub async fn close(&self) {
        for place in &self.places {
            place.lock().await.conn = None;
        }
        self.dialer.end().await;
    }
}

/// A connection, for one question.
pub struct Reader<'a, D: Dial> {
    conn: Arc<D::Conn>,
    place: &'a Mutex<Place<D>>,
    /// Keeps others away.
    alone: Option<MutexGuard<'a, Place<D>>>,
}

impl<D: Dial> Reader<'_, D> {
    /// What is asked.
    #[must_use]
    pub fn conn(&self) -> Arc<D::Conn> {
        Arc::clone(&self.conn)
    }

    /// What it was asked failed. Where it answers one at a time, whatever it was in the midst of goes with it.
    async fn failed(self, error: &D::Error) {
        let mut place = match self.alone {
            Some(place) => place,
            None if error.is_of_the_connection() => self.place.lock().await,
            None => return,
        };
        if place
            .conn
            .as_ref()
            .is_some_and(|conn| Arc::ptr_eq(conn, &self.conn))
        {
            place.conn = None;
        }
    }
}

/// A question, and how often it has been asked.
pub struct Asking<'a, D: Dial> {
    readers: &'a Readers<D>,
    operation: &'static str,
    asked: usize,
}

impl<'a, D: Dial> Asking<'a, D> {
    /// One that has not been asked yet.
    pub fn new(readers: &'a Readers<D>, operation: &'static str) -> Self {
        Self {
            readers,
            operation,
            asked: 0,
        }
    }

    /// Whom to ask, this time.
    pub async fn reader(&mut self) -> Result<Reader<'a, D>, QueueError> {
        self.asked += 1;
        let reader = self.readers.get().await;
        reader.map_err(|error| error.into_queue(self.operation))
    }

    /// What comes of it; `None` when it is to be asked again.
    pub async fn answered<T>(
        &self,
        reader: Reader<'a, D>,
        answer: impl Future<Output = Result<T, D::Error>>,
    ) -> Option<Result<T, QueueError>> {
        let late = || format!("the database did not answer within {STATEMENT_LIMIT:?}");
        let answer = timeout(STATEMENT_LIMIT, answer).await;
        let error = match answer.unwrap_or_else(|_| Err(D::Error::away(late()))) {
            Ok(answer) => return Some(Ok(answer)),
            Err(error) => error,
        };
        reader.failed(&error).await;
        if self.asked < ASKED_MAX && error.is_of_the_connection() {
            return None;
        }
        Some(Err(error.into_queue(self.operation)))
    }
}
