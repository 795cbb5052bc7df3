//! What is told of a batch that ran to whoever records spans: how long each of its items had waited, and its run, in the trace of its
//! caller. Items of one batch are linked, as their runs are one.

use std::borrow::Cow;
use std::time::Duration;

use cresset_batch::{Entry, Moment};
use cresset_runner::{ItemEnd, JobEnd, Timing};
use cresset_task::{BatchId, Span, SpanId, SpanKind, Timestamp, Trace, Word};

use super::{Driver, Flight};
use crate::item::{Item, Origin};

/// A run is linked to so many others of its batch at most: enough to find them, and a collector drops what is much more.
const LINKS_MAX: usize = 32;

/// Where in the traces of their callers the items run; empty when none has any.
pub(super) fn places(entries: &[Entry<Item>]) -> Vec<Option<Trace>> {
    if entries.iter().all(|entry| entry.item.trace.is_none()) {
        return Vec::new();
    }
    let here = |entry: &Entry<Item>| entry.item.trace.as_ref().map(|trace| trace.at(SpanId::fresh()));
    entries.iter().map(here).collect()
}

impl Driver {
    /// A batch has ended.
    pub(super) fn tell_spans(
        &self,
        flight: &Flight,
        batch: BatchId,
        end: &JobEnd,
        timing: Timing,
        now: Moment,
    ) {
        let Some(spans) = &self.shared.spans else { return };
        let config = &self.served.config;
        let ended = Timestamp::now();
        for (at, (entry, place)) in flight.entries.iter().zip(&flight.traces).enumerate() {
            let (Some(place), Some(caller)) = (place, &entry.item.trace) else {
                continue;
            };
            if !place.is_sampled {
                continue;
            }
            // What waited behind another batch of its instance was not run meanwhile.
            let took = match timing.compute {
                Duration::ZERO => now.saturating_sub(entry.item.sent.unwrap_or(now)),
                compute => compute,
            };
            let began = ended.before(took);
            let span = |place: Trace, name: &str| Span {
                place,
                parent: Some(caller.span),
                kind: SpanKind::Inner,
                name: Cow::Owned(format!("{name} {}", config.name)),
                began,
                ended,
                words: words(&entry.item),
                links: Vec::new(),
                error: None,
            };
            if entry.item.deliveries == 1 {
                let mut waited = span(caller.at(SpanId::fresh()), "queue");
                waited
                    .words
                    .push(("cresset.model.name", config.name.to_string().into()));
                waited.began = came(&entry.item, ended.before(now)).min(began);
                waited.ended = began;
                spans.ended(waited);
            }
            let mut run = span(place.clone(), "run");
            let model: [(&str, Word); 5] = [
                ("cresset.model.name", config.name.to_string().into()),
                ("cresset.model.version", config.version.clone().into()),
                ("cresset.batch.id", batch.to_string().into()),
                ("cresset.batch.size", flight.entries.len().into()),
                ("cresset.instance.id", flight.instance.0.into()),
            ];
            run.words.extend(model);
            run.links = mates(&flight.traces, at);
            if let Some(error) = error(end, at) {
                run.words.push(("error.type", error.clone().into()));
                run.error = Some(error);
            }
            spans.ended(run);
        }
    }
}

/// Those that ran with it.
fn mates(traces: &[Option<Trace>], at: usize) -> Vec<Trace> {
    let others = traces.iter().enumerate().filter(|(other, _)| *other != at);
    others
        .filter_map(|(_, trace)| trace.clone())
        .filter(|trace| trace.is_sampled)
        .take(LINKS_MAX)
        .collect()
}

/// What is said of an item.
fn words(item: &Item) -> Vec<(&'static str, Word)> {
    let mut words = vec![("cresset.attempt", item.attempt().0.into())];
    if let Origin::Queue(task) = &item.origin {
        words.push(("cresset.task.id", task.id.to_string().into()));
    }
    words
}

/// When an item began to wait: a task when it was accepted, and one that is tried again when it was leased again. `zero` is when the
/// engine's clock began.
fn came(item: &Item, zero: Timestamp) -> Timestamp {
    match &item.origin {
        Origin::Caller { since, .. } => zero.plus(*since),
        Origin::Queue(task) if task.attempt.0 == 1 => task.created_at,
        Origin::Queue(task) => task.leased_at,
    }
}

/// Why an item of a batch has no result: what kind of failure it is. What a model raises may have its input in it, so no more is told.
fn error(end: &JobEnd, at: usize) -> Option<String> {
    match end {
        JobEnd::Items(ends) => match ends.get(at) {
            Some(ItemEnd::Failed(failure)) => Some(failure.type_.clone()),
            _ => None,
        },
        JobEnd::Raised(failure) | JobEnd::GivenUp(failure) => Some(failure.type_.clone()),
        JobEnd::Lost { reason, .. } => Some(reason.label().to_owned()),
    }
}
