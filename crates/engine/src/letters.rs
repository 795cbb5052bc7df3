//! Dead letters: shown, run again, thrown away. They are written with the end of their task (see `ends`).

use cresset_queue::{LetterFilter, LetterPage, LetterQuery, Lookup, NewTask, Replayed, Turn};
use cresset_task::{Attempt, DeadLetter, ModelName, Payload, State, TaskId, Timestamp};

use crate::admission::Client;
use crate::api::{EngineError, Replay};
use crate::engine::{Engine, invalid};
use crate::item::check_fit;
use crate::measure;

impl Engine {
    /// A page of the dead letters, the newest first.
    pub async fn dead_letters(&self, query: LetterQuery) -> Result<LetterPage, EngineError> {
        Ok(self.inner.shared.backend.letters(query).await?)
    }

    /// One dead letter.
    pub async fn dead_letter(&self, id: TaskId) -> Result<DeadLetter, EngineError> {
        let found = self.inner.shared.backend.letter(id).await?;
        found.ok_or(EngineError::UnknownLetter(id))
    }

    /// The input of a dead letter.
    pub async fn dead_input(&self, id: TaskId) -> Result<Payload, EngineError> {
        let found = self.inner.shared.backend.letter_input(id).await?;
        found.ok_or(EngineError::UnknownLetter(id))
    }

    /// Makes a new task of a dead letter's input: accepted as any other, and once only. A letter that has been replayed
    /// answers with the task of then; it takes no room in the queue. Dropping the future does not take it back.
    pub async fn replay(&self, id: TaskId, client: Option<&Client>) -> Result<Replay, EngineError> {
        let (engine, client) = (self.clone(), client.cloned());
        self.see_through(async move { engine.run_again(id, client.as_ref()).await })
            .await
    }

    async fn run_again(&self, id: TaskId, client: Option<&Client>) -> Result<Replay, EngineError> {
        let letter = self.dead_letter(id).await?;
        let model = letter.model.clone();
        if let Some(task) = letter.replayed_as {
            return self.replayed(id, task, model).await;
        }
        let served = self.open(model.as_str())?;
        let input = self.dead_input(id).await?;
        // The model may have been changed since.
        check_fit(&input, &served.config).map_err(|why| invalid(&why))?;
        self.admit_callback(served.config.webhook.as_ref())?;
        let room = self.admit(&served, input.weight() as u64, client)?;
        let (fresh, created_at) = (TaskId::fresh(), Timestamp::now());
        let task = NewTask {
            id: fresh,
            priority: letter.priority,
            turn: Turn::of(
                created_at,
                letter.priority,
                measure::step(&served.config.batching),
            ),
            metadata: letter.metadata,
            client: client.map(|client| client.key().clone()),
            retry: letter.retry,
            tenant: letter.tenant,
            callback: served.config.webhook.clone(),
            ..NewTask::new(model.clone(), input, created_at)
        };
        let shared = &self.inner.shared;
        let replayed = shared
            .backend
            .replay(id, task)
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        drop(room); // the store has counted it
        shared.store.works();
        match replayed {
            Replayed::Unknown => Err(EngineError::UnknownLetter(id)),
            Replayed::Before(task) => self.replayed(id, task, model).await,
            Replayed::New => {
                served.metrics.accepted();
                shared.tell(fresh, &model, State::Pending, Attempt(0));
                served.wake.notify_one();
                Ok(Replay {
                    letter: id,
                    id: fresh,
                    model,
                    state: Some(State::Pending),
                    created_at: Some(created_at),
                    durable: shared.backend.capabilities().durable,
                    replayed: false,
                })
            }
        }
    }

    /// The answer for a letter that had been replayed as this task.
    async fn replayed(&self, letter: TaskId, task: TaskId, model: ModelName) -> Result<Replay, EngineError> {
        let backend = &self.inner.shared.backend;
        let record = match backend.fetch(task).await? {
            Lookup::Found(record) => Some(record),
            Lookup::Expired | Lookup::Unknown => None,
        };
        Ok(Replay {
            letter,
            id: task,
            model,
            state: record.as_ref().map(|record| record.state),
            created_at: record.as_ref().map(|record| record.created_at),
            durable: backend.capabilities().durable,
            replayed: true,
        })
    }

    /// Throws one dead letter away.
    pub async fn purge_dead(&self, id: TaskId) -> Result<(), EngineError> {
        if self.inner.shared.backend.discard(id).await? {
            Ok(())
        } else {
            Err(EngineError::UnknownLetter(id))
        }
    }

    /// Throws away all dead letters that match; says how many.
    pub async fn purge_dead_all(&self, filter: LetterFilter) -> Result<u64, EngineError> {
        let mut purged = 0;
        loop {
            match self.inner.shared.backend.discard_all(filter.clone()).await? {
                0 => return Ok(purged),
                count => purged += count as u64,
            }
        }
    }
}
