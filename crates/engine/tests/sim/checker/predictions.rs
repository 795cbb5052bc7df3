//! Predictions: answered once, in time, with their own result; and nobody computes for one that has been given up.

use std::collections::HashMap;
use std::time::Duration;

use cresset_task::Code;

use super::{Found, Scene};
use crate::callers::is_passing;
use crate::history::{CallId, Entry, May, Serial, What};

/// Timers go by milliseconds.
const TICK: Duration = Duration::from_millis(2);

#[derive(Debug)]
struct Prediction {
    serial: Serial,
    may: May,
    until: Duration,
    is_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Predictions {
    all: HashMap<CallId, Prediction>,
    calls: HashMap<Serial, CallId>,
}

impl Predictions {
    pub(super) fn see(&mut self, scene: &Scene, entry: &Entry, found: &mut Found) {
        match &entry.what {
            What::Predicting {
                call,
                serial,
                may,
                limit,
            } => {
                let prediction = Prediction {
                    serial: *serial,
                    may: *may,
                    until: scene.at + *limit,
                    is_over: false,
                };
                self.all.insert(*call, prediction);
                self.calls.insert(*serial, *call);
            }
            What::Predicted { call, answer, .. } => match self.all.get_mut(call) {
                Some(prediction) => prediction.answered(scene, *answer, found),
                None => found.add("a prediction is answered that nobody asked for"),
            },
            What::Unanswered { call } => {
                if let Some(prediction) = self.all.get_mut(call) {
                    prediction.is_over = true;
                }
            }
            What::Took { serials, .. } => {
                for serial in serials {
                    let over = self.calls.get(serial).and_then(|call| self.all.get(call));
                    found.unless(over.is_none_or(|prediction| !prediction.is_over), || {
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
            found.unless(prediction.is_over || !scene.stopped, || {
                format!("prediction {} was never answered", prediction.serial)
            });
            prediction.is_over = true;
        }
    }
}

impl Prediction {
    fn answered(&mut self, scene: &Scene, answer: Result<Serial, Code>, found: &mut Found) {
        let serial = self.serial;
        found.unless(!self.is_over, || format!("prediction {serial} is answered twice"));
        self.is_over = true;
        found.unless(scene.at <= self.until + TICK, || {
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
