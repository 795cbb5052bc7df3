//! The figures of result caches. Only models that have one show them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ModelLabel;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabel {
    model: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvictionLabel {
    model: String,
    reason: &'static str,
}

/// Those of all models.
#[derive(Default)]
pub(super) struct CacheFamilies {
    lookups: Family<LookupLabel, Counter>,
    evictions: Family<EvictionLabel, Counter>,
    bytes: Family<ModelLabel, Gauge>,
    entries: Family<ModelLabel, Gauge>,
}

/// Those of one model's cache.
#[derive(Clone)]
pub(crate) struct CacheMetrics {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) coalesced: Counter,
    pub(crate) bypasses: Counter,
    pub(crate) evicted: Counter,
    pub(crate) expired: Counter,
    pub(crate) emptied: Counter,
    pub(crate) bytes: Gauge,
    pub(crate) entries: Gauge,
}

impl CacheFamilies {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cache_lookups",
            "Requests to a model with a result cache: answered with a kept result (hit), computed (miss), answered with what was \
             computed for another (coalesced), computed because the request wanted it (bypass)",
            self.lookups.clone(),
        );
        registry.register(
            "cache_evictions",
            "Results that are kept no more: others needed the room (size), too old (expired), a process came or went (changed)",
            self.evictions.clone(),
        );
        registry.register(
            "cache_bytes",
            "Bytes of kept results, with what it takes to keep them",
            self.bytes.clone(),
        );
        registry.register("cache_entries", "Kept results", self.entries.clone());
    }

    pub(super) fn model(&self, name: &str) -> CacheMetrics {
        let model = || name.to_owned();
        let lookups = |result| {
            let label = LookupLabel {
                model: model(),
                result,
            };
            self.lookups.get_or_create(&label).clone()
        };
        let evictions = |reason| {
            let label = EvictionLabel {
                model: model(),
                reason,
            };
            self.evictions.get_or_create(&label).clone()
        };
        let label = ModelLabel { model: model() };
        CacheMetrics {
            hits: lookups("hit"),
            misses: lookups("miss"),
            coalesced: lookups("coalesced"),
            bypasses: lookups("bypass"),
            evicted: evictions("size"),
            expired: evictions("expired"),
            emptied: evictions("changed"),
            bytes: self.bytes.get_or_create(&label).clone(),
            entries: self.entries.get_or_create(&label).clone(),
        }
    }
}
