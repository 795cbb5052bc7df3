//! Servers that seem to have gone, and for how long.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The other servers are looked at this often.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A server without a session for so long has ended. One whose connection was lost is back before that.
pub const GRACE: Duration = Duration::from_secs(3);

/// A server that has written nothing for so long hangs, whatever its session: it writes every few seconds, and gives a group up
/// after a minute.
pub const SILENT_LIMIT: Duration = Duration::from_secs(90);

/// Since when each server has been without a session, of those that are.
#[derive(Debug, Default)]
pub struct Silences(HashMap<i64, Instant>);

impl Silences {
    /// Takes in which servers have no session now; those that have had none for long enough.
    pub fn seen(&mut self, now_silent: &[i64]) -> Vec<i64> {
        self.0.retain(|id, _| now_silent.contains(id));
        for id in now_silent {
            self.0.entry(*id).or_insert_with(Instant::now);
        }
        let ended = self.0.iter().filter(|(_, since)| since.elapsed() >= GRACE);
        ended.map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_has_ended_that_was_seen_without_a_session_all_the_time() {
        let mut silences = Silences::default();
        assert!(silences.seen(&[1, 2]).is_empty());
        tokio::time::advance(GRACE / 2).await;
        assert!(silences.seen(&[1]).is_empty());
        tokio::time::advance(GRACE / 2).await;
        assert_eq!(silences.seen(&[1, 2]), [1]);
        tokio::time::advance(GRACE).await;
        assert_eq!(silences.seen(&[2]), [2]);
        assert!(silences.seen(&[]).is_empty());
    }
}
