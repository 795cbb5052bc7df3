//! Removes expired records, a chunk at a time, between other work.

use std::sync::Arc;
use std::time::Duration;

use cresset_task::Timestamp;

use crate::shared::Shared;

/// Between two chunks: submits come first.
const BETWEEN_CHUNKS: Duration = Duration::from_millis(20);

/// Purges every `every` until the engine drains.
pub(crate) async fn run(shared: Arc<Shared>, every: Duration) {
    loop {
        let pause = match shared.backend.purge(Timestamp::now()).await {
            Ok(0) => every,
            Ok(removed) => {
                tracing::debug!(removed, "expired tasks removed");
                BETWEEN_CHUNKS
            }
            Err(error) => {
                shared.store.failed(&error);
                every
            }
        };
        shared.feeds.purge(shared.now());
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
