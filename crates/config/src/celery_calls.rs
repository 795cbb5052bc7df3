//! Models that Celery workers run: what they need of the server's settings.

use crate::celery::{Celery, ServiceUrl};
use crate::mistake::{Mistake, Place};
use crate::model::ModelConfig;

impl Celery {
    /// Where such a model's tasks go.
    #[must_use]
    pub fn queue_of<'a>(&'a self, call: &'a crate::CeleryCall) -> &'a str {
        call.queue.as_deref().unwrap_or(&self.default_queue)
    }

    /// What is missing for models that Celery workers run; nothing where there are none.
    #[must_use]
    pub fn check_calls(&self, models: &[ModelConfig]) -> Vec<Mistake> {
        let Some(model) = models.iter().find(|model| model.celery.call.is_some()) else {
            return Vec::new();
        };
        let mistake = |key: &str, message: String, hint: &str| {
            let place = Place::File {
                path: "the settings".into(),
                at: None,
            };
            Mistake::at(place, key, message).hint(hint)
        };
        let mut mistakes = Vec::new();
        for model in models {
            let queue = model.celery.call.as_ref().map(|call| self.queue_of(call));
            if let Some(queue) = queue.filter(|queue| self.queues.iter().any(|own| own == queue)) {
                let file = model.dir.join(crate::MODEL_TOML).display().to_string();
                let message =
                    format!("`{queue}` is one of `celery.queues`: this server would be given what it sends");
                let mistake = Mistake::at(Place::File { path: file, at: None }, "send.queue", message);
                mistakes.push(mistake.hint("name the queue that the Celery workers of this task take from"));
            }
        }
        if self.broker.is_none() {
            let message = format!("is missing: the model `{}` is sent to Celery workers", model.name);
            mistakes.push(mistake(
                "celery.broker",
                message,
                "such as --broker redis://127.0.0.1:6379/0",
            ));
        }
        let is_redis = self.broker.as_ref().is_some_and(ServiceUrl::is_redis);
        match &self.result_backend {
            Some(named) if named.is_redis() => {}
            Some(named) if named.scheme() == "rpc" && !is_redis => {}
            Some(other) => {
                let other = other.scheme();
                let message = format!(
                    "is `{other}://`, and results of tasks that are sent to workers cannot be awaited there"
                );
                mistakes.push(mistake(
                    "celery.result_backend",
                    message,
                    "the workers' `result_backend` must be `redis://`, `rediss://` or `sentinel://`, or `rpc://` with RabbitMQ",
                ));
            }
            None => {
                let message = format!("is missing: the results of the model `{}` come by it", model.name);
                mistakes.push(mistake(
                    "celery.result_backend",
                    message,
                    "the workers' own, such as --result-backend redis://127.0.0.1:6379/1",
                ));
            }
        }
        mistakes
    }
}
