//! Connections for reading: a few, each for many questions at once, opened when they are needed and again when they are gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connect::{Conn, Dialer};
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

    /// A connection that was there a moment ago.
    pub(crate) async fn get(&self) -> Result<Arc<Conn>, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.places.len();
        let mut place = self.places[number].lock().await;
        if let Some(conn) = place.conn.as_ref().filter(|conn| !conn.is_over()) {
            return Ok(Arc::clone(conn));
        }
        if let Some((at, error)) = &place.refused
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        match Conn::open(&self.dialer).await {
            Ok(conn) => {
                *place = Place {
                    conn: Some(Arc::clone(&conn)),
                    refused: None,
                };
                Ok(conn)
            }
            Err(error) => {
                place.refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// A connection is gone, whether it has noticed or not.
    pub(crate) async fn forget(&self, gone: &Arc<Conn>) {
        for place in &self.places {
            let mut place = place.lock().await;
            if place.conn.as_ref().is_some_and(|conn| Arc::ptr_eq(conn, gone)) {
                place.conn = None;
            }
        }
    }

    /// Lets go of all connections.
    pub(crate) async fn close(&self) {
        for place in &self.places {
            place.lock().await.conn = None;
        }
        self.dialer.end().await;
    }
}
