//! Spans by OTLP, where OpenTelemetry's variables name a collector.

use std::error::Error;
use std::sync::Arc;

use cresset_telemetry::{Otlp, Settings};
use tokio::runtime::Handle;

use crate::exit::{Exit, Trouble};

/// What the variables say: a mistake in them is told before anything is opened. Call it within the runtime.
pub(super) fn start() -> Result<Option<Arc<Otlp>>, Trouble> {
    let variable = |name: &str| std::env::var(name).ok();
    let settings = Settings::read(variable).map_err(|bad| Trouble::new(Exit::DATA, bad.to_string()))?;
    let Some(settings) = settings else {
        return Ok(None);
    };
    let host = settings.host();
    let otlp = Otlp::start(settings, env!("CARGO_PKG_VERSION"), Handle::current()).map_err(|error| {
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Trouble::new(Exit::DATA, format!("{error}{cause}"))
    })?;
    tracing::info!(host, "spans are sent by OTLP");
    Ok(Some(Arc::new(otlp)))
}

/// Sends the last spans, within a bounded time.
pub(super) async fn stop(otlp: Option<Arc<Otlp>>) {
    let Some(otlp) = otlp else { return };
    if let Err(error) = tokio::task::spawn_blocking(move || otlp.stop()).await {
        tracing::error!(%error, "the last spans could not be sent");
    }
}
