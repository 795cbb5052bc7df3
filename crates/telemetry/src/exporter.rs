//! Around OpenTelemetry's exporter: whether the collector takes what it is sent, told in the log when that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter as Inner;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Spans that were given and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Given to the queue.
    pub(crate) given: AtomicU64,
    /// Taken out of it, to be sent; the others are in it or did not fit.
    pub(crate) tried: AtomicU64,
    /// The collector has them.
    pub(crate) sent: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Watched {
    inner: Inner,
    counts: Arc<Counts>,
    is_failing: AtomicBool,
}

impl Watched {
    pub(crate) fn new(inner: Inner, counts: Arc<Counts>) -> Self {
        Self {
            inner,
            counts,
            is_failing: AtomicBool::new(false),
        }
    }
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.counts.tried.fetch_add(spans, Ordering::Relaxed);
        let sent = self.inner.export(batch).await;
        match &sent {
            Ok(()) => {
                self.counts.sent.fetch_add(spans, Ordering::Relaxed);
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes spans again");
                }
            }
            // Once for each time that it goes wrong: it is tried every few seconds.
            Err(error) if !self.is_failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, spans, "the collector does not take spans; they are lost while that is so");
            }
            Err(error) => tracing::debug!(%error, spans, "spans are lost"),
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
