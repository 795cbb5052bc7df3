//! Connections for reading: a few, each for one question at a time, opened when they are needed and again when they are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::connect::{Conn, Dialer, Role};
use crate::error::StoreError;

/// After a connection could not be had, questions are answered with that for so long.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) struct Readers {
    dialer: Dialer,
    places: Vec<Mutex<Place>>,
    next: AtomicUsize,
}

#[derive(Default)]
struct Place {
    conn: Option<Arc<Conn>>,
    refused: Option<(Instant, StoreError)>,
}

impl Readers {
    pub(crate) fn new(dialer: Dialer, count: usize) -> Self {
        let places = (0..count.max(1)).map(|_| Mutex::default());
        Self {
            dialer,
            places: places.collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// A connection that was there a moment ago, for as long as it is held.
    pub(crate) async fn get(&self) -> Result<Reader<'_>, StoreError> {
        let mut place = self.free().await;
        if let Some(conn) = place.conn.as_ref().filter(|conn| !conn.is_over()) {
            let conn = Arc::clone(conn);
            return Ok(Reader { place, conn });
        }
        place.conn = None;
        if let Some((at, error)) = &place.refused
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        match Conn::open(&self.dialer, Role::Reader).await {
            Ok(conn) => {
                *place = Place {
                    conn: Some(Arc::clone(&conn)),
                    refused: None,
                };
                Ok(Reader { place, conn })
            }
            Err(error) => {
                place.refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// One that nobody uses, or else the next in turn.
    async fn free(&self) -> MutexGuard<'_, Place> {
        if let Some(place) = self.places.iter().find_map(|place| place.try_lock().ok()) {
            return place;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.places.len();
        self.places[number].lock().await
    }

    /// Lets go of all connections.
    pub(crate) async fn close(&self) {
        for place in &self.places {
            place.lock().await.conn = None;
        }
    }
}

/// A connection, for one question.
pub(crate) struct Reader<'a> {
    place: MutexGuard<'a, Place>,
    conn: Arc<Conn>,
}

impl Reader<'_> {
    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }

    /// What it was asked failed: whatever it was in the midst of goes with it.
    pub(crate) fn forget(mut self) {
        self.place.conn = None;
    }
}
