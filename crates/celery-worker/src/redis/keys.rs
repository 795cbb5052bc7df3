//! Names of keys and channels.

use cresset_config::Celery;

/// The steps that priorities are sorted into, the most urgent first: Celery's own.
pub(crate) const STEPS: [u8; 4] = [0, 3, 6, 9];
/// What Celery puts between a queue's name and a step, and between the parts of a binding.
const SEPARATOR: &str = "\u{6}\u{16}";
/// Broadcasts to workers.
pub(crate) const PIDBOX: &str = "celery.pidbox";
/// Events.
pub(crate) const EVENTS: &str = "celeryev";
/// What servers of a fleet tell each other.
pub(crate) const FLEET: &str = "cresset.fleet";

/// Names at one broker.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) prefix: String,
    pub(crate) db: i64,
}

impl Keys {
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The list of a queue's messages of this priority.
    pub(crate) fn list(&self, queue: &str, priority: i64) -> String {
        let step = STEPS.iter().rev().find(|step| i64::from(**step) <= priority);
        match step.copied().unwrap_or(0) {
            0 => self.key(queue),
            step => format!("{}{queue}{SEPARATOR}{step}", self.prefix),
        }
    }

    /// The channel of a broadcast.
    pub(crate) fn channel(&self, exchange: &str, routing_key: &str) -> String {
        let slash = if routing_key.is_empty() { "" } else { "/" };
        format!("{}/{}.{exchange}{slash}{routing_key}", self.prefix, self.db)
    }

    /// The set of an exchange's bindings.
    pub(crate) fn bindings(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.prefix)
    }

    /// Those of queues that do not go by themselves.
    pub(crate) fn permanent_bindings(&self, exchange: &str) -> String {
        format!("{}_kombu.binding_permanent.{exchange}", self.prefix)
    }

    /// Until when each exchange's bindings are to be kept.
    pub(crate) fn binding_deadlines(&self) -> String {
        self.key("_kombu.binding_deadlines")
    }
}

/// A member of a set of bindings.
pub(crate) fn binding(routing_key: &str, queue: &str) -> String {
    format!("{routing_key}{SEPARATOR}{SEPARATOR}{queue}")
}

/// What every key of a result begins with: Celery puts a `_` behind a prefix that ends in nothing of the kind.
pub(crate) fn result_prefix(settings: &Celery) -> String {
    match settings.result_key_prefix.as_str() {
        "" => String::new(),
        prefix if prefix.ends_with(['_', ':', '-', '.']) => prefix.to_owned(),
        prefix => format!("{prefix}_"),
    }
}

/// The key of a task's state and result, and the channel on which it is told.
pub(crate) fn result_key(prefix: &str, id: &str) -> String {
    format!("{prefix}celery-task-meta-{id}")
}

/// The channel on which a server of a fleet is told results.
pub(crate) fn reply_channel(prefix: &str, name: &str) -> String {
    format!("{prefix}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_celery_uses() {
        let keys = Keys {
            prefix: String::new(),
            db: 2,
        };
        let list = |priority| keys.list("celery", priority);
        assert_eq!([list(-1), list(0), list(2)], ["celery", "celery", "celery"]);
        assert_eq!([list(3), list(5)], ["celery\u{6}\u{16}3", "celery\u{6}\u{16}3"]);
        assert_eq!(list(99), "celery\u{6}\u{16}9");
        assert_eq!(keys.channel(PIDBOX, ""), "/2.celery.pidbox");
        assert_eq!(keys.channel(EVENTS, "worker.online"), "/2.celeryev/worker.online");
        assert_eq!(binding("celery", "celery"), "celery\u{6}\u{16}\u{6}\u{16}celery");
    }
}
