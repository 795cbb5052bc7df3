//! Whether the store takes work, as the health report tells it: from the first refusal until something was stored again.
//!
//! Without traffic nothing would tell that the trouble is over, and a probe that stays red keeps the traffic away; so while
//! there is trouble the store is asked, at a steady pace, to store something small.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_queue::{QueueError, QueueErrorKind};
use tokio::sync::Notify;

use crate::shared::Shared;

/// A store in trouble is asked this often.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The trouble that the store is in, if any.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    /// Whether there is trouble: every submit asks, and none should wait for another to know.
    in_trouble: AtomicBool,
    trouble: Mutex<Option<String>>,
    begun: Notify,
}

impl StoreState {
    /// An operation was refused. One line in the log when trouble begins or changes: a full disk refuses thousands.
    pub(crate) fn failed(&self, error: &QueueError) {
        // Closed by us: that is no trouble.
        if error.kind == QueueErrorKind::Closed {
            return;
        }
        let words = words(error);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref() != Some(&words) {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "task store refused an operation"
            );
        }
        *trouble = Some(words);
        self.in_trouble.store(true, Ordering::Release);
        drop(trouble);
        self.begun.notify_one();
    }

    /// Something was stored.
    pub(crate) fn works(&self) {
        if !self.in_trouble.load(Ordering::Acquire) {
            return;
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        self.in_trouble.store(false, Ordering::Release);
        if trouble.take().is_some() {
            tracing::info!("task store works again");
        }
    }

    /// Why the store cannot be written, if it cannot.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The error and what lies below it: "disk full" is in the cause.
fn words(error: &QueueError) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(below) = cause {
        words.push_str(": ");
        words.push_str(&below.to_string());
        cause = below.source();
    }
    words
}

/// Probes while there is trouble, until the engine drains.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            () = shared.store.begun.notified() => {}
        }
        while shared.store.trouble().is_some() {
            tokio::select! {
                biased;
                () = shared.draining.cancelled() => return,
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
            match shared.backend.probe().await {
                Ok(()) => shared.store.works(),
                Err(error) => shared.store.failed(&error),
            }
        }
    }
}
