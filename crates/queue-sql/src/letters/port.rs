//! Dead letters as their callers hold them.

use async_trait::async_trait;
use cresset_queue::{DeadLetters, LetterFilter, LetterPage, LetterQuery, NewTask, QueueError, Replayed};
use cresset_task::{DeadLetter, Payload, TaskId};

use super::{Doom, LetterRead};
use crate::op::{Op, Slot};
use crate::reader::Read;
use crate::store::SqliteStore;

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, QueueError> {
        self.read("letters", |reply| {
            Read::Letters(LetterRead::List { query, reply })
        })
        .await
    }

    async fn letter(&self, id: TaskId) -> Result<Option<DeadLetter>, QueueError> {
        self.read("letter", |reply| Read::Letters(LetterRead::One { id, reply }))
            .await
    }

    async fn letter_input(&self, id: TaskId) -> Result<Option<Payload>, QueueError> {
        self.read("letter_input", |reply| {
            Read::Letters(LetterRead::Input { id, reply })
        })
        .await
    }

    async fn replay(&self, letter: TaskId, mut task: NewTask) -> Result<Replayed, QueueError> {
        task.idempotency = None;
        let task = Box::new(self.placed("replay", task).await?);
        let (slot, reply) = Slot::new();
        self.write("replay", Op::Replay { letter, task, slot }, reply)
            .await
    }

    async fn discard(&self, id: TaskId) -> Result<bool, QueueError> {
        self.throw_away(Doom::One(id)).await.map(|count| count > 0)
    }

    async fn discard_all(&self, filter: LetterFilter) -> Result<usize, QueueError> {
        self.throw_away(Doom::Matching(filter)).await
    }
}

impl SqliteStore {
    async fn throw_away(&self, doom: Doom) -> Result<usize, QueueError> {
        let (slot, reply) = Slot::new();
        let doomed = self.write("discard", Op::Discard { doom, slot }, reply).await?;
        Ok(doomed.remove().await)
    }
}
