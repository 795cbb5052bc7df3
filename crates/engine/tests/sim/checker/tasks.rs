//! Accepted means kept; one end, once, and that of its own input; nothing runs that should not.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cresset_engine::Stopped;
use cresset_task::{Code, Outcome, Payload, State, TaskId, TaskRecord};

use super::times::Times;
use super::{Found, SLACK, Scene, short};
use crate::history::{CallId, Entry, May, Order, Serial, What, serial_of};

/// A task as the store has it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) serial: Serial,
    pub(super) record: TaskRecord,
    /// A server found it when it started: it may have been refused, and be there all the same.
    found: bool,
    /// When it ended.
    pub(super) ended: Option<Duration>,
    /// When a caller was told that it is cancelled.
    pub(super) cancelled: Option<Duration>,
    pub(super) times: Times,
}

/// A submit, over all its calls.
#[derive(Debug)]
struct Submit {
    order: Order,
    /// It is a prediction, which runs before it becomes a task, and mostly becomes none.
    is_prediction: bool,
    /// The task that callers were told of.
    accepted: Option<TaskId>,
    /// Calls that have not been refused, and how often the server had died when the last one that was began.
    open: u32,
    refused_after: u32,
}

#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub(super) all: BTreeMap<TaskId, Task>,
    submits: HashMap<Serial, Submit>,
    calls: HashMap<CallId, Serial>,
    by_serial: HashMap<Serial, Vec<TaskId>>,
    replaying: Vec<TaskId>,
}

impl Tasks {
    pub(super) fn is_replayed(&self, serial: Serial) -> bool {
        self.by_serial.get(&serial).is_some_and(|ids| ids.len() > 1)
    }

    pub(super) fn see(&mut self, scene: &Scene, entry: &Entry, found: &mut Found) {
        for task in self.all.values_mut().filter(|task| task.ended.is_none()) {
            task.times.see(scene);
        }
        match &entry.what {
            What::Submitting { call, order } => self.begins(*call, order, false),
            What::Predicting {
                call,
                goes_on: Some(order),
                ..
            } => self.begins(*call, order, true),
            What::Accepted {
                serial, id, state, ..
            } => self.accepted(*serial, *id, *state, found),
            What::Refused { serial, code, .. } => {
                found.unless(crate::callers::is_passing(*code), || {
                    format!("submit {serial} is refused with {code}")
                });
                self.is_none(scene, *serial);
            }
            What::Predicted { serial, .. } => self.is_none(scene, *serial),
            What::Replaying { letter } => self.replaying.push(*letter),
            What::Changed(record) => self.changed(scene, record, found),
            What::Cancelled {
                id, stopped, state, ..
            } => self.cancelled(scene, *id, *stopped, *state, found),
            What::Took { serials, .. } => {
                for serial in serials {
                    self.took(scene, *serial, found);
                }
            }
            _ => {}
        }
    }

    fn begins(&mut self, call: CallId, order: &Order, is_prediction: bool) {
        self.calls.insert(call, order.serial);
        let submit = self.submits.entry(order.serial).or_insert_with(|| Submit {
            order: order.clone(),
            is_prediction,
            accepted: None,
            open: 0,
            refused_after: 0,
        });
        submit.open += 1;
    }

    /// It was refused, or a prediction was answered: no task comes of it any more.
    fn is_none(&mut self, scene: &Scene, serial: Serial) {
        if let Some(submit) = self.submits.get_mut(&serial) {
            submit.open -= 1;
            submit.refused_after = scene.crashes;
        }
    }

    /// Whether an input is a task's.
    pub(super) fn has(&self, serial: Serial) -> bool {
        self.by_serial.contains_key(&serial)
    }

