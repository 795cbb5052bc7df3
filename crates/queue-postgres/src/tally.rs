//! What a group comes to, beside its answers: for the counts in memory, and for the other servers.

use cresset_queue::kit::Change;
use cresset_task::{ModelName, State, TaskId};

use crate::error::StoreError;

/// A task that has come to another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) id: TaskId,
    pub(crate) model: ModelName,
    pub(crate) state: State,
    /// It was leased, by whomever.
    pub(crate) was_leased: bool,
}

/// What is known of a group while it is carried out.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Which server does it.
    pub(crate) me: i64,
    /// Somebody else is on the store, and is to be told.
    pub(crate) is_heard: bool,
    pub(crate) counts: Change,
    pub(crate) moved: Vec<Moved>,
    /// A server has ended: what it looked after, others must.
    pub(crate) is_gone: bool,
    /// This one says something else of itself.
    pub(crate) is_said: bool,
}

impl Tally {
    pub(crate) fn of(me: i64, is_heard: bool) -> Self {
        Self {
            me,
            is_heard,
            ..Self::default()
        }
    }

    /// Notes where a task is now, if anybody is to be told.
    pub(crate) fn note(
        &mut self,
        id: TaskId,
        model: &str,
        (state, was_leased): (State, bool),
    ) -> Result<(), StoreError> {
        if self.is_heard {
            self.moved.push(Moved {
                id,
                model: cresset_queue::kit::model_of(model)?,
                state,
                was_leased,
            });
        }
        Ok(())
    }
}
