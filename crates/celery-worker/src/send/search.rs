//! Looks for tasks of a model that may be lost although broker and workers are there: again and again, while one is away for long.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::away::Away;
use crate::transport::Transport;

/// Between two looks. What is lost is sent again after 10 to 15 s.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Whoever may have tasks of a model.
#[async_trait]
pub(crate) trait Holders: Send + Sync + 'static {
    /// Those of these tasks that somebody has. `None`: somebody who may have one has not answered.
    async fn hold(&self, ids: &[String]) -> Option<HashSet<String>>;
}

/// The search for one model's tasks.
pub(super) struct Search {
    pub(super) model: String,
    pub(super) queue: String,
    pub(super) away: Arc<Away>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) holders: Arc<dyn Holders>,
}

impl Search {
    /// Looks until nothing is away any more.
    pub(super) async fn run(self, over: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = over.cancelled() => return,
            }
            if self.away.is_waiting() {
                tokio::select! {
                    () = self.look() => {}
                    () = over.cancelled() => return,
                }
            }
        }
    }

    async fn look(&self) {
        // First the queue: what leaves it afterwards is at a worker by the time that is asked.
        let waiting = match self.transport.waiting(&self.queue).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::debug!(model = self.model, %error, "the queue cannot be looked at");
                return;
            }
        };
        let suspects = self.away.suspects(waiting);
        if suspects.is_empty() {
            return;
        }
        let Some(held) = self.holders.hold(&suspects).await else {
            tracing::debug!(
                model = self.model,
                "not every worker says what it has; tasks are looked for again"
            );
            return;
        };
        let count = self.away.judge(&suspects, &held);
        if count > 0 {
            tracing::warn!(
                model = self.model,
                queue = self.queue,
                count,
                "tasks are not in their queue any more, and no worker has them; they are sent again"
            );
        }
    }
}
