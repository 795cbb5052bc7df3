//! How the inbox stands, for those who look at the server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_queue::{INBOX_COUNT_MAX, InboxLoad};
use cresset_task::Timestamp;
use tokio::time::Instant;

/// A row that has waited for longer is said to wait: by then a restart, a load peak or a slow commit is over.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// An inbox that cannot be read for longer is no hiccup: traffic had better go elsewhere.
const BROKEN_AFTER: Duration = Duration::from_secs(10);

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct InboxState {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    load: InboxLoad,
    /// Why nothing can be taken, and since when.
    broken: Option<(Instant, String)>,
    /// Why rows wait, as the last of them was told.
    full: Option<String>,
}

/// That something is wrong with the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InboxTrouble {
    /// What, in words.
    pub(crate) words: String,
    /// Nothing can be taken at all.
    pub(crate) is_broken: bool,
}

impl InboxState {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing under the lock can panic halfway.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much lies there.
    pub(crate) fn measured(&self, load: InboxLoad) {
        self.known().load = load;
    }

    /// The last measure.
    pub(crate) fn load(&self) -> InboxLoad {
        self.known().load
    }

    /// A round went well; `full` is why some rows of it wait.
    pub(crate) fn works(&self, full: Option<String>) {
        let mut known = self.known();
        known.full = full;
        if known.broken.take().is_some() {
            drop(known);
            tracing::info!("the inbox can be read again");
        }
    }

    /// A round failed. One line when trouble begins.
    pub(crate) fn fails(&self, why: String) {
        let mut known = self.known();
        match &mut known.broken {
            Some((_, words)) => *words = why,
            none => {
                tracing::warn!(error = why, "the inbox cannot be read");
                *none = Some((Instant::now(), why));
            }
        }
    }

    /// What is wrong, if anything is.
    pub(crate) fn trouble(&self, now: Timestamp) -> Option<InboxTrouble> {
        let known = self.known();
        if let Some((since, why)) = &known.broken
            && since.elapsed() >= BROKEN_AFTER
        {
            return Some(InboxTrouble {
                words: format!("nothing can be taken out of the inbox: {why}"),
                is_broken: true,
            });
        }
        let age = known.load.oldest.map(|oldest| now.since(oldest))?;
        if age < STUCK_AFTER {
            return None;
        }
        let rows = match known.load.rows {
            INBOX_COUNT_MAX => format!("{INBOX_COUNT_MAX} or more tasks wait"),
            1 => "1 task waits".into(),
            rows => format!("{rows} tasks wait"),
        };
        let why = known.full.as_deref().unwrap_or("no reason is known");
        Some(InboxTrouble {
            words: format!("{rows} in the inbox, the oldest for {} s: {why}", age.as_secs()),
            is_broken: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(state: &InboxState, seconds: u64) -> Option<String> {
        let now = Timestamp::from_micros(1_000_000_000);
        let oldest = Timestamp::from_micros(1_000_000_000 - (seconds * 1_000_000).cast_signed());
        state.measured(InboxLoad {
            rows: 3,
            oldest: Some(oldest),
            refused: 0,
        });
        state.trouble(now).map(|trouble| trouble.words)
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_long_is_told_with_the_reason() {
        let state = InboxState::default();
        state.works(Some("the queue of `m` is full".into()));
        assert_eq!(waiting(&state, 59), None);
        assert_eq!(
            waiting(&state, 61).as_deref(),
            Some("3 tasks wait in the inbox, the oldest for 61 s: the queue of `m` is full")
        );
        state.measured(InboxLoad::default());
        assert_eq!(state.trouble(Timestamp::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_read_is_broken_after_a_while_and_well_again_at_once() {
        let state = InboxState::default();
        state.fails("no such table".into());
        assert_eq!(state.trouble(Timestamp::now()), None);
        tokio::time::advance(BROKEN_AFTER).await;
        state.fails("still none".into());
        let trouble = state.trouble(Timestamp::now()).unwrap();
        assert!(trouble.is_broken);
        assert!(trouble.words.ends_with("still none"), "{}", trouble.words);
        state.works(None);
        assert_eq!(state.trouble(Timestamp::now()), None);
    }
}
