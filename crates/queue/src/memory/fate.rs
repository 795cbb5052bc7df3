//! What becomes of each call, as a test wants it.

use std::fmt;
use std::time::Duration;

use cresset_task::TaskRecord;

/// So long a call rests at one point. Others run meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// So often it lets others go first.
    pub yields: u32,
    /// Then it sleeps, by tokio's clock.
    pub sleep: Duration,
}

impl Pause {
    pub(super) async fn take(self) {
        for _ in 0..self.yields {
            tokio::task::yield_now().await;
        }
        if !self.sleep.is_zero() {
            tokio::time::sleep(self.sleep).await;
        }
    }
}

/// What a call does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// What it should.
    #[default]
    Done,
    /// Nothing; it is answered `Unavailable`.
    Refused,
    /// As `Refused`, but if the process dies before something else was written, the next opening finds the task of a submit all
    /// the same: a flush that failed, and reached the disk.
    Doubtful,
    /// What it should, and it is answered `Unavailable`. What was leased is given back, and a submit is `Doubtful`: the ports
    /// say that what was refused is not there.
    Lost,
    /// The process dies, after the effect or before it; nothing is answered.
    Dies {
        /// After it.
        done: bool,
    },
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Before the effect.
    pub before: Pause,
    /// The effect.
    pub effect: Effect,
    /// Between the effect and the answer.
    pub after: Pause,
}

/// Decides what becomes of calls, and sees what changes.
pub trait Fates: Send + Sync {
    /// Of a call of this operation, as the trait names it.
    fn fate(&self, operation: &'static str) -> Fate {
        let _ = operation;
        Fate::default()
    }

    /// A record has changed to this; asked under the store's lock, so it must not call the store.
    fn changed(&self, record: &TaskRecord) {
        let _ = record;
    }

    /// The process dies now: nothing of it may run any more.
    fn died(&self) {}
}

/// Everything goes well.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFates;

impl Fates for NoFates {}

impl fmt::Debug for dyn Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fates")
    }
}
