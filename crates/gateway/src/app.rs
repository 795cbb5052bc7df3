//! What every handler shares.

use std::ops::Deref;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cresset_engine::{Engine, EngineError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::GatewayOptions;
use crate::problem::Problem;

/// JSON of this many bytes is read or written on a blocking thread: it takes about a millisecond, as long as one
/// request may hold up the others of its runtime thread.
const OFFLOAD_BYTES: usize = 256 << 10;

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
    /// Bytes of request bodies held now.
    pub(crate) inflight: Arc<AtomicUsize>,
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
    ) -> Self {
        Self(Arc::new(Shared {
            engine,
            options,
            stop,
            tracker,
            inflight: Arc::default(),
        }))
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
        match self.tracker.spawn_blocking(work).await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The only other way: the runtime shuts down before the work began.
            Err(_) => Err(EngineError::ShuttingDown.into()),
        }
    }
}
