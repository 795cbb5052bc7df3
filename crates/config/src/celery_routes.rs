//! Which model answers which of Celery's tasks: the settings and the models held against each other.

use std::collections::BTreeMap;

use cresset_task::ModelName;

use crate::celery::Celery;
use crate::mistake::{Mistake, Place};
use crate::model::ModelConfig;
use crate::suggest::did_you_mean;

impl Celery {
    /// The model that answers each task: what the settings say, and for other tasks the model that names it.
    pub fn routes(&self, models: &[ModelConfig]) -> Result<BTreeMap<String, ModelName>, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut routes: BTreeMap<String, ModelName> = BTreeMap::new();
        let settings = |key: String, message: String| {
            let place = Place::File {
                path: "the settings".into(),
                at: None,
            };
            Mistake::at(place, key, message)
        };
        for (task, name) in &self.tasks {
            match models.iter().find(|model| model.name.as_str() == name) {
                Some(model) => drop(routes.insert(task.clone(), model.name.clone())),
                None => {
                    let mistake = settings(
                        format!("celery.tasks.{task}"),
                        format!("no model is called `{name}`"),
                    );
                    mistakes.push(Mistake {
                        hint: did_you_mean(name, models.iter().map(|model| model.name.as_str())),
                        ..mistake
                    });
                }
            }
        }
        for model in models {
            for task in &model.celery.tasks {
                match routes.get(task) {
                    None => drop(routes.insert(task.clone(), model.name.clone())),
                    Some(_) if self.tasks.contains_key(task) => {}
                    Some(other) => {
                        let file = model.dir.join(crate::MODEL_TOML).display().to_string();
                        let place = Place::File { path: file, at: None };
                        let message = format!("`{task}` is answered by the model `{other}` already");
                        let hint =
                            format!("say in cresset.toml which: [celery.tasks] \"{task}\" = \"{other}\"");
                        mistakes.push(Mistake::at(place, "celery.tasks", message).hint(hint));
                    }
                }
            }
        }
        if self.is_on() {
            if self.broker.is_none() {
                let mistake = settings(
                    "celery.broker".into(),
                    "is missing: the queues need a broker".into(),
                );
                mistakes.push(mistake.hint("such as --broker redis://127.0.0.1:6379/0"));
            }
            if routes.is_empty() && mistakes.is_empty() && !models.is_empty() {
                let message = "is empty, and no model names a task: every task would be refused";
                let hint = "name them in model.toml, [celery] tasks = [\"proj.tasks.perform_inference\"], or in cresset.toml, \
                            [celery.tasks] \"proj.tasks.perform_inference\" = \"digits\"";
                mistakes.push(settings("celery.tasks".into(), message.into()).hint(hint));
            }
        }
        if mistakes.is_empty() {
            Ok(routes)
        } else {
            Err(mistakes)
        }
    }
}