    fn accepted(&mut self, serial: Serial, id: TaskId, state: State, found: &mut Found) {
        let Some(submit) = self.submits.get_mut(&serial) else {
            return found.add(format!("submit {serial} is accepted, and was never made"));
        };
        let before = submit.accepted.replace(id);
        let is_over = |before| self.all.get(&before).is_some_and(|task| task.ended.is_some());
        // A key is free again once its task has been purged.
        found.unless(
            before.is_none_or(|before| before == id || is_over(before)),
            || format!("submit {serial} made two tasks"),
        );
        match self.all.get(&id) {
            None => found.add(format!("task {} is accepted and not stored", short(id))),
            Some(task) => {
                found.unless(task.serial == serial, || {
                    format!("submit {serial} is told of the task of {}", task.serial)
                });
                found.unless(!state.is_terminal() || task.record.state == state, || {
                    format!("submit {serial} is told {state}, and it is {}", task.record.state)
                });
            }
        }
    }

    fn changed(&mut self, scene: &Scene, record: &TaskRecord, found: &mut Found) {
        let Some(serial) = serial_of(record) else {
            return found.add("a task is stored that nobody submitted");
        };
        match self.all.get_mut(&record.id) {
            None => self.appeared(scene, serial, record, found),
            Some(task) => task.moved(scene, record, found),
        }
        if let Some(submit) = self.submits.get(&serial)
            && record.state.is_terminal()
        {
            judge_end(serial, record, submit.order.may, found);
        }
    }

    fn appeared(&mut self, scene: &Scene, serial: Serial, record: &TaskRecord, found: &mut Found) {
        match (self.submits.get(&serial), record.replay_of) {
            (None, _) => found.add(format!("task {serial} is stored, and nobody submitted it")),
            (Some(_), Some(letter)) => found.unless(self.replaying.contains(&letter), || {
                format!("a letter of {serial} is run again, and nobody asked for it")
            }),
            (Some(submit), None) => {
                let before = self.by_serial.get(&serial).into_iter().flatten();
                let mut before = before.filter_map(|id| self.all.get(id));
                let is_over = |task: &Task| task.ended.is_some() || task.record.replay_of.is_some();
                found.unless(before.all(is_over), || format!("submit {serial} made two tasks"));
                let may_be = submit.open > 0 || scene.crashes > submit.refused_after;
                found.unless(may_be, || format!("submit {serial} was refused, and is stored"));
                let order = &submit.order;
                let until = [order.expires_at, order.deadline_at].into_iter().flatten().min();
                let as_asked = (order.due_at, until, order.deadline_at);
                let as_kept = (record.due_at, record.expires_at, record.deadline_at);
                found.unless(as_asked == as_kept, || {
                    format!("submit {serial} asked for {as_asked:?}, and {as_kept:?} is kept")
                });
            }
        }
        self.is_let_in(scene, serial, record, found);
        self.by_serial.entry(serial).or_default().push(record.id);
        let task = Task {
            serial,
            record: record.clone(),
            found: scene.at == scene.life,
            ended: None,
            cancelled: None,
            times: Times::of(scene, record),
        };
        self.all.insert(record.id, task);
    }

    /// Whether there was room for one more. Those that come back to the queue were let in before, and are not refused.
    fn is_let_in(&self, scene: &Scene, serial: Serial, record: &TaskRecord, found: &mut Found) {
        let Some(most) = self.submits.get(&serial).map(|submit| submit.order.queue_max) else {
            return;
        };
        // One that runs already takes no room in the queue.
        if scene.at == scene.life || record.state == State::Started {
            return;
        }
        let is_new = |task: &&Task| {
            let is_queued = task.record.state == State::Pending && task.record.attempts.0 == 0;
            is_queued && task.record.model == record.model && !task.found
        };
        let queued = self.all.values().filter(is_new).count() as u64 + 1;
        found.unless(queued <= most, || {
            format!("{queued} tasks are queued, and {most} may be")
        });
    }

    fn cancelled(&mut self, scene: &Scene, id: TaskId, stopped: Stopped, state: State, found: &mut Found) {
        let Some(task) = self.all.get_mut(&id) else {
            return found.add(format!("{} is cancelled, and is not there", short(id)));
        };
        found.unless(task.record.state == state, || {
            format!(
                "a cancel of {} is told {state}, and it is {}",
                task.serial, task.record.state
            )
        });
        found.unless(state.is_terminal(), || {
            format!("a cancelled task {} is {state}", task.serial)
        });
        if stopped != Stopped::TooLate {
            task.cancelled = Some(scene.at);
        }
    }

