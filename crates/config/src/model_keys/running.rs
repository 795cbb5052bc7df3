//! `[instances]`, `[limits]`, `[retry]` and `[health]`: its processes, what they may take, what is done when they fail, and how
//! they are looked at.

use std::time::Duration;

use super::{Draft, TIMEOUT_MAX, TIMEOUT_MIN, key, words};
use crate::field::{Field, Key};
use crate::model::LatePredictions;
use crate::model_values::{CANCEL_GRACE_FORM, set_cancel_grace, set_path, show_cancel_grace};
use crate::retry::RETRY_DELAY_MAX;

/// A canary is for finding out, not for load.
const CANARY_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Below this it would load for each request.
const IDLE_UNLOAD_MIN: Duration = Duration::from_secs(1);
/// A busy interpreter lets the thread that watches the clock in every 5 ms.
const SOFT_TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
    key(
        "instances.count",
        int!(instances.count, 1, 256),
        "Processes for each device; each holds one copy of the model.",
    ),
    words(
        key(
            "instances.devices",
            Field::ByHand("array of `\"cpu\"`, `\"cuda\"`, `\"cuda:N\"`, `\"mps\"`"),
            "The devices to run on.",
        ),
        r#"`["cpu"]`"#,
        r#"["cpu"]"#,
    ),
    words(
        key(
            "instances.threads",
            Field::Int {
                min: 1,
                max: 1024,
                get: |m| m.instances.threads.map(|n| n as u64),
                set: |m, n| m.instances.threads = Some(n as usize),
            },
            "Compute threads of each process.",
        ),
        "the cores, divided by all CPU instances served, at least 1",
        "1",
    ),
    words(
        key(
            "instances.max_tasks",
            Field::Int {
                min: 1,
                max: 1 << 50,
                get: |m| m.instances.max_tasks,
                set: |m, n| m.instances.max_tasks = Some(n),
            },
            "Items that a process serves before it is replaced. The replacement is loaded and warm before the old one \
             stops, and the old one finishes what it has.",
        ),
        "not bounded",
        "100000",
    ),
    words(
        key(
            "instances.max_memory",
            Field::Bytes {
                min: 1 << 20,
                max: 1 << 50,
                get: |m| m.instances.max_memory,
                set: |m, n| m.instances.max_memory = Some(n),
            },
            "Resident memory at which a process is replaced in the same way. It serves on while its replacement loads: \
             leave room for two. A process that is over it when it has just been loaded is left alone, and the log says so.",
        ),
        "not bounded",
        r#""4GiB""#,
    ),
    words(
        key(
            "instances.idle_unload",
            Field::Duration {
                min: IDLE_UNLOAD_MIN,
                max: TIMEOUT_MAX,
                get: |m| m.instances.idle_unload,
                set: |m, idle| m.instances.idle_unload = Some(idle),
            },
            "When the model had no work for so long, all of its processes are stopped and their memory is free. The next task or \
             prediction starts them again and waits until one is loaded, a prediction within `limits.predict_timeout`. \
             Meanwhile the model counts as ready, and `health.canary` is not tried.",
        ),
        "never",
        r#""10m""#,
    ),
    key(
        "limits.timeout",
        duration!(limits.timeout, TIMEOUT_MIN, TIMEOUT_MAX),
        "One batch may run this long before its process is killed.",
    ),
    words(
        key(
            "limits.soft_timeout",
            Field::Duration {
                min: SOFT_TIMEOUT_MIN,
                max: TIMEOUT_MAX,
                get: |m| m.limits.soft_timeout,
                set: |m, limit| m.limits.soft_timeout = Some(limit),
            },
            "When a batch has run this long, `cresset.SoftTimeout` is raised in the model's code, once; code that catches it has \
             until `limits.timeout` to end in order, and may give a result. Uncaught, the batch is run again in parts, and an \
             input that takes so long alone fails with `soft_timeout`. `retry.on` may name `SoftTimeout`.",
        ),
        "none",
        r#""45s""#,
    ),
    key(
        "limits.start_timeout",
        duration!(limits.start_timeout, TIMEOUT_MIN, TIMEOUT_MAX),
        "Import, load and warm-up may take this long.",
    ),
    key(
        "limits.predict_timeout",
        duration!(limits.predict_timeout, TIMEOUT_MIN, TIMEOUT_MAX),
        "A synchronous prediction answers within this.",
    ),
    key(
        "limits.late_predictions",
        Field::Choice {
            names: &["task", "stored", "refused"],
            get: |m| match m.limits.late_predictions {
                LatePredictions::Task => "task",
                LatePredictions::Stored => "stored",
                LatePredictions::Refused => "refused",
            },
            set: |m, name| {
                m.limits.late_predictions = match name {
                    "stored" => LatePredictions::Stored,
                    "refused" => LatePredictions::Refused,
                    _ => LatePredictions::Task,
                }
            },
        },
        "What becomes of a prediction that has not ended by then (or by its own `timeout`). `task`: it is stored at that moment and \
         goes on as a task, which is its answer (202); nothing of it is run twice, and one that ends in time has nothing to do with \
         the store. `stored`: the same answer, of a task that is stored before anything is run, as with `Prefer`: a crash loses \
         nothing of a prediction under way either. `refused`: it is given up and answered 504, for callers who have no use for a \
         task. Of those that are read piece by piece, and of any whose caller says `Prefer`, this says nothing.",
    ),
    key(
        "limits.cancel_grace",
        Field::Text {
            form: CANCEL_GRACE_FORM,
            get: |m| Some(show_cancel_grace(m.limits.cancel_grace)),
            set: |m, text| set_cancel_grace(&mut m.limits.cancel_grace, text),
        },
        "A batch may run on this long after a task of it was cancelled before its process is killed and what else it had \
         runs again. A model that asks `cresset.current().cancelled` can stop by itself. `\"0s\"` kills at once, `\"none\"` \
         never.",
    ),
    key(
        "limits.max_queue",
        int!(limits.max_queue, 1, 1_000_000_000),
        "Queued tasks at most; more are refused with 429.",
    ),
    key(
        "limits.max_queue_bytes",
        bytes!(limits.max_queue_bytes, 1, 1 << 50),
        "Bytes of queued inputs at most; more are refused with 429.",
    ),
    key(
        "limits.max_waiting",
        int!(limits.max_waiting, 1, 1_000_000),
        "Synchronous predictions waiting at most; more are refused with 429.",
    ),
    words(
        key(
            "limits.max_waiting_bytes",
            Field::Bytes {
                min: 1,
                max: 1 << 50,
                get: |m| m.limits.max_waiting_bytes.map(|n| n as u64),
                set: |m, n| m.limits.max_waiting_bytes = Some(n as usize),
            },
            "Bytes of the inputs of waiting synchronous predictions at most; more are refused with 429.",
        ),
        "not bounded: what the server holds of all bodies together",
        r#""256MiB""#,
    ),
    key(
        "limits.max_attempts",
        int!(limits.max_attempts, 1, 1000),
        "How often a task that kills or hangs its process is tried. A SIGKILL from outside says little of the task: \
         five times as often.",
    ),
    key(
        "retry.max_retries",
        int!(retry.max_retries, 0, 1000),
        "How often a task whose input made the model raise is tried again, where `retry.on` or the model's own \
         `cresset.Retry` says so. Predictions are not.",
    ),
    key(
        "retry.delay",
        duration!(retry.delay, Duration::ZERO, RETRY_DELAY_MAX),
        "The wait before the first retry; each further one is twice as long. Each is spread by a fifth either way.",
    ),
    key(
        "retry.max_delay",
        duration!(retry.max_delay, Duration::ZERO, RETRY_DELAY_MAX),
        "The longest wait between two tries.",
    ),
    words(
        key(
            "retry.on",
            Field::ByHand(
                "array of exceptions' classes in quotes, as `error.type` names them; `\"*\"` is any",
            ),
            "The exceptions that are tried again. `cresset.Reject` is never.",
        ),
        "none: only what the model asks for by raising `cresset.Retry`",
        r#"["TimeoutError", "requests.exceptions.ConnectionError"]"#,
    ),
    words(
        key(
            "health.canary",
            Field::Text {
                form: "the path of a JSON file in quotes",
                get: |m| m.canary.clone(),
                set: |m, t| set_path(&mut m.canary, t),
            },
            "A file with one input, as callers send it, that the model must always be able to answer; a relative path is taken \
             from the model folder. It is predicted again and again; while that fails the model is not ready.",
        ),
        "none",
        r#""canary.json""#,
    ),
    key(
        "health.interval",
        duration!(health.interval, CANARY_INTERVAL_MIN, TIMEOUT_MAX),
        "How often the canary is predicted.",
    ),
];
