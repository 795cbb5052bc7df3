//! What instances hold: nothing twice at once, and nothing that nobody wants without their being told.

use std::collections::HashMap;
use std::time::Duration;

use cresset_engine::Stopped;
use cresset_task::BatchId;

use super::tasks::Tasks;
use super::{Found, Scene};
use crate::history::{CallId, Entry, Serial, What};

/// Looks at all that is under way are that far apart, at most.
const SOON: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Item {
    serial: Serial,
    /// Since when nobody has wanted it, so that its instance should be told.
    unwanted: Option<Duration>,
    told: bool,
}

#[derive(Debug, Default)]
pub(super) struct Batches {
    held: HashMap<(usize, BatchId), Vec<Item>>,
    /// Their inputs, and when those become tasks that do.
    predictions: HashMap<CallId, (Serial, Option<Duration>)>,
}

impl Batches {
    /// All instances have gone with their server.
    pub(super) fn crash(&mut self) {
        self.held.clear();
        self.predictions.clear();
    }

    pub(super) fn see(&mut self, scene: &Scene, entry: &Entry, tasks: &Tasks, found: &mut Found) {
        match &entry.what {
            What::Took {
                model,
                batch,
                serials,
                ..
            } => self.took((*model, *batch), serials, tasks, found),
            What::Left { model, batch } => match self.held.remove(&(*model, *batch)) {
                Some(items) => items.iter().for_each(|item| item.leaves(scene, found)),
                None => found.add(format!("batch {batch} ends, and was not given")),
            },
            What::Told { model, batch, serial } => {
                let items = self.held.get_mut(&(*model, *batch)).into_iter().flatten();
                for item in items.filter(|item| item.serial == *serial) {
                    item.told = true;
                }
            }
            What::Cancelled {
                id,
                stopped: Stopped::During,
                ..
            } => {
                let serial = tasks.all.get(id).map(|task| task.serial);
                // One of several copies of an input may be wanted still.
                let only = serial.filter(|serial| !tasks.is_replayed(*serial));
                self.unwanted(scene, only);
            }
            What::Predicting {
                call,
                serial,
                limit,
                goes_on,
                ..
            } => {
                let until = goes_on.as_ref().map(|_| scene.at + *limit);
                self.predictions.insert(*call, (*serial, until));
            }
            What::Unanswered { call } => {
                let hung_up = self.predictions.get(call).copied();
                // At its limit it becomes a task, whoever hangs up.
                let hung_up = hung_up.filter(|(_, until)| until.is_none_or(|until| scene.at + SOON < until));
                self.unwanted(scene, hung_up.map(|(serial, _)| serial));
            }
            _ => {}
        }
    }

    fn took(&mut self, batch: (usize, BatchId), serials: &[Serial], tasks: &Tasks, found: &mut Found) {
        for (at, serial) in serials.iter().enumerate() {
            let elsewhere = self.held.values().flatten().any(|item| item.serial == *serial);
            let twice = elsewhere || serials[..at].contains(serial);
            // A letter's input may run as its own task and as a replay of it.
            found.unless(!twice || tasks.is_replayed(*serial), || {
                format!("input {serial} is in two batches at once")
            });
        }
        let item = |serial: &Serial| Item {
            serial: *serial,
            unwanted: None,
            told: false,
        };
        self.held.insert(batch, serials.iter().map(item).collect());
    }

    fn unwanted(&mut self, scene: &Scene, serial: Option<Serial>) {
        let items = self.held.values_mut().flatten();
        for item in items.filter(|item| Some(item.serial) == serial) {
            item.unwanted.get_or_insert(scene.at);
        }
    }
}

impl Item {
    fn leaves(&self, scene: &Scene, found: &mut Found) {
        let late = self.unwanted.is_some_and(|since| since + SOON < scene.at);
        found.unless(self.told || !late, || {
            format!("nobody wants input {}, and its instance is not told", self.serial)
        });
    }
}
