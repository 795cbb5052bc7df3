//! Nothing waits beside an instance that has nothing to do.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use cresset_task::{BatchId, InstanceId};

use super::tasks::Tasks;
use super::{AGAIN, Found, Scene};
use crate::history::{Entry, What, model_of};

/// What can be leased is, within the pauses of a few calls and the one before the store is asked again.
const SOON: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
struct Model {
    up: BTreeSet<InstanceId>,
    held: HashMap<BatchId, InstanceId>,
    /// Since when one of its instances has had nothing to do, whichever.
    idle: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Idle {
    models: HashMap<usize, Model>,
}

impl Model {
    fn look(&mut self, scene: &Scene) {
        let is_idle = |instance: &InstanceId| !self.held.values().any(|busy| busy == instance);
        if self.up.iter().any(is_idle) {
            self.idle.get_or_insert(scene.at);
        } else {
            self.idle = None;
        }
    }
}

impl Idle {
    /// All instances have gone with their server.
    pub(super) fn crash(&mut self) {
        self.models.clear();
    }

    pub(super) fn see(&mut self, scene: &Scene, entry: &Entry) {
        match &entry.what {
            What::Up { model, instance } => {
                let model = self.models.entry(*model).or_default();
                model.up.insert(*instance);
                model.look(scene);
            }
            What::Down { model, instance } => {
                let model = self.models.entry(*model).or_default();
                model.up.remove(instance);
                model.look(scene);
            }
            What::Took {
                model,
                instance,
                batch,
                ..
            } => {
                let model = self.models.entry(*model).or_default();
                model.held.insert(*batch, *instance);
                model.look(scene);
            }
            What::Left { model, batch } => {
                let model = self.models.entry(*model).or_default();
                model.held.remove(batch);
                model.look(scene);
            }
            _ => {}
        }
    }

    /// Whether something has waited for too long.
    pub(super) fn judge(&self, scene: &Scene, tasks: &mut Tasks, found: &mut Found) {
        if scene.stops {
            return;
        }
        for task in tasks.all.values_mut().filter(|task| task.ended.is_none()) {
            let model = self.models.get(&model_of(&task.record));
            let Some((ready, idle)) = task.times.ready.zip(model.and_then(|model| model.idle)) else {
                continue;
            };
            let from = ready.max(idle).max(scene.life).max(scene.trouble + AGAIN);
            if from + SOON < scene.at {
                found.add(format!("task {} waits beside an idle instance", task.serial));
                // Told once.
                task.times.ready = Some(scene.at);
            }
        }
    }
}
