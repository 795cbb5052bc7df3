//! The settings of `[celery]`: how the server is a Celery worker.

use std::time::Duration;

use super::Setting;
use super::forms::{setting, words};
use crate::celery::{QueueType, ServiceUrl, name, no_redis};
use crate::field::{Field, Pairs, Refusal, quote};
use crate::server::ServerConfig;

/// Queues of one worker: each costs a connection for each step of priority.
const QUEUES_MAX: usize = 64;
/// Task names in the settings.
const TASKS_MAX: usize = 10_000;
/// The held tasks are made known again three times in it.
const VISIBILITY_MIN: Duration = Duration::from_secs(1);
const VISIBILITY_MAX: Duration = Duration::from_secs(30 * 86_400);
const EXPIRES_MAX: Duration = Duration::from_secs(3650 * 86_400);

macro_rules! switch {
    ($field:ident) => {
        Field::Bool {
            get: |c| c.celery.$field,
            set: |c, b| c.celery.$field = b,
        }
    };
}
macro_rules! prefix {
    ($field:ident) => {
        Field::Text {
            form: "a text in quotes",
            get: |c| Some(c.celery.$field.clone()),
            set: |c, text| {
                c.celery.$field = text.to_owned();
                Ok(())
            },
        }
    };
}

pub(super) const QUEUES: Setting = words(
    setting(
        "celery.queues",
        ["CRESSET_CELERY", "celery"],
        Field::Text {
            form: "names of queues in quotes, with commas between them",
            get: |c| Some(c.celery.queues.join(",")).filter(|text| !text.is_empty()),
            set: set_queues,
        },
        "Be a Celery worker for these queues, beside HTTP. One service for each queue: a task that no model here answers fails \
         as `NotRegistered`.",
    ),
    "none: no Celery worker",
    r#""inference""#,
);
pub(super) const BROKER: Setting = words(
    setting(
        "celery.broker",
        ["CRESSET_BROKER", "broker"],
        Field::Text {
            form: "a URL in quotes, `redis://`, `rediss://`, `sentinel://`, `amqp://` or `amqps://`",
            get: |c| c.celery.broker.as_ref().map(ToString::to_string),
            set: |c, text| set_url(&mut c.celery.broker, text, BROKERS),
        },
        "Celery's broker, as `broker_url` names it; or what leads from `cresset gateway` to `cresset worker`. Shown without its password.",
    ),
    "none",
    r#""redis://127.0.0.1:6379/0""#,
);
pub(super) const RESULT_BACKEND: Setting = words(
    setting(
        "celery.result_backend",
        ["CRESSET_RESULT_BACKEND", "result-backend"],
        Field::Text {
            form: "a URL in quotes: `redis://`, `rediss://`, `sentinel://`, `rpc://`, or `db+` or `django-db+` and `postgresql://`, `mysql://` or `sqlite:///`",
            get: |c| c.celery.result_backend.as_ref().map(ToString::to_string),
            set: |c, text| set_url(&mut c.celery.result_backend, text, BACKENDS),
        },
        "Celery's result backend, as the application's `result_backend` names it; for `django-db` the database is named behind it. Shown without its password.",
    ),
    "none: results are thrown away",
    r#""redis://127.0.0.1:6379/1""#,
);
pub(super) const TASKS: Setting = words(
    setting(
        "celery.tasks",
        ["CRESSET_CELERY_TASKS", "celery-tasks"],
        Field::Map {
            form: "a table from a Celery task's name to a model's; as text `name=model`, with commas between them",
            get: |c| {
                let pairs = c
                    .celery
                    .tasks
                    .iter()
                    .map(|(task, model)| format!("{task}={model}"));
                Some(pairs.collect::<Vec<_>>().join(",")).filter(|text| !text.is_empty())
            },
            set: set_tasks,
        },
        "Which model answers a task. A model may also say so itself, with `celery.tasks` in its model.toml; this has precedence.",
    ),
    "none: what the models say",
    r#"{ "proj.tasks.perform_inference" = "digits" }"#,
);
pub(super) const NODE: Setting = words(
    setting(
        "celery.node",
        ["CRESSET_CELERY_NODE", "celery-node"],
        Field::Text {
            form: "`name@host` in quotes",
            get: |c| c.celery.node.clone(),
            set: set_node,
        },
        "The worker's name for remote control and monitors; another one for each worker.",
    ),
    "`cresset@` and the machine's name",
    r#""gpu-1@machine""#,
);
pub(super) const VISIBILITY_TIMEOUT: Setting = setting(
    "celery.visibility_timeout",
    ["CRESSET_CELERY_VISIBILITY_TIMEOUT", "celery-visibility-timeout"],
    Field::Duration {
        min: VISIBILITY_MIN,
        max: VISIBILITY_MAX,
        get: |c| Some(c.celery.visibility_timeout),
        set: |c, d| c.celery.visibility_timeout = d,
    },
    "Redis: what a worker has taken and has not been heard of for so long goes to another one. The same as in the application's \
     `broker_transport_options`. This worker keeps what it holds known, so that a task may take longer.",
);
pub(super) const DEFAULT_QUEUE: Setting = setting(
    "celery.default_queue",
    ["CRESSET_CELERY_DEFAULT_QUEUE", "celery-default-queue"],
    Field::Text {
        form: "a queue's name in quotes",
        get: |c| Some(c.celery.default_queue.clone()),
        set: |c, text| {
            c.celery.default_queue = name(text)?;
            Ok(())
        },
    },
    "Where a callback or the next step of a chain goes that names no queue and is not answered here: the application's \
     `task_default_queue`.",
);
pub(super) const RESULT_EXPIRES: Setting = setting(
    "celery.result_expires",
    ["CRESSET_CELERY_RESULT_EXPIRES", "celery-result-expires"],
    Field::Duration {
        min: Duration::ZERO,
        max: EXPIRES_MAX,
        get: |c| Some(c.celery.result_expires),
        set: |c, d| c.celery.result_expires = d,
    },
    "How long the backend keeps a result. `\"0s\"`: for ever.",
);
pub(super) const TRACK_STARTED: Setting = setting(
    "celery.track_started",
    ["CRESSET_CELERY_TRACK_STARTED", "celery-track-started"],
    switch!(track_started),
    "Store `STARTED` when a task goes to its model, as Celery's `task_track_started` does.",
);
pub(super) const RESULT_EXTENDED: Setting = setting(
    "celery.result_extended",
    ["CRESSET_CELERY_RESULT_EXTENDED", "celery-result-extended"],
    switch!(result_extended),
    "Store a task's name, arguments, worker and queue beside its result, as Celery's `result_extended` does.",
);
pub(super) const EVENTS: Setting = setting(
    "celery.events",
    ["CRESSET_CELERY_EVENTS", "celery-events"],
    switch!(events),
    "Send task events from the start, as `celery worker -E` does. Otherwise once a monitor asks for them.",
);
pub(super) const QUEUE_TYPE: Setting = setting(
    "celery.queue_type",
    ["CRESSET_CELERY_QUEUE_TYPE", "celery-queue-type"],
    Field::Choice {
        names: &["classic", "quorum"],
        get: |c| match c.celery.queue_type {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
        },
        set: |c, name| {
            c.celery.queue_type = match name {
                "quorum" => QueueType::Quorum,
                _ => QueueType::Classic,
            }
        },
    },
    "RabbitMQ: how a queue is declared that is not there: the application's `task_default_queue_type`. One that is there is taken as \
     it is.",
);
pub(super) const MAX_PRIORITY: Setting = words(
    setting(
        "celery.max_priority",
        ["CRESSET_CELERY_MAX_PRIORITY", "celery-max-priority"],
        Field::Int {
            min: 1,
            max: 255,
            get: |c| c.celery.max_priority.map(u64::from),
            set: |c, n| c.celery.max_priority = u8::try_from(n).ok(),
        },
        "RabbitMQ: the highest priority of a queue that is not there and is declared: the application's `task_queue_max_priority`.",
    ),
    "none: without priorities",
    "10",
);
pub(super) const BROKER_KEY_PREFIX: Setting = setting(
    "celery.broker_key_prefix",
    ["CRESSET_CELERY_BROKER_KEY_PREFIX", "celery-broker-key-prefix"],
    prefix!(broker_key_prefix),
    "Redis: what every key at the broker begins with: `global_keyprefix` in the application's `broker_transport_options`.",
);
pub(super) const RESULT_KEY_PREFIX: Setting = setting(
    "celery.result_key_prefix",
    ["CRESSET_CELERY_RESULT_KEY_PREFIX", "celery-result-key-prefix"],
    prefix!(result_key_prefix),
    "What every key of a result begins with: `global_keyprefix` in the application's `result_backend_transport_options`.",
);

