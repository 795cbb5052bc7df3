//! The figures of Celery's tasks, which come by a broker and leave by a result backend; only a server that takes some has any.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    task: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    task: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StandLabel {
    stand: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BrokerLabel {
    broker: &'static str,
}

/// The figures. A name of a task must be one of those that are answered here: anybody may send others.
#[derive(Clone, Default)]
pub struct CeleryMetrics {
    tasks: Family<EndLabel, Counter>,
    redelivered: Family<NameLabel, Counter>,
    held: Family<StandLabel, Gauge>,
    broker: Family<BrokerLabel, Gauge>,
}

impl Metrics {
    /// The figures of Celery's tasks.
    #[must_use]
    pub fn celery(&self) -> &CeleryMetrics {
        &self.celery
    }
}

impl CeleryMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "celery_tasks",
            "Celery's tasks by what became of them: ended, or sent once more (RETRY). Names that no model answers are one (other)",
            self.tasks.clone(),
        );
        registry.register(
            "celery_redelivered",
            "Celery's tasks that the broker had delivered before",
            self.redelivered.clone(),
        );
        registry.register(
            "celery_held",
            "Messages that are the worker's for now: they wait for their turn (reserved) or their time (scheduled), or are with a \
             model (active)",
            self.held.clone(),
        );
        registry.register(
            "celery_broker_connected",
            "1 while Celery's broker can be used",
            self.broker.clone(),
        );
    }

    /// A task has ended, or will be tried again.
    pub fn ended(&self, task: &str, status: &'static str) {
        let label = EndLabel {
            task: task.to_owned(),
            status,
        };
        self.tasks.get_or_create(&label).inc();
    }

    /// A task was delivered before.
    pub fn redelivered(&self, task: &str) {
        let label = NameLabel {
            task: task.to_owned(),
        };
        self.redelivered.get_or_create(&label).inc();
    }

    /// So many messages are held.
    pub fn held(&self, stand: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.held.get_or_create(&StandLabel { stand }).set(count);
    }

    /// Whether the broker can be used.
    pub fn connected(&self, broker: &'static str, is_connected: bool) {
        self.broker
            .get_or_create(&BrokerLabel { broker })
            .set(is_connected.into());
    }
}
