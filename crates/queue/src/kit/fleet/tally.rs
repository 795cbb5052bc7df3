//! What a group comes to, beside its answers: for the counts in memory, and for the other servers.

use cresset_task::{ModelName, State, TaskId};

use crate::kit::{Change, Fault, model_of};

/// A task that has come to another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub id: TaskId,
    /// Its model.
    pub model: ModelName,
    /// Where it is now.
    pub state: State,
    /// It was leased, by whomever.
    pub was_leased: bool,
}

/// What is known of a group while it is carried out.
#[derive(Debug, Default)]
pub struct Tally {
    /// Which server does it.
    pub me: i64,
    /// Somebody else is on the store, and is to be told.
    pub is_heard: bool,
    /// What it does to the counts.
    pub counts: Change,
    /// Where tasks are now.
    pub moved: Vec<Moved>,
    /// A server has ended: what it looked after, others must.
    pub is_gone: bool,
    /// This one says something else of itself.
    pub is_said: bool,
}

impl Tally {
    /// One of a server's, before anything is done.
    #[must_use]
    pub fn of(me: i64, is_heard: bool) -> Self {
        Self {
            me,
            is_heard,
            ..Self::default()
        }
    }

    /// Notes where a task is now, if anybody is to be told.
    pub fn note(&mut self, id: TaskId, model: &str, (state, was_leased): (State, bool)) -> Result<(), Fault> {
        if self.is_heard {
            self.moved.push(Moved {
                id,
                model: model_of(model)?,
                state,
                was_leased,
            });
        }
        Ok(())
    }
}