    /// An instance is given this input: a prediction's, or that of a task, which must be leased.
    fn took(&mut self, scene: &Scene, serial: Serial, found: &mut Found) {
        let Some(ids) = self.by_serial.get(&serial) else {
            let submit = self.submits.get(&serial);
            found.unless(submit.is_none_or(|submit| submit.is_prediction), || {
                format!("input {serial} runs before it is stored")
            });
            return;
        };
        let runs = |id: &TaskId| self.all.get(id).is_some_and(|task| task.may_run(scene));
        found.unless(ids.iter().any(runs), || {
            let states: Vec<_> = ids
                .iter()
                .filter_map(|id| self.all.get(id))
                .map(|task| task.record.state)
                .collect();
            format!("input {serial} runs, and its task is {states:?}")
        });
        for task in ids.iter().filter(|id| runs(id)).filter_map(|id| self.all.get(id)) {
            task.times.runs(scene, serial, found);
        }
    }

    pub(super) fn end(&self, found: &mut Found) {
        for task in self.all.values() {
            found.unless(task.ended.is_some(), || {
                format!("task {} has not ended, it is {}", task.serial, task.record.state)
            });
        }
        for (serial, submit) in &self.submits {
            let lost = submit.accepted.is_some_and(|id| !self.all.contains_key(&id));
            found.unless(!lost, || format!("submit {serial} was accepted and is lost"));
        }
    }
}

impl Task {
    /// Whether it may be given to an instance: it is leased, or was revoked a moment ago and nobody knows yet.
    fn may_run(&self, scene: &Scene) -> bool {
        match self.record.state {
            State::Started => true,
            State::Revoked => {
                let just_now = self.ended.is_some_and(|ended| ended + SLACK >= scene.at);
                just_now && self.cancelled.is_none() && self.record.attempts.0 > 0
            }
            _ => false,
        }
    }

    fn moved(&mut self, scene: &Scene, record: &TaskRecord, found: &mut Found) {
        let serial = self.serial;
        let was = &self.record;
        found.unless(self.ended.is_none(), || {
            format!("task {serial} was {}, and is {} now", was.state, record.state)
        });
        found.unless(
            record.attempts >= was.attempts && record.retries >= was.retries,
            || {
                format!(
                    "task {serial} had {:?} attempts and has {:?}",
                    was.attempts, record.attempts
                )
            },
        );
        if record.state == State::Started {
            self.times.starts(scene, serial, was, found);
        }
        if record.state.is_terminal() {
            self.ended = Some(scene.at);
            self.times.ends(scene, serial, record, found);
        }
        self.times.moves(scene, record);
        self.record = record.clone();
    }
}

/// Whether a task may end so.
fn judge_end(serial: Serial, record: &TaskRecord, may: May, found: &mut Found) {
    let told = |what: &str| format!("task {serial} {what}: {:?}", record.outcome);
    match &record.outcome {
        Some(Outcome::Success(output)) => {
            let own = matches!(output, Payload::Json(text) if text.as_ref() == serial.to_string().as_bytes());
            found.unless(own, || told("has the result of another"));
            found.unless(may.succeed, || told("cannot succeed"));
        }
        Some(Outcome::Failure(failure)) => {
            let dies = matches!(failure.code, Code::InstanceDied | Code::TimeLimit);
            let may_be = (dies && may.die) || (failure.code == Code::ModelError && may.fail);
            found.unless(may_be, || told("should not fail so"));
        }
        Some(Outcome::Revoked { reason }) => {
            let meant = match reason.as_str() {
                reason if reason.contains("expired") => record.expires_at.is_some(),
                reason if reason.contains("deadline") => record.deadline_at.is_some(),
                _ => true,
            };
            found.unless(meant, || told("has no such time"));
        }
        None => found.add(told("has no outcome")),
    }
}
