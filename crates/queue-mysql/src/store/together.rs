//! What many callers ask at a time, each of one task, in one question.
//!
//! A question costs the database about as much for one task as for a few, and a connection answers one at a time: so whoever
//! comes while others ask waits in a list, and the next who asks does so for all that are in it. Who comes while nobody asks does
//! so at once, for itself. Nobody else's time is needed: a caller that gives up in the middle leaves those it asked for to ask
//! again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use cresset_queue::QueueError;
use cresset_queue::kit::remote::ask;
use cresset_task::TaskId;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Semaphore, oneshot};

use super::MysqlStore;
use crate::read::{self, Glimpse};

/// So many questions of a kind are under way at once: while one is answered, the next is gathered, and one that is slow holds up
/// only half.
const TURNS: usize = 2;

/// A question is for so many tasks at most.
const TASKS_MAX: usize = 64;

/// A question that can be asked for many.
pub(super) trait Question {
    /// What it says of one.
    type Answer: Send;

    /// The answers in the order of the tasks.
    fn ask(
        store: &MysqlStore,
        ids: &[TaskId],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, QueueError>> + Send;
}

/// What a task is.
pub(super) struct Fetch;

impl Question for Fetch {
    type Answer = Glimpse;

    async fn ask(store: &MysqlStore, ids: &[TaskId]) -> Result<Vec<Glimpse>, QueueError> {
        ask!(store, "fetch", |conn| read::glimpses(conn, ids))
    }
}

/// How many go before it.
pub(super) struct Position;

impl Question for Position {
    type Answer = Option<u64>;

    async fn ask(store: &MysqlStore, ids: &[TaskId]) -> Result<Vec<Option<u64>>, QueueError> {
        ask!(store, "position", |conn| read::positions(conn, ids))
    }
}

type Told<Q> = Result<<Q as Question>::Answer, QueueError>;

/// Somebody who waits. What it holds is little, and there are as many as there are callers.
struct Waiting<Q: Question> {
    id: TaskId,
    told: oneshot::Sender<Told<Q>>,
}

/// Who waits, and who may ask.
pub(super) struct Together<Q: Question> {
    waiting: Mutex<VecDeque<Waiting<Q>>>,
    turns: Semaphore,
}

impl<Q: Question> Default for Together<Q> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turns: Semaphore::new(TURNS),
        }
    }
}

impl<Q: Question> Together<Q> {
    fn wait(&self, id: TaskId) -> oneshot::Receiver<Told<Q>> {
        let (told, mine) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(Waiting { id, told });
        mine
    }

    /// The first of those who still wait.
    fn take(&self) -> Vec<Waiting<Q>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut some = Vec::new();
        while some.len() < TASKS_MAX
            && let Some(one) = waiting.pop_front()
        {
            if !one.told.is_closed() {
                some.push(one);
            }
        }
        some
    }

    /// What is answered of this task.
    pub(super) async fn ask(&self, store: &MysqlStore, id: TaskId) -> Told<Q> {
        loop {
            let mut mine = self.wait(id);
            let turn = tokio::select! {
                biased;
                told = &mut mine => match told {
                    Ok(told) => return told,
                    Err(_given_up) => continue,
                },
                turn = self.turns.acquire() => turn,
            };
            loop {
                match mine.try_recv() {
                    Ok(told) => return told,
                    Err(TryRecvError::Closed) => break,
                    Err(TryRecvError::Empty) => {}
                }
                let some = self.take();
                if some.is_empty() {
                    // Somebody else has taken it, and asks.
                    drop(turn);
                    match mine.await {
                        Ok(told) => return told,
                        Err(_given_up) => break,
                    }
                }
                Self::ask_for(store, some).await;
            }
        }
    }

    async fn ask_for(store: &MysqlStore, some: Vec<Waiting<Q>>) {
        let ids: Vec<TaskId> = some.iter().map(|one| one.id).collect();
        // Whoever does not wait any more needs no answer.
        match Q::ask(store, &ids).await {
            Ok(answers) => {
                for (one, answer) in some.into_iter().zip(answers) {
                    let _gone = one.told.send(Ok(answer));
                }
            }
            Err(error) => {
                for one in some {
                    let _gone = one.told.send(Err(error.again()));
                }
            }
        }
    }
}
