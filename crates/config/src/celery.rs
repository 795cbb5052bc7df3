//! What Celery's parties must know of a server: where its broker is, which tasks its models answer. And that the two fit.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cresset_task::ModelName;

use crate::mistake::{Mistake, Place};
use crate::model::ModelConfig;
use crate::suggest::did_you_mean;

/// How the server is a Celery worker. Without queues it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Celery {
    /// The queues that it takes tasks from.
    pub queues: Vec<String>,
    /// Where they are.
    pub broker: Option<ServiceUrl>,
    /// Where results go. `None`: nowhere.
    pub result_backend: Option<ServiceUrl>,
    /// Which model answers a task, for tasks that no model names itself, or that another one is to answer.
    pub tasks: BTreeMap<String, String>,
    /// Its name, `name@host`. Default `cresset@` and the machine's name.
    pub node: Option<String>,
    /// What a worker has taken and not acknowledged for so long goes to another one. Default 1 h, as in Celery.
    pub visibility_timeout: Duration,
    /// Where tasks go that follow one of ours, are not answered here, and name no queue. Default `celery`, as in Celery.
    pub default_queue: String,
    /// How long results are kept. Default 1 day; zero: for ever.
    pub result_expires: Duration,
    /// Say when a task has started. Default false, as in Celery.
    pub track_started: bool,
    /// Store a task's name and arguments beside its result. Default false, as in Celery.
    pub result_extended: bool,
    /// Tell of each task from the start, not only once somebody asks. Default false, as in Celery.
    pub events: bool,
    /// What every key at the broker begins with.
    pub broker_key_prefix: String,
    /// What every key of a result begins with.
    pub result_key_prefix: String,
}

impl Default for Celery {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            broker: None,
            result_backend: None,
            tasks: BTreeMap::new(),
            node: None,
            visibility_timeout: Duration::from_secs(3600),
            default_queue: "celery".into(),
            result_expires: Duration::from_secs(86_400),
            track_started: false,
            result_extended: false,
            events: false,
            broker_key_prefix: String::new(),
            result_key_prefix: String::new(),
        }
    }
}

/// The address of a service, with what it may hold of secrets: shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    pub(crate) fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// All of it, to connect with.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `redis`, `rediss`, `rpc` and so on.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(&self.0);
        };
        // A password may have any character but these.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        match rest.get(..end).and_then(|authority| authority.rfind('@')) {
            None => f.write_str(&self.0),
            Some(at) => {
                let (user, host) = rest.split_at(at);
                let user = user.split(':').next().unwrap_or_default();
                write!(f, "{scheme}://{user}:***{host}")
            }
        }
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Which Celery tasks a model answers, and how it takes their arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CeleryTasks {
    /// Their names.
    pub tasks: Vec<String>,
    /// The parameters of the function that it stands in for. Empty: those of the model's own inputs.
    pub parameters: Vec<CeleryParameter>,
}

/// A parameter of a task's function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeleryParameter {
    /// Its name.
    pub name: String,
    /// It may be left out.
    pub optional: bool,
}

impl Celery {
    /// Whether the server is to be a Celery worker.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.queues.is_empty()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:se@cret@host/1", "redis://:***@host/1"),
            ("amqp://guest:guest@host//", "amqp://guest:***@host//"),
            ("rpc://", "rpc://"),
        ] {
            assert_eq!(ServiceUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", ServiceUrl::new(url)), shown);
        }
    }
}
