//! What becomes of leased tasks whose run is over: an outcome for the store, or another try later.

use std::borrow::Cow;

use cresset_config::ModelConfig;
use cresset_queue::{Completion, Retry};
use cresset_task::{Code, Outcome, Redelivery, Timestamp};

use crate::item::Leased;
use crate::recorder::End;
use crate::retry;
use crate::verdict::Resolution;

/// Ends on their way to the store.
#[derive(Default)]
pub(crate) struct TaskEnds {
    pub(crate) done: Vec<End>,
    pub(crate) again: Vec<Retry>,
}

impl TaskEnds {
    /// A task whose run ended `at` this instant, after so many deliveries under its lease. True when it is tried again.
    pub(crate) fn add(
        &mut self,
        task: Leased,
        deliveries: u32,
        mut history: Vec<Redelivery>,
        resolution: Resolution,
        config: &ModelConfig,
        at: Timestamp,
    ) -> bool {
        let Leased { id, attempt, .. } = task;
        let redeliveries = deliveries.saturating_sub(1);
        let cached = matches!(resolution, Resolution::Kept(_));
        let (outcome, evidence) = match resolution {
            Resolution::Done(output) | Resolution::Kept(output) => (Outcome::Success(output), None),
            Resolution::Dead(failure, evidence) => (Outcome::Failure(failure), Some(evidence)),
            // Whoever ran it for us was told by others to leave it.
            Resolution::Failed(failure) if failure.code == Code::Revoked => {
                let reason = failure.message;
                (Outcome::Revoked { reason }, None)
            }
            Resolution::Failed(failure) => {
                let policy = match &task.retry {
                    Some(terms) => Cow::Owned(config.retry.with(terms)),
                    None => Cow::Borrowed(&config.retry),
                };
                if let Some(wait) =
                    retry::wait(&policy, task.retries, &failure, retry::dice(id, task.retries))
                {
                    history.push(Redelivery {
                        attempt: task.delivery(deliveries),
                        at,
                        reason: format!("{}: {}", failure.type_, failure.message),
                    });
                    self.again.push(Retry {
                        id,
                        attempt,
                        redeliveries,
                        history,
                        due_at: at.plus(wait),
                    });
                    return true;
                }
                (Outcome::Failure(failure), None)
            }
        };
        let completion = Completion {
            id,
            attempt,
            redeliveries,
            history,
            outcome,
            version: Some(config.version.clone()),
            finished_at: at,
            evidence,
            cached,
        };
        self.done.push(End {
            completion,
            created_at: task.created_at,
            started_at: task.leased_at,
        });
        false
    }
}
