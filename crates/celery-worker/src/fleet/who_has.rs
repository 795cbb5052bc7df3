//! Who has which tasks: what a gateway asks everybody, and what workers answer. No I/O: whoever calls carries the words.
//!
//! A broker does not tell who holds what. So a task of which nothing is heard is asked for, and only when everybody has answered who could have
//! it, and nobody has it, may it be taken for lost.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::word::{Has, Who};
use crate::held::Held;

/// Who is there has answered by then.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// What somebody asks for beyond that is not looked for: gateways ask for less.
const SOUGHT_MAX: usize = 4096;

/// What the doors of a worker hold, all of them.
#[derive(Debug, Default)]
pub(crate) struct Holding(Mutex<Vec<Weak<Held>>>);

impl Holding {
    /// A door opens. What it holds is forgotten with it.
    pub(super) fn add(&self, held: &Arc<Held>) {
        let mut doors = lock(&self.0);
        doors.retain(|door| door.strong_count() > 0);
        doors.push(Arc::downgrade(held));
    }

    /// Those of these tasks that are held.
    pub(super) fn of(&self, ids: &[String]) -> Vec<String> {
        let sought: HashSet<&str> = ids.iter().take(SOUGHT_MAX).map(String::as_str).collect();
        let doors = lock(&self.0);
        let held = doors.iter().filter_map(Weak::upgrade);
        held.flat_map(|held| held.among(&sought)).collect()
    }
}

/// What was asked and is not answered by all.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<HashMap<Uuid, Open>>);

#[derive(Debug, Default)]
struct Open {
    /// Those who have not answered.
    missing: BTreeSet<Who>,
    found: HashSet<String>,
    /// Nobody is missing any more.
    complete: CancellationToken,
}

/// A question that is asked, until it is dropped.
pub(super) struct Asked<'a> {
    pub(super) id: Uuid,
    complete: CancellationToken,
    questions: &'a Questions,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Questions {
    /// Asks these servers, at least one.
    pub(super) fn ask(&self, servers: BTreeSet<Who>) -> Asked<'_> {
        let (id, complete) = (Uuid::now_v7(), CancellationToken::new());
        let open = Open {
            missing: servers,
            found: HashSet::new(),
            complete: complete.clone(),
        };
        lock(&self.0).insert(id, open);
        Asked {
            id,
            complete,
            questions: self,
        }
    }

    /// Somebody has answered; maybe somebody else's question.
    pub(super) fn answered(&self, has: Has) {
        if let Some(open) = lock(&self.0).get_mut(&has.question) {
            open.found.extend(has.ids);
            open.missing.remove(&has.who);
            if open.missing.is_empty() {
                open.complete.cancel();
            }
        }
    }
}

impl Asked<'_> {
    /// What somebody has, when everybody has answered. `None`: somebody has not.
    pub(super) async fn answers(self) -> Option<HashSet<String>> {
        let complete = tokio::time::timeout(ANSWERED_WITHIN, self.complete.cancelled()).await;
        complete.ok()?;
        let mut questions = lock(&self.questions.0);
        questions
            .get_mut(&self.id)
            .map(|open| std::mem::take(&mut open.found))
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.questions.0).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(since: i64) -> Who {
        (since, "h".into(), 1)
    }

    fn has(question: Uuid, since: i64, ids: &[&str]) -> Has {
        Has {
            question,
            who: who(since),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_has_is_known_when_everybody_has_answered() {
        let questions = Questions::default();
        let asked = questions.ask([who(1), who(2)].into());
        questions.answered(has(asked.id, 1, &["a"]));
        questions.answered(has(Uuid::nil(), 2, &["x"]));
        questions.answered(has(asked.id, 3, &["b"]));
        questions.answered(has(asked.id, 2, &[]));
        let found = asked.answers().await.unwrap();
        assert_eq!(found, ["a".to_owned(), "b".to_owned()].into());
        assert!(lock(&questions.0).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_known_while_somebody_says_nothing() {
        let questions = Questions::default();
        let asked = questions.ask([who(1), who(2)].into());
        questions.answered(has(asked.id, 1, &["a"]));
        assert_eq!(asked.answers().await, None);
        assert!(lock(&questions.0).is_empty());
    }
}
