//! `[send]`: a model whose items Celery workers run.

use super::{Draft, key, words};
use crate::celery::Arguments;
use crate::field::{Field, Key};
use crate::model_send::{TIMEOUT_MAX, TIMEOUT_MIN, set_queue, set_task};

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
    words(
        key(
            "send.task",
            Field::Text {
                form: "the name of a task in quotes, such as \"shop.tasks.resize\"",
                get: |m| Some(m.send.task.clone()).filter(|task| !task.is_empty()),
                set: set_task,
            },
            "Do not run this model here: send each item as this Celery task to the broker of `celery.broker`, and take its result from \
             `celery.result_backend`. Such a folder has no code, no weights and no environment.",
        ),
        "none: the model runs here",
        r#""shop.tasks.resize""#,
    ),
    words(
        key(
            "send.queue",
            Field::Text {
                form: "a queue's name in quotes",
                get: |m| m.send.queue.clone(),
                set: set_queue,
            },
            "The queue that the workers of this task take from.",
        ),
        "`celery.default_queue`",
        r#""images""#,
    ),
    key(
        "send.arguments",
        Field::Choice {
            names: &["spread", "one"],
            get: |m| match m.send.arguments {
                Arguments::Spread => "spread",
                Arguments::One => "one",
            },
            set: |m, name| {
                m.send.arguments = if name == "one" {
                    Arguments::One
                } else {
                    Arguments::Spread
                }
            },
        },
        "How an input becomes the task's arguments. `spread`: an object is its named arguments, an array its arguments in order, anything \
         else its only argument. `one`: whatever it is, it is the only argument.",
    ),
    key(
        "send.concurrency",
        Field::Int {
            min: 1,
            max: 1024,
            get: |m| Some(m.send.concurrency as u64),
            set: |m, n| m.send.concurrency = n as usize,
        },
        "Items that are at the workers, or wait for them at the broker, at once. Those behind them wait in Cresset's queue, where they \
         have their priority, can be cancelled for nothing and survive the broker. Some more than all the workers' processes together.",
    ),
    key(
        "send.timeout",
        Field::Duration {
            min: TIMEOUT_MIN,
            max: TIMEOUT_MAX,
            get: |m| Some(m.send.timeout),
            set: |m, d| m.send.timeout = d,
        },
        "A task that has no result so long after it was sent is revoked at the workers and fails with `time_limit`: its worker was \
         killed, say, or nobody takes from its queue.",
    ),
    key(
        "send.terminate",
        Field::Bool {
            get: |m| m.send.terminate,
            set: |m, b| m.send.terminate = b,
        },
        "End the worker's process that runs a task which is cancelled (`revoke(..., terminate=True)`). Otherwise one that runs already \
         goes on to its end, which nobody is told of.",
    ),
];
