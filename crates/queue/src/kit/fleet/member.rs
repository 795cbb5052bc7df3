//! A server's place among those on a store.

use crate::kit::remote;

/// The row of a server that has ended is kept for a day: should it come back, it learns what became of its last group.
pub const ENDED_KEPT_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// What a server is that has not said anything of itself.
pub const UNSAID: &str = "{}";

/// What was found of the server that this one was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the same still.
    Same,
    /// Others have given its leases back. So many of its groups were committed.
    Ended(i64),
    /// The database has forgotten it.
    Forgotten,
    /// There was none, or it is too long ago.
    New,
}

impl Fate {
    /// The same as the writer must know it, which took `before` groups for committed, and finds `now` of them in its row.
    #[must_use]
    pub fn of_groups(self, before: i64, now: i64) -> remote::Fate {
        let (committed, forgotten) = match self {
            Self::Same => (Some(now), before - now),
            Self::Ended(commits) => (Some(commits), before - commits),
            Self::Forgotten => (None, before + 1),
            Self::New => (None, 0),
        };
        if matches!(self, Self::Ended(_) | Self::New) {
            tracing::warn!("other servers took this one for ended meanwhile: its leases have ended");
        }
        remote::Fate { committed, forgotten }
    }
}

/// What this server is called, for people.
#[must_use]
pub fn own_name() -> String {
    format!(
        "the server with process {} on {}",
        std::process::id(),
        host_name()
    )
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "an unnamed machine".into(), |name| name.trim().to_owned())
}
