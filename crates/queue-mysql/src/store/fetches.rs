//! Fetches of many callers, in one question.
//!
//! A question costs the database about as much for one task as for a few, and a connection answers one at a time: so whoever
//! comes while others ask waits in a list, and the next who asks asks for all that are in it. Who comes while nobody asks does so
//! at once, for itself. Nobody else's time is needed: a caller that gives up in the middle leaves those it asked for to ask again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use cresset_queue::kit::IntoQueueError as _;
use cresset_queue::kit::remote::ask;
use cresset_queue::{Lookup, QueueError};
use cresset_task::TaskId;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Semaphore, oneshot};

use super::MysqlStore;
use crate::read::{self, Glimpse};

/// So many questions are under way at once: while one is answered, the next is gathered, and one that is slow holds up only half.
const TURNS: usize = 2;

/// A question is for so many tasks at most.
const TASKS_MAX: usize = 64;

type Told = Result<Glimpse, QueueError>;

/// Somebody who waits. What it holds is little, and there are as many as there are callers.
struct Waiting {
    id: TaskId,
    told: oneshot::Sender<Told>,
}

/// Who waits, and who may ask.
pub(super) struct Fetches {
    waiting: Mutex<VecDeque<Waiting>>,
    turns: Semaphore,
}

impl Default for Fetches {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turns: Semaphore::new(TURNS),
        }
    }
}

impl Fetches {
    fn wait(&self, id: TaskId) -> oneshot::Receiver<Told> {
        let (told, mine) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(Waiting { id, told });
        mine
    }

    /// The first of those who still wait.
    fn take(&self) -> Vec<Waiting> {
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
}

impl MysqlStore {
    /// What is known of an id, the inbox left out.
    pub(super) async fn look_up(&self, id: TaskId) -> Result<Lookup, QueueError> {
        match self.glimpse(id).await? {
            Glimpse::Whole(record) => Ok(Lookup::Found(record)),
            Glimpse::Damaged(error) => Err(error.into_queue("fetch")),
            Glimpse::Part => ask!(self, "fetch", |conn| read::fetch(conn, id)),
        }
    }

    async fn glimpse(&self, id: TaskId) -> Told {
        let fetches = &self.inner.fetches;
        loop {
            let mut mine = fetches.wait(id);
            let turn = tokio::select! {
                biased;
                told = &mut mine => match told {
                    Ok(told) => return told,
                    Err(_given_up) => continue,
                },
                turn = fetches.turns.acquire() => turn,
            };
            loop {
                match mine.try_recv() {
                    Ok(told) => return told,
                    Err(TryRecvError::Closed) => break,
                    Err(TryRecvError::Empty) => {}
                }
                let some = fetches.take();
                if some.is_empty() {
                    // Somebody else has taken it, and asks.
                    drop(turn);
                    match mine.await {
                        Ok(told) => return told,
                        Err(_given_up) => break,
                    }
                }
                self.ask_for(some).await;
            }
        }
    }

    async fn ask_for(&self, some: Vec<Waiting>) {
        let ids: Vec<TaskId> = some.iter().map(|one| one.id).collect();
        // Whoever does not wait any more needs no answer.
        match self.glimpses(&ids).await {
            Ok(glimpses) => {
                for (one, glimpse) in some.into_iter().zip(glimpses) {
                    let _gone = one.told.send(Ok(glimpse));
                }
            }
            Err(error) => {
                for one in some {
                    let _gone = one.told.send(Err(error.again()));
                }
            }
        }
    }

    async fn glimpses(&self, ids: &[TaskId]) -> Result<Vec<Glimpse>, QueueError> {
        ask!(self, "fetch", |conn| read::glimpses(conn, ids))
    }
}
