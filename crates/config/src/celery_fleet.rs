//! What gateways and workers of a fleet make of Celery's settings, where a broker leads from one to the other.

use std::time::Duration;

use cresset_task::ModelName;

use crate::celery::{Arguments, Celery, CeleryCall, ServiceUrl};
use crate::mistake::{Mistake, Place};

/// What every queue of a model, and the task that it is to a client of Celery, begins with.
const PREFIX: &str = "cresset.";
/// A worker of a fleet that has not been heard of for so long has died: it makes what it holds known three times in it.
const VISIBILITY: Duration = Duration::from_secs(15);
/// A result is kept for a gateway that is away for so long; then the task is run again. One that was taken goes a minute later.
const RESULTS_KEPT: Duration = Duration::from_secs(3600);
/// A task that has been at the workers for so long has got lost.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Items of one model that are away at once.
const AWAY_MAX: usize = 1024;

/// The queue of a model, and the name of its task.
#[must_use]
pub fn fleet_queue(model: &ModelName) -> String {
    format!("{PREFIX}{model}")
}

impl Celery {
    /// These settings as a fleet's: no queue of Celery's, results at the broker unless another place is named, times of its own.
    pub fn fleet(&self) -> Result<Self, Box<Mistake>> {
        let mistake = |key: &str, message: String| {
            let place = Place::File {
                path: "the settings".into(),
                at: None,
            };
            Mistake::at(place, key, message)
        };
        let Some(broker) = &self.broker else {
            return Err(mistake("celery.broker", "is missing".into()).into());
        };
        let is_redis = broker.is_redis();
        let results = match self.result_backend.as_ref() {
            None if is_redis => broker.clone(),
            None => ServiceUrl::new("rpc://"),
            Some(named) if named.is_redis() => named.clone(),
            Some(named) => match named.scheme() {
                "rpc" if !is_redis => named.clone(),
                other => {
                    let message = format!("is `{other}://`, and gateways cannot wait for results there");
                    return Err(mistake("celery.result_backend", message)
                        .hint("leave it out: results come by the broker; or name another Redis, the same for gateways and workers")
                        .into());
                }
            },
        };
        Ok(Self {
            queues: Vec::new(),
            result_backend: Some(results),
            visibility_timeout: VISIBILITY,
            result_expires: RESULTS_KEPT,
            track_started: false,
            result_extended: false,
            events: false,
            ..self.clone()
        })
    }
}

impl CeleryCall {
    /// How a gateway gives items of this model to its workers.
    #[must_use]
    pub fn to_fleet(model: &ModelName) -> Self {
        Self {
            task: fleet_queue(model),
            queue: Some(fleet_queue(model)),
            arguments: Arguments::One,
            concurrency: AWAY_MAX,
            timeout: GIVEN_UP_AFTER,
            // Whoever has it stops its own batch, and no process for it.
            terminate: true,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn celery(broker: &str, results: Option<&str>) -> Celery {
        Celery {
            broker: Some(ServiceUrl::new(broker)),
            result_backend: results.map(ServiceUrl::new),
            queues: vec!["celery".into()],
            ..Celery::default()
        }
    }

    #[test]
    fn results_come_by_the_broker_unless_another_redis_is_named() {
        let results = |broker: &str, results: Option<&str>| {
            let fleet = celery(broker, results)
                .fleet()
                .map_err(|mistake| mistake.to_string())?;
            assert!(fleet.queues.is_empty());
            Ok::<_, String>(fleet.result_backend.unwrap().to_string())
        };
        assert_eq!(results("redis://h/1", None).unwrap(), "redis://h/1");
        assert_eq!(results("sentinel://h", None).unwrap(), "sentinel://h");
        assert_eq!(results("sentinel://h", Some("redis://r")).unwrap(), "redis://r");
        assert_eq!(results("amqp://h", Some("sentinel://r")).unwrap(), "sentinel://r");
        assert_eq!(results("amqp://h", None).unwrap(), "rpc://");
        assert_eq!(results("amqp://h", Some("redis://r")).unwrap(), "redis://r");
        assert_eq!(results("rediss://h", Some("redis://r")).unwrap(), "redis://r");
        for (broker, backend) in [("redis://h", "rpc://"), ("amqp://h", "db+postgresql://h/d")] {
            let why = results(broker, Some(backend)).unwrap_err();
            assert!(
                why.contains("celery.result_backend") && why.contains("cannot wait"),
                "{why}"
            );
        }
        assert!(Celery::default().fleet().is_err());
    }
}
