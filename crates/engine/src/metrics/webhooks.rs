//! The figures of webhooks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cresset_queue::OutboxLoad;
use cresset_task::Timestamp;
use cresset_webhook::{Outcome, Tally};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone)]
pub(crate) struct WebhookMetrics {
    tries: Family<OutcomeLabel, Counter>,
    seconds: Histogram,
    open: Gauge,
    oldest: Gauge<f64, AtomicU64>,
}

impl WebhookMetrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            tries: Family::default(),
            seconds: super::buckets::seconds(),
            open: Gauge::default(),
            oldest: Gauge::default(),
        };
        for outcome in Outcome::ALL {
            metrics.of(outcome);
        }
        metrics
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "webhook_tries",
            "Webhooks sent, by what became of it: the other side has it (delivered), it will be tried again (put_off), it will not \
             (given_up), the address answered 410 Gone (disabled)",
            self.tries.clone(),
        );
        registry.register(
            "webhook_seconds",
            "One try of a webhook, from the look-up of its host to its answer",
            self.seconds.clone(),
        );
        registry.register(
            "webhooks_open",
            "Webhooks that wait or are being sent",
            self.open.clone(),
        );
        registry.register(
            "webhook_oldest_seconds",
            "How long ago the oldest webhook happened that has not been delivered or given up; 0 when there is none",
            self.oldest.clone(),
        );
    }

    fn of(&self, outcome: Outcome) -> Counter {
        let label = OutcomeLabel {
            outcome: outcome.name(),
        };
        self.tries.get_or_create(&label).clone()
    }

    /// How much is open now.
    pub(crate) fn load(&self, load: OutboxLoad, now: Timestamp) {
        self.open.set(i64::try_from(load.open).unwrap_or(i64::MAX));
        let age = load.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        self.oldest.set(age.as_secs_f64());
    }
}

impl Tally for WebhookMetrics {
    fn tried(&self, outcome: Outcome, took: Duration) {
        self.of(outcome).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
