//! Which life of which server was met last: another one may lack what that one had, and nobody may have seen it away.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::ConnectionLike;
use tokio::sync::watch;
use tokio::time::timeout;

/// A server has so long to say which life of its it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server, and how it calls its life. That may be a secret.
struct Known {
    place: String,
    life: Option<String>,
}

/// What was met last, and how often that was another one than before.
#[derive(Default)]
pub(crate) struct Lives {
    known: Mutex<Option<Known>>,
    moves: watch::Sender<u64>,
}

impl Lives {
    /// Counts how often another server took the place of the one before, or the same one began anew.
    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.moves.subscribe()
    }

    /// This one is met; whether it is another one than before. Who may not ask for its life knows it by its place alone.
    pub(super) fn meet(&self, place: String, life: Option<String>) -> bool {
        let is_other = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_other = known.as_ref().is_some_and(|known| {
                let began_anew = matches!((&known.life, &life), (Some(one), Some(other)) if one != other);
                known.place != place || began_anew
            });
            *known = Some(Known { place, life });
            is_other
        };
        if is_other {
            self.moves.send_modify(|moves| *moves += 1);
        }
        is_other
    }
}

/// How a server calls its life; none where that may not be asked.
pub(super) async fn life(connection: &mut impl ConnectionLike) -> Option<String> {
    let mut info = redis::cmd("INFO");
    let asked = info.arg("server").query_async::<String>(connection);
    let said = match timeout(PATIENCE, asked).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "redis does not say which life of its this is");
            return None;
        }
        Err(_) => return None,
    };
    let line = said.lines().find_map(|line| line.strip_prefix("run_id:"))?;
    Some(line.trim().to_owned())
}
