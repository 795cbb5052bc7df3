//! Spans on their way to a collector: OpenTelemetry's own crates behind the port [`Spans`](cresset_task::Spans), set up by the variables
//! that OpenTelemetry gives every program (`OTEL_EXPORTER_OTLP_ENDPOINT` and its like).
//!
//! Without an endpoint there is nothing of it. It must hold nobody up: what does not fit into its queue is dropped and counted, and a
//! collector that is down or hangs costs spans, and nothing else. It decides what is recorded, and knows nothing of tasks.

mod exporter;
mod post;
mod sampling;
mod settings;
mod spans;

pub use settings::{BadSetting, Settings};
pub use spans::{Otlp, STOP_GRACE, StartError};
