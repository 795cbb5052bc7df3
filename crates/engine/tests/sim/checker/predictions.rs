//! Predictions: answered once, in time, with their own result; and nobody computes for one that has been given up.

use std::collections::HashMap;
use std::time::Duration;

use cresset_task::Code;

use super::tasks::Tasks;
use super::{Found, SLACK, Scene};
use crate::callers::is_passing;
use crate::history::{CallId, Entry, May, Serial, What};

/// Timers go by milliseconds.
const TICK: Duration = Duration::from_millis(2);

#[derive(Debug)]
struct Prediction {
    serial: Serial,
    may: May,
    until: Duration,
    /// It becomes a task at its limit.
    goes_on: bool,
    is_over: bool,
    /// Its caller hung up at its limit or behind it: it may have become a task all the same, or be about to.
    is_adrift: bool,
}

#[derive(Debug, Default)]
pub(super) struct Predictions {
    all: HashMap<CallId, Prediction>,
    calls: HashMap<Serial, CallId>,
}

impl Predictions {
    pub(super) fn see(&mut self, scene: &Scene, entry: &Entry, tasks: &Tasks, found: &mut Found) {
        match &entry.what {
            What::Predicting {
                call,
                serial,
                may,
                limit,
                goes_on,
            } => {
                let prediction = Prediction {
                    serial: *serial,
                    may: *may,
                    until: scene.at + *limit,
                    goes_on: goes_on.is_some(),
                    is_over: false,
                    is_adrift: false,
                };
                self.all.insert(*call, prediction);
                self.calls.insert(*serial, *call);
            }
            What::Predicted { call, answer, .. } => match self.all.get_mut(call) {
                Some(prediction) => prediction.answered(scene, *answer, found),
                None => found.add("a prediction is answered that nobody asked for"),
            },
            What::Accepted { call, .. } => {
                if let Some(prediction) = self.all.get_mut(call) {
                    prediction.becomes_a_task(scene, found);
                }
            }
            What::Unanswered { call } => {
                if let Some(prediction) = self.all.get_mut(call) {
                    prediction.is_over = true;
                    prediction.is_adrift = prediction.may_be_a_task(scene);
                }
            }
            What::Took { serials, .. } => {
                for serial in serials.iter().filter(|serial| !tasks.has(**serial)) {
                    let over = self.calls.get(serial).and_then(|call| self.all.get(call));
                    found.unless(over.is_none_or(|it| !it.is_over || it.is_adrift), || {
                        format!("prediction {serial} runs, and nobody waits for it")
                    });
                }
            }
            _ => {}
        }
    }

    /// The server is gone. One that has died answers nobody; one that has stopped has answered all.
    pub(super) fn gone(&mut self, scene: &Scene, found: &mut Found) {
        for prediction in self.all.values_mut() {
            let may_be = prediction.is_over || !scene.stopped || prediction.may_be_a_task(scene);
            found.unless(may_be, || {
                format!("prediction {} was never answered", prediction.serial)
            });
            prediction.is_over = true;
        }
    }
}

impl Prediction {
    /// Whether its limit has come, and it goes on.
    fn may_be_a_task(&self, scene: &Scene) -> bool {
        self.goes_on && scene.at + TICK >= self.until
    }

    fn becomes_a_task(&mut self, scene: &Scene, found: &mut Found) {
        let serial = self.serial;
        found.unless(!self.is_over, || format!("prediction {serial} is answered twice"));
        self.is_over = true;
        found.unless(self.may_be_a_task(scene), || {
            format!("prediction {serial} is answered with a task, and not at its limit")
        });
        found.unless(scene.at <= self.until.max(scene.trouble) + SLACK, || {
            format!(
                "prediction {serial} becomes a task {:?} late",
                scene.at - self.until
            )
        });
    }

    fn answered(&mut self, scene: &Scene, answer: Result<Serial, Code>, found: &mut Found) {
        let serial = self.serial;
        found.unless(!self.is_over, || format!("prediction {serial} is answered twice"));
        self.is_over = true;
        // What could not become a task is told so once the store has said it.
        let until = match answer {
            Err(Code::PredictTimeout | Code::ModelUnavailable) if self.goes_on => {
                self.until.max(scene.trouble) + SLACK
            }
            _ => self.until + TICK,
        };
        found.unless(scene.at <= until, || {
            format!("prediction {serial} is answered {:?} late", scene.at - self.until)
        });
        let may_be = match answer {
            Ok(output) => output == serial && self.may.succeed,
            Err(Code::ModelError) => self.may.fail,
            Err(Code::InstanceDied | Code::TimeLimit) => self.may.die,
            Err(Code::PredictTimeout) => scene.at + TICK >= self.until,
            Err(code) => is_passing(code),
        };
        found.unless(may_be, || format!("prediction {serial} is answered {answer:?}"));
    }
}
