//! Waits for messages without asking again and again.
//!
//! For each list a connection blocks on moving its last message to where it already is. That changes nothing, happens as soon as
//! there is a message, and takes nothing away: whoever fetches does so in one piece, later.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::connect::Server;
use super::sentinel::lost;

/// Seconds that one blocking command lasts at most.
const BLOCK_SECONDS: u64 = 20;
/// A connection that does not answer this long after is dead.
const LATE: Duration = Duration::from_secs(10);
/// Between two tries to connect.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// How often is asked where a server cannot wait so (before Redis 6.2), and at the latest in any case.
const POLL_AFTER: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_secs(1);

/// Knows when something may have come.
pub(super) struct Wake {
    /// Counts the fetches that found nothing: who watches goes on when it grows.
    empty: watch::Sender<u64>,
    came: Notify,
    polls: std::sync::atomic::AtomicBool,
    stop: CancellationToken,
}

impl Wake {
    pub(super) fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            empty: watch::Sender::new(0),
            came: Notify::new(),
            polls: false.into(),
            stop,
        })
    }

    /// Returns when there may be something.
    pub(super) async fn arrival(&self) {
        self.empty.send_modify(|count| *count += 1);
        let longest = match self.polls.load(std::sync::atomic::Ordering::Relaxed) {
            true => POLL_AFTER,
            false => LATEST,
        };
        // Late or not: it is looked again.
        let _ = tokio::time::timeout(longest, self.came.notified()).await;
    }

    /// Watches one list until it is stopped.
    pub(super) async fn watch(self: Arc<Self>, server: Server, list: String) {
        let mut empty = self.empty.subscribe();
        loop {
            let watched = tokio::select! {
                watched = self.watch_once(&server, &list, &mut empty) => watched,
                () = self.stop.cancelled() => return,
            };
            if let Err(error) = watched {
                if error.to_string().contains("unknown command") {
                    tracing::warn!(
                        "broker is a Redis older than 6.2: it is asked for messages 50 times a second"
                    );
                    self.polls.store(true, std::sync::atomic::Ordering::Relaxed);
                    return;
                }
                tracing::debug!(error = %error, "connection that waits for messages lost");
                tokio::select! {
                    () = tokio::time::sleep(RECONNECT_AFTER) => {}
                    () = self.stop.cancelled() => return,
                }
            }
        }
    }

    async fn watch_once(
        &self,
        server: &Server,
        list: &str,
        empty: &mut watch::Receiver<u64>,
    ) -> RedisResult<()> {
        let longest = Duration::from_secs(BLOCK_SECONDS) + LATE;
        let (mut connection, mut tenure) = server.patient(longest).await?;
        let mut wait = redis::cmd("BLMOVE");
        wait.arg(list)
            .arg(list)
            .arg("RIGHT")
            .arg("RIGHT")
            .arg(BLOCK_SECONDS);
        loop {
            if empty.changed().await.is_err() {
                return Ok(());
            }
            // Nothing came: nobody has fetched meanwhile, or has found nothing.
            loop {
                let waited = tokio::select! {
                    waited = wait.query_async::<Value>(&mut connection) => waited?,
                    () = tenure.over() => return Err(lost("another server is the master now")),
                };
                if waited != Value::Nil {
                    break;
                }
            }
            self.came.notify_one();
        }
    }
}