pub(super) const MASTER_NAME: Setting = words(
    setting(
        "celery.master_name",
        ["CRESSET_CELERY_MASTER_NAME", "celery-master-name"],
        Field::Text {
            form: "the master's name in quotes",
            get: |c| c.celery.master_name.clone(),
            set: |c, text| {
                c.celery.master_name = Some(name(text)?);
                Ok(())
            },
        },
        "Redis Sentinel: what the sentinels call the master, where an address does not say it (`?master_name=`): `master_name` in the \
         application's `broker_transport_options`.",
    ),
    "none: what the address says",
    r#""mymaster""#,
);
pub(super) const REFERENCE_ABOVE: Setting = setting(
    "celery.reference_above",
    ["CRESSET_CELERY_REFERENCE_ABOVE", "celery-reference-above"],
    Field::Bytes {
        min: 0,
        max: 1 << 30,
        get: |c| Some(c.celery.reference_above as u64),
        set: |c, n| c.celery.reference_above = n as usize,
    },
    "Gateways and workers with a broker between them: inputs and results of more bytes go by the database that both name with \
     `--results`, and their messages say where they are; with a worker of the model that names none, inputs go whole. `0B`: never.",
);

/// Brokers that are spoken to.
const BROKERS: &[&str] = &["redis", "rediss", "sentinel", "amqp", "amqps", "pyamqp"];
/// Result backends.
const BACKENDS: &[&str] = &[
    "redis",
    "rediss",
    "sentinel",
    "rpc",
    "db+postgresql",
    "db+mysql",
    "db+mariadb",
    "db+sqlite",
    "django-db+postgresql",
    "django-db+mysql",
    "django-db+mariadb",
    "django-db+sqlite",
];

