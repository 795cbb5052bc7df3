//! What every handler shares.

use std::ops::Deref;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use cresset_engine::{Engine, EngineError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::GatewayOptions;
use crate::problem::Problem;
use crate::upload::{Budget, Spool};

/// JSON of this many bytes is read or written on a blocking thread: it takes about a millisecond, as long as one
/// request may hold up the others of its runtime thread.
const OFFLOAD_BYTES: usize = 256 << 10;

/// This part of the memory for bodies is for the buffers of those that are spooled.
const BUFFERS_SHARE: usize = 4;

/// The shared state; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// See [`App`].
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) options: GatewayOptions,
    /// Cancelled when the door closes: long polls answer what they know.
    pub(crate) stop: CancellationToken,
    /// Owns what outlives a handler: the rests of refused uploads, and codec work on blocking threads.
    pub(crate) tracker: TaskTracker,
    /// What browsers are told who come in TLS.
    pub(crate) hsts: Option<HeaderValue>,
    /// Memory of request bodies.
    pub(crate) budget: Arc<Budget>,
    /// Memory of those on their way into files.
    pub(crate) buffers: Arc<Budget>,
    /// Memory of large answers.
    pub(crate) answers: Arc<Budget>,
    /// Where large ones are while they come; `None` is in memory too.
    pub(crate) spool: Option<Spool>,
    began: Instant,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    pub(crate) fn new(
        engine: Engine,
        options: GatewayOptions,
        stop: CancellationToken,
        tracker: TaskTracker,
        spool: Option<Spool>,
    ) -> Self {
        // Apart, so that uploads can go on while the memory for whole bodies is spoken for.
        let buffers = match &spool {
            Some(_) => options.max_inflight_bytes / BUFFERS_SHARE,
            None => 0,
        };
        let bodies = (options.max_inflight_bytes - buffers).max(options.max_body_bytes);
        let (request, answer) = (
            "limits.max_inflight_body_bytes",
            "limits.max_inflight_answer_bytes",
        );
        let answers = Budget::new(
            options.max_inflight_answer_bytes,
            answer,
            "answers that are being read",
        );
        let hsts = options.hsts.map(|age| format!("max-age={}", age.as_secs()));
        Self(Arc::new(Shared {
            engine,
            hsts: hsts.and_then(|text| HeaderValue::try_from(text).ok()),
            options,
            stop,
            tracker,
            budget: Arc::new(Budget::new(bodies, request, "request bodies")),
            buffers: Arc::new(Budget::new(buffers, request, "request bodies")),
            answers: Arc::new(answers),
            spool,
            began: Instant::now(),
        }))
    }

    /// How long the door has been there: a clock that only goes forward.
    pub(crate) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Runs codec work over `bytes` bytes: here when it is little, on a blocking thread when it is much.
    pub(crate) async fn codec<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if bytes < OFFLOAD_BYTES {
            return Ok(work());
        }
        self.blocking(work).await
    }

    /// Runs work on a blocking thread.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        match self.tracker.spawn_blocking(work).await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The only other way: the runtime shuts down before the work began.
            Err(_) => Err(EngineError::ShuttingDown.into()),
        }
    }
}
