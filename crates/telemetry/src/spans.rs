//! The port, by OTLP: what to record, a bounded queue in front of a thread of its own, and the end of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cresset_task::{Span, SpanId, SpanKind, Spans, Timestamp, Trace, TraceId, Word};
use opentelemetry::trace::{Link, SpanContext, SpanKind as Kind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value, trace as otel};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use tokio::runtime::Handle;

use crate::exporter::{Counts, Watched};
use crate::post::Post;
use crate::sampling::Sampler;
use crate::settings::Settings;

/// When the server stops, what is in the queue has so long to be sent.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// What its spans are of, unless the variables say something else.
const SERVICE: &str = "cresset";

/// Spans by OTLP.
#[derive(Debug)]
pub struct Otlp {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
}

/// It cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There can be no HTTP client.
    #[error("no HTTP client can be made for the collector")]
    Client(#[from] reqwest::Error),
    /// OpenTelemetry refuses.
    #[error("spans cannot be exported")]
    Exporter(#[from] ExporterBuildError),
}

impl Otlp {
    /// Sends spans there from now on, by requests on this runtime. `version` is the program's.
    pub fn start(settings: Settings, version: &'static str, runtime: Handle) -> Result<Self, StartError> {
        let post = Post::new(runtime, settings.timeout)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(post)
            .with_endpoint(settings.endpoint.as_str())
            .with_timeout(settings.timeout)
            .with_headers(settings.headers)
            .build()?;
        let counts = Arc::new(Counts::default());
        let exporter = Watched::new(exporter, Arc::clone(&counts));
        let mut batches = BatchConfigBuilder::default();
        if let Some(spans) = settings.queue {
            batches = batches.with_max_queue_size(spans);
        }
        if let Some(spans) = settings.batch {
            batches = batches.with_max_export_batch_size(spans);
        }
        if let Some(pause) = settings.pause {
            batches = batches.with_scheduled_delay(pause);
        }
        let mut processor = BatchSpanProcessor::new(exporter, batches.build());
        processor.set_resource(&resource(settings.service, settings.attributes, version));
        Ok(Self {
            processor,
            sampler: settings.sampler,
            scope: InstrumentationScope::builder(SERVICE)
                .with_version(version)
                .build(),
            counts,
        })
    }

    /// Sends what is left, for [`STOP_GRACE`] at most. It blocks; spans that come after it are lost.
    pub fn stop(&self) {
        match self.processor.shutdown_with_timeout(STOP_GRACE) {
            Ok(()) | Err(OTelSdkError::AlreadyShutdown) => {}
            Err(error) => tracing::warn!(%error, "the last spans may not have been sent"),
        }
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let (given, sent) = (count(&self.counts.given), count(&self.counts.sent));
        let not_tried = given.saturating_sub(count(&self.counts.tried));
        if given > sent {
            tracing::warn!(given, sent, not_tried, "spans were lost");
        }
    }
}

impl Spans for Otlp {
    fn begin(&self, caller: Option<Trace>) -> Trace {
        let id = caller.as_ref().map_or_else(TraceId::fresh, |caller| caller.id);
        let decided = caller.as_ref().map(|caller| caller.is_sampled);
        Trace {
            id,
            span: SpanId::fresh(),
            is_sampled: self.sampler.records(id, decided),
            state: caller.and_then(|caller| caller.state),
        }
    }

    fn ended(&self, span: Span) {
        if !span.place.is_sampled {
            return;
        }
        self.counts.given.fetch_add(1, Ordering::Relaxed);
        self.processor.on_end(SpanData {
            span_context: context(&span.place, false),
            parent_span_id: span.parent.map_or(otel::SpanId::INVALID, |id| {
                otel::SpanId::from_bytes(id.to_bytes())
            }),
            parent_span_is_remote: span.kind == SpanKind::Server && span.parent.is_some(),
            span_kind: kind(span.kind),
            name: span.name,
            start_time: instant(span.began),
            end_time: instant(span.ended.max(span.began)),
            attributes: span.words.into_iter().map(attribute).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: links(&span.links),
            status: match span.error {
                Some(error) => Status::error(error),
                None => Status::Unset,
            },
            instrumentation_scope: self.scope.clone(),
        });
    }
}

fn resource(service: Option<String>, attributes: Vec<(String, String)>, version: &'static str) -> Resource {
    let named = |(name, value)| KeyValue::new::<String, String>(name, value);
    // What comes later goes before.
    let builder = Resource::builder_empty()
        .with_service_name(SERVICE)
        .with_attribute(KeyValue::new("service.version", version))
        .with_attributes(attributes.into_iter().map(named));
    match service {
        Some(service) => builder.with_service_name(service).build(),
        None => builder.build(),
    }
}

fn context(place: &Trace, is_remote: bool) -> SpanContext {
    let state = place
        .state
        .as_ref()
        .and_then(|state| state.as_str().parse::<TraceState>().ok());
    SpanContext::new(
        otel::TraceId::from_bytes(place.id.to_bytes()),
        otel::SpanId::from_bytes(place.span.to_bytes()),
        TraceFlags::SAMPLED,
        is_remote,
        state.unwrap_or_default(),
    )
}

fn links(places: &[Trace]) -> SpanLinks {
    let mut links = SpanLinks::default();
    links.links = places
        .iter()
        .map(|place| Link::with_context(context(place, false)))
        .collect();
    links
}

const fn kind(kind: SpanKind) -> Kind {
    match kind {
        SpanKind::Server => Kind::Server,
        SpanKind::Inner => Kind::Internal,
        SpanKind::Client => Kind::Client,
    }
}

fn attribute((name, word): (&'static str, Word)) -> KeyValue {
    let value = match word {
        Word::Text(Cow::Borrowed(text)) => Value::from(text),
        Word::Text(Cow::Owned(text)) => Value::from(text),
        Word::Number(number) => Value::from(number),
    };
    KeyValue::new(name, value)
}

fn instant(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