fn set_queues(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let queues: Vec<String> = text.split(',').map(name).collect::<Result<_, _>>()?;
    if queues.len() > QUEUES_MAX {
        return Err(Refusal::new(format!("must be at most {QUEUES_MAX} queues")));
    }
    c.celery.queues = Vec::new();
    for queue in queues {
        if !c.celery.queues.contains(&queue) {
            c.celery.queues.push(queue);
        }
    }
    Ok(())
}

fn set_url(slot: &mut Option<ServiceUrl>, text: &str, schemes: &[&str]) -> Result<(), Refusal> {
    let url = ServiceUrl::new(text.trim());
    if schemes.contains(&without_driver(url.scheme())) {
        *slot = Some(url);
        return Ok(());
    }
    let known: Vec<_> = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect();
    let known = known.join(", ");
    Err(match url.scheme() {
        // Not repeated: whatever it is, it may hold a password.
        "" => Refusal::new(format!("must be a URL that begins with one of {known}")),
        other => match no_redis(other) {
            Some(why) => Refusal::new(format!("is {}: {why}", quote(other))),
            None => Refusal::new(format!("must begin with one of {known}, is {}", quote(other))),
        },
    })
}

/// `db+postgresql+psycopg2` is `db+postgresql`: the driver is Python's.
fn without_driver(scheme: &str) -> &str {
    match scheme.match_indices('+').nth(1) {
        Some((at, _)) => scheme.get(..at).unwrap_or(scheme),
        None => scheme,
    }
}

fn set_node(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let node = name(text)?;
    if !node
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
    {
        return Err(Refusal::new(format!("must be `name@host`, is {}", quote(text))));
    }
    c.celery.node = Some(node);
    Ok(())
}

fn set_tasks(c: &mut ServerConfig, pairs: Pairs) -> Result<(), Refusal> {
    if pairs.len() > TASKS_MAX {
        return Err(Refusal::new(format!("must be at most {TASKS_MAX} tasks")));
    }
    let pairs = pairs
        .into_iter()
        .map(|(task, model)| Ok((name(&task)?, name(&model)?)));
    c.celery.tasks = pairs.collect::<Result<_, Refusal>>()?;
    Ok(())
}
