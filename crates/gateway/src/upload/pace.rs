//! How slowly the other side may go: so many bytes in each span of waiting for it.

use std::time::Duration;

use tokio::time::Instant;

/// A sender under a watch. Only time spent waiting for it counts.
pub(crate) struct Pace {
    span: Duration,
    quota: u64,
    /// What is left of the span, and what came in it.
    left: Duration,
    came: u64,
}

impl Pace {
    /// At least `min_rate` bytes a second, looked at over spans of this length.
    pub(crate) fn new(span: Duration, min_rate: u64) -> Self {
        Self {
            span,
            quota: ((min_rate as f64 * span.as_secs_f64()) as u64).max(1),
            left: span,
            came: 0,
        }
    }

    /// What `future` gives, or `None` once it has taken too long.
    pub(crate) async fn wait<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        // Mostly it is there already, and no clock is looked at.
        if let std::task::Poll::Ready(at_once) = futures_util::poll!(future.as_mut()) {
            return Some(at_once);
        }
        let began = Instant::now();
        let given = tokio::time::timeout(self.left, future).await.ok()?;
        self.left = self.left.saturating_sub(began.elapsed());
        Some(given)
    }

    /// So many bytes came.
    pub(crate) fn came(&mut self, bytes: usize) {
        self.came += bytes as u64;
        if self.came >= self.quota {
            (self.left, self.came) = (self.span, 0);
        }
    }
}
