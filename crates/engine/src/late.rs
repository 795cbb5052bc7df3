//! A prediction that has not ended at its limit, of a caller who takes a task then.
//!
//! ```text
//!   at the limit, by the driver                       by who called, to its end even when they hang up
//!     it waits: it leaves the line  ----------------> submitted as any task, with the same checks: PENDING
//!     it runs:  its item is a task's from now on ---> stored as a task that is born leased: STARTED
//!                    |                                   |                     |
//!                    |                                 born                not stored
//!                    v                                   v                     v
//!               the run's end  -- waits for that --> recorded            thrown away; the caller was late
//! ```
//!
//! So an input is in one pair of hands at any time: nothing of it is run a second time, and whatever was answered with a task
//! is in the store by then. Before its limit a prediction has nothing to do with the store.

use cresset_queue::{NewTask, Submitted};
use cresset_task::{Attempt, Payload, State, TaskId, Timestamp};
use tokio::sync::watch;

use crate::api::{Accepted, EngineError, Submission};
use crate::engine::Engine;
use crate::served::Served;
use crate::submit::task_of;

/// What a caller is told whose limit has come.
#[derive(Debug)]
pub(crate) enum Late {
    /// No instance had it: it is out of the line, and here.
    Waited(Payload, Timestamp),
    /// An instance has it, as this task.
    Runs(Box<Begun>),
}

/// A task that is run already, and is not in the store yet.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) id: TaskId,
    /// When the call came.
    pub(crate) created_at: Timestamp,
    /// When an instance was given it.
    pub(crate) started_at: Timestamp,
    pub(crate) input: Payload,
    /// Dropped, it is never stored.
    pub(crate) birth: Birth,
}

/// The end of who stores it.
#[derive(Debug)]
pub(crate) struct Birth(watch::Sender<bool>);

/// The end of who runs it.
#[derive(Clone, Debug)]
pub(crate) struct Unborn(watch::Receiver<bool>);

/// Both.
pub(crate) fn birth() -> (Birth, Unborn) {
    let (tell, told) = watch::channel(false);
    (Birth(tell), Unborn(told))
}

impl Birth {
    /// The store has it.
    fn done(self) {
        self.0.send_replace(true);
    }
}

impl Unborn {
    /// Nobody will store it: it is nobody's.
    pub(crate) fn is_lost(&self) -> bool {
        // In this order: it may be born in between.
        self.0.has_changed().is_err() && !*self.0.borrow()
    }

    /// The store has it.
    pub(crate) fn is_over(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it to be born or lost; true when it is born.
    pub(crate) async fn born(mut self) -> bool {
        self.0.wait_for(|born| *born).await.is_ok()
    }
}

impl Engine {
    /// A late prediction goes on as the task that this submission makes of it, but for its input.
    pub(crate) async fn go_on(
        &self,
        served: &Served,
        mut submission: Submission,
        late: Late,
    ) -> Result<Accepted, EngineError> {
        match late {
            Late::Waited(input, since) => {
                submission.input = input;
                self.accept(served, submission, None, since).await
            }
            Late::Runs(begun) => self.begin(served, submission, *begun).await,
        }
    }

    /// Stores a task that runs already. It takes no room in the queue, so no bound of it is asked.
    async fn begin(
        &self,
        served: &Served,
        mut submission: Submission,
        begun: Begun,
    ) -> Result<Accepted, EngineError> {
        let shared = &self.inner.shared;
        let client = submission.client.take();
        submission.input = begun.input;
        submission.callback = submission.callback.or_else(|| served.config.webhook.clone());
        self.admit_callback(submission.callback.as_ref())?;
        let task = NewTask {
            id: begun.id,
            started_at: Some(begun.started_at),
            ..task_of(served, submission, client.as_ref(), None, begun.created_at)
        };
        let (model, deadline_at) = (task.model.clone(), task.deadline_at);
        let submitted = shared.backend.submit(task).await;
        let submitted = submitted.inspect_err(|error| shared.store.failed(error))?;
        shared.store.works();
        if submitted != Submitted::New {
            return self.known(model, submitted);
        }
        begun.birth.done();
        if let Some(at) = deadline_at {
            shared.expiries.earlier(at);
        }
        served.metrics.accepted();
        shared.tell(begun.id, &model, State::Started, Attempt(1));
        Ok(Accepted {
            id: begun.id,
            model,
            state: State::Started,
            created_at: begun.created_at,
            durable: shared.backend.capabilities().durable,
            replayed: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_stored_is_born_and_what_is_not_is_lost() {
        let (birth, unborn) = birth();
        assert!(!unborn.is_lost() && !unborn.is_over());
        birth.done();
        assert!(!unborn.is_lost() && unborn.is_over());
        assert!(unborn.born().await);

        let (birth, unborn) = super::birth();
        drop(birth);
        assert!(unborn.is_lost() && !unborn.is_over());
        assert!(!unborn.born().await);
    }
}
