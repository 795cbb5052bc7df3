//! The figures of the inbox.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cresset_queue::{InboxEntry, InboxLoad, InboxTaken};
use cresset_task::{Outcome, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

const QUEUED: &str = "queued";
const FAILED: &str = "failed";
const REVOKED: &str = "revoked";
const REFUSED: &str = "refused";

#[derive(Clone)]
pub(crate) struct InboxMetrics {
    taken: Family<OutcomeLabel, Counter>,
    rows: Gauge,
    refused: Gauge,
    oldest: Gauge<f64, AtomicU64>,
}

impl InboxMetrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            taken: Family::default(),
            rows: Gauge::default(),
            refused: Gauge::default(),
            oldest: Gauge::default(),
        };
        for outcome in [QUEUED, FAILED, REVOKED, REFUSED] {
            metrics.of(outcome);
        }
        metrics
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "inbox_taken",
            "Rows of the store's inbox that were looked at, by what became of them: a task that is queued (queued), one that failed \
             as it would have been refused (failed), one that was cancelled before (revoked), none (refused)",
            self.taken.clone(),
        );
        registry.register(
            "inbox_rows",
            "Tasks that wait in the store's inbox, counted up to 10000",
            self.rows.clone(),
        );
        registry.register(
            "inbox_refused_rows",
            "Rows of the store's inbox that cannot be tasks and are kept with their error, counted as far",
            self.refused.clone(),
        );
        registry.register(
            "inbox_oldest_seconds",
            "How long ago the oldest task was written that waits in the inbox; 0 when there is none",
            self.oldest.clone(),
        );
    }

    fn of(&self, outcome: &'static str) -> Counter {
        self.taken.get_or_create(&OutcomeLabel { outcome }).clone()
    }

    /// What became of a row.
    pub(crate) fn became(&self, entry: &InboxEntry, taken: InboxTaken) {
        let outcome = match (taken, entry) {
            (InboxTaken::Gone, _) => return,
            (InboxTaken::Taken, InboxEntry::Task(_)) => QUEUED,
            (InboxTaken::Taken, InboxEntry::Ended(_, Outcome::Revoked { .. })) => REVOKED,
            (InboxTaken::Taken, _) => FAILED,
            (InboxTaken::Refused, _) => REFUSED,
        };
        self.of(outcome).inc();
    }

    /// How much lies there now.
    pub(crate) fn load(&self, load: InboxLoad, now: Timestamp) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.rows.set(number(load.rows));
        self.refused.set(number(load.refused));
        let age = load.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        self.oldest.set(age.as_secs_f64());
    }
}
