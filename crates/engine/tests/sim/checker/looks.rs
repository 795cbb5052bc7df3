//! What callers see of tasks: never less than before, never another end, and a wait's answer when there is one.

use std::collections::HashMap;
use std::time::Duration;

use cresset_task::{Attempt, Code, Revision, TaskId, TaskRecord};

use super::tasks::Tasks;
use super::{AGAIN, Found, SLACK, Scene};
use crate::history::{CallId, Entry, What};

/// Who follows a task is shown its end within the pauses of a few calls.
const SOON: Duration = Duration::from_secs(4);

#[derive(Debug)]
struct Look {
    id: TaskId,
    began: Duration,
    wait: Option<Duration>,
    attempts: Attempt,
    has_ended: bool,
    /// It is a follower's, who has seen this.
    follows: bool,
    seen: Option<Revision>,
}

#[derive(Debug, Default)]
pub(super) struct Looks {
    open: HashMap<CallId, Look>,
    cancels: HashMap<CallId, TaskId>,
}

/// The tasks that are asked for were accepted: there is none only once it has ended, and was kept for its time.
fn may_be_refused(id: Option<TaskId>, code: Code, tasks: &Tasks) -> bool {
    let ended = || id.is_some_and(|id| tasks.all.get(&id).is_some_and(|task| task.ended.is_some()));
    match code {
        Code::StoreUnavailable => true,
        Code::ExpiredTask | Code::UnknownTask => ended(),
        _ => false,
    }
}

impl Looks {
    /// The server is gone, and so is whoever asked it.
    pub(super) fn crash(&mut self) {
        self.open.clear();
    }

    pub(super) fn see(&mut self, scene: &Scene, entry: &Entry, tasks: &Tasks, found: &mut Found) {
        match &entry.what {
            What::Looking { call, id, wait } => {
                let look = Look::new(scene, *id, *wait, tasks);
                self.open.insert(*call, look);
            }
            What::Looked { call, record } => {
                if let Some(look) = self.open.remove(call) {
                    look.told(record, tasks, found);
                    look.in_time(scene, record, tasks, found);
                }
            }
            What::Following { call, id, seen } => {
                let look = Look {
                    follows: true,
                    seen: *seen,
                    ..Look::new(scene, *id, None, tasks)
                };
                self.open.insert(*call, look);
            }
            What::Followed { call, record } => {
                if let Some(look) = self.open.remove(call) {
                    look.followed(scene, record.as_deref(), tasks, found);
                }
            }
            What::Cancelling { call, id } => {
                self.cancels.insert(*call, *id);
            }
            What::NotShown { call, code } => {
                let id = self.open.remove(call).map(|look| look.id);
                found.unless(may_be_refused(id, *code, tasks), || {
                    format!("a read is answered {code}")
                });
            }
            What::NotCancelled { call, code } => {
                let id = self.cancels.remove(call);
                found.unless(may_be_refused(id, *code, tasks), || {
                    format!("a cancel is answered {code}")
                });
            }
            What::Unanswered { call } => {
                if let Some(look) = self.open.remove(call).filter(|look| look.follows) {
                    look.left(scene, tasks, found);
                }
            }
            _ => {}
        }
    }
}

impl Look {
    fn new(scene: &Scene, id: TaskId, wait: Option<Duration>, tasks: &Tasks) -> Self {
        let known = tasks.all.get(&id);
        Self {
            id,
            began: scene.at,
            wait,
            attempts: known.map_or(Attempt(0), |task| task.record.attempts),
            has_ended: known.is_some_and(|task| task.ended.is_some()),
            follows: false,
            seen: None,
        }
    }

    /// A follower has gone without having been shown anything.
    fn left(&self, scene: &Scene, tasks: &Tasks, found: &mut Found) {
        let Some((task, ended)) = tasks.all.get(&self.id).and_then(|task| Some((task, task.ended?))) else {
            return;
        };
        let is_late = ended.max(self.began).max(scene.trouble + AGAIN) + SOON < scene.at;
        found.unless(!is_late || scene.stops, || {
            format!("who follows {} is not shown its end in time", task.serial)
        });
    }

    /// A follower is shown something new, as soon as it is there and at the latest the end; and nothing more after that.
    fn followed(&self, scene: &Scene, record: Option<&TaskRecord>, tasks: &Tasks, found: &mut Found) {
        let Some(task) = tasks.all.get(&self.id) else {
            return found.add("a task is followed that is not stored");
        };
        let serial = task.serial;
        let Some(record) = record else {
            let saw_the_end = self.seen.is_some_and(|seen| seen >= task.record.revision());
            let may_leave = scene.stops || (task.ended.is_some() && saw_the_end);
            return found.unless(may_leave, || format!("who follows {serial} is not shown its end"));
        };
        self.told(record, tasks, found);
        found.unless(self.seen.is_none_or(|seen| seen < record.revision()), || {
            format!("who follows {serial} is shown again what it has seen")
        });
        if let Some(ended) = task.ended {
            let from = ended.max(self.began).max(scene.trouble);
            found.unless(scene.at <= from + SLACK, || {
                format!(
                    "who follows {serial} is shown its end at {:?} and not at {ended:?}",
                    scene.at
                )
            });
        }
    }

    fn told(&self, record: &TaskRecord, tasks: &Tasks, found: &mut Found) {
        let Some(task) = tasks.all.get(&self.id) else {
            return found.add("a task is shown that is not stored");
        };
        let serial = task.serial;
        found.unless(record.attempts >= self.attempts, || {
            format!("task {serial} is shown with fewer attempts than it had")
        });
        let is_end = record.state.is_terminal();
        found.unless(is_end || !self.has_ended, || {
            format!("task {serial} had ended, and is shown as {}", record.state)
        });
        found.unless(!is_end || *record == task.record, || {
            format!(
                "task {serial} ended as {:?}, and is shown as {record:?}",
                task.record
            )
        });
    }

    fn in_time(&self, scene: &Scene, record: &TaskRecord, tasks: &Tasks, found: &mut Found) {
        let wait = self.wait.unwrap_or_default();
        let ended = tasks.all.get(&self.id).and_then(|task| task.ended);
        let until = match ended.filter(|_| record.state.is_terminal()) {
            Some(ended) => (self.began + wait).min(ended.max(self.began)),
            None => self.began + wait,
        };
        found.unless(scene.at <= until.max(scene.trouble) + SLACK, || {
            format!("a wait is answered at {:?} and not at {until:?}", scene.at)
        });
        let early = !record.state.is_terminal() && scene.at < self.began + wait && !scene.stops;
        found.unless(!early, || {
            format!(
                "a wait for {wait:?} is answered {} after {:?}",
                record.state,
                scene.at - self.began
            )
        });
    }
}
