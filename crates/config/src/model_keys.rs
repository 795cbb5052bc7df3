//! Every key of `model.toml`: what it takes, its bounds, its words.

use std::collections::BTreeMap;
use std::time::Duration;

use cresset_task::{ModelName, TensorSpec};

use crate::field::{Field, Key};
use crate::model::{Batching, Cost, Entry, Instances, ModelLimits, Priorities, Retry};
use crate::model_values::{
    set_description, set_entry, set_name, set_path, set_python_version, set_version, show_entry,
};

/// What has been read of a `model.toml`, before its parts are checked against each other and the folder.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) name: Option<ModelName>,
    pub(crate) version: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) entry: Entry,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) batching: Batching,
    pub(crate) instances: Instances,
    pub(crate) limits: ModelLimits,
    pub(crate) retry: Retry,
    pub(crate) python: Option<String>,
    pub(crate) requirements: Option<String>,
    pub(crate) python_version: Option<String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) allow_pickle: bool,
    pub(crate) copy_inputs: bool,
}

/// Longer than a day is not a limit any more, and the runner protocol counts milliseconds in 32 bits.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// A point of priority is worth at most a day: two hundred of them are well within what the queue can count.
const STEP_MAX: Duration = Duration::from_secs(86_400);
/// Below a millisecond the clock of the protocol cannot tell.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

macro_rules! int {
    ($($field:ident).+, $min:literal, $max:literal) => {
        Field::Int { min: $min, max: $max, get: |m| Some(m.$($field).+ as u64), set: |m, n| m.$($field).+ = n as _ }
    };
}
macro_rules! bytes {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Bytes { min: $min, max: $max, get: |m| Some(m.$($field).+ as u64), set: |m, n| m.$($field).+ = n as _ }
    };
}
macro_rules! duration {
    ($($field:ident).+, $min:expr, $max:expr) => {
        Field::Duration { min: $min, max: $max, get: |m| m.$($field).+, set: |m, d| m.$($field).+ = d }
    };
}
macro_rules! flag {
    ($($field:ident).+) => {
        Field::Bool { get: |m| m.$($field).+, set: |m, b| m.$($field).+ = b }
    };
}

const fn key(path: &'static str, field: Field<Draft>, doc: &'static str) -> Key<Draft> {
    Key {
        path,
        doc,
        default: None,
        example: None,
        field,
    }
}

const fn words(key: Key<Draft>, default: &'static str, example: &'static str) -> Key<Draft> {
    Key {
        default: Some(default),
        example: Some(example),
        ..key
    }
}

/// All keys but those inside `[[inputs]]` and `[[outputs]]`, in the order of the template.
pub(crate) const MODEL_KEYS: &[Key<Draft>] = &[
    words(
        key(
            "name",
            Field::Text {
                form: "a model name in quotes",
                get: |m| m.name.as_ref().map(ToString::to_string),
                set: set_name,
            },
            "The name that callers use: a-z, 0-9, `_`, `.` and `-`, at most 128 characters.",
        ),
        "the folder's name",
        r#""digits""#,
    ),
    words(
        key(
            "version",
            Field::Text {
                form: "a version in quotes",
                get: |m| m.version.clone(),
                set: set_version,
            },
            "The version shown in results. Change it when the weights change.",
        ),
        r#"`"1"`"#,
        r#""1""#,
    ),
    words(
        key(
            "description",
            Field::Text {
                form: "one line in quotes",
                get: |m| m.description.clone(),
                set: set_description,
            },
            "One line for `GET /v1/models`.",
        ),
        "none",
        r#""Handwritten digits, 8 by 8""#,
    ),
    words(
        key(
            "entry",
            Field::Text {
                form: "a file in the folder, such as \"model.py\" or \"model.py:Model\"",
                get: |m| Some(show_entry(&m.entry)),
                set: set_entry,
            },
            "The file with the model's code and, after a colon, the class or function in it. Without a name: the one \
             subclass of `cresset.Model` in the file, else its function `predict`.",
        ),
        r#"`"model.py"`"#,
        r#""model.py:Model""#,
    ),
    key(
        "allow_pickle",
        flag!(allow_pickle),
        "Let the model load pickled modules. Whoever wrote the weights can then run code here: say `true` only for \
         weights that you made yourself.",
    ),
    key(
        "copy_inputs",
        flag!(copy_inputs),
        "Give the model copies of its inputs instead of views into shared memory, for a model that keeps or changes \
         them after `predict` has returned.",
    ),
    words(
        key(
            "inputs",
            Field::ByHand("tables, one `[[inputs]]` for each tensor"),
            "The tensors of one item that the model takes, without the batch dimension. A model that declares none is an \
             object model: it gets a list of decoded JSON values.",
        ),
        "none: an object model",
        r#"[{ name = "pixels", dtype = "float32", shape = [1, 8, 8] }]"#,
    ),
    words(
        key(
            "outputs",
            Field::ByHand("tables, one `[[outputs]]` for each tensor"),
            "The tensors of one item that the model gives back, without the batch dimension. Declared outputs are checked.",
        ),
        "none: whatever the model gives back",
        r#"[{ name = "logits", dtype = "float32", shape = [10] }]"#,
    ),
    key(
        "batching.max_batch_size",
        int!(batching.max_batch_size, 1, 65_536),
        "Items in one batch at most.",
    ),
    key(
        "batching.max_delay",
        duration!(batching.max_delay, Duration::ZERO, Duration::from_secs(60)),
        "The longest a batch may be held back to fill up, when that pays. `\"0s\"` never waits.",
    ),
    key(
        "batching.max_batch_bytes",
        bytes!(batching.max_batch_bytes, 1, 16 << 30),
        "Input bytes in one batch at most.",
    ),
    words(
        key(
            "batching.max_batch_cost",
            Field::Int {
                min: 1,
                max: 1 << 50,
                get: |m| m.batching.max_batch_cost,
                set: |m, n| m.batching.max_batch_cost = Some(n),
            },
            "Cost of one batch at most. An item's cost is the number of its input elements, all inputs together; for an \
             object model it is the bytes of its JSON. An item that costs more goes alone.",
        ),
        "not bounded",
        "16384",
    ),
    key(
        "batching.cost",
        Field::Choice {
            names: &["sum", "padded"],
            get: |m| match m.batching.cost {
                Cost::Sum => "sum",
                Cost::Padded => "padded",
            },
            set: |m, name| m.batching.cost = if name == "padded" { Cost::Padded } else { Cost::Sum },
        },
        "What a batch costs: the `sum` of its items, or `padded`, the largest of them times their number, for models that \
         compute on what is padded too.",
    ),
    key(
        "batching.max_padding",
        Field::Number {
            min: 0.0,
            max: 0.9,
            get: |m| m.batching.max_padding,
            set: |m, n| m.batching.max_padding = n,
        },
        "The share of a batch that may be padding, where items of unequal size go together: those of inputs with a `pad`, \
         or with `group_by_size`. Less of it means more and smaller batches. Where several free dimensions of an item \
         differ it is measured by their product.",
    ),
    key(
        "batching.group_by_size",
        flag!(batching.group_by_size),
        "For an object model that pads by itself: JSON inputs of about the same size go together, within `max_padding`.",
    ),
    key(
        "batching.priorities",
        Field::Choice {
            names: &["aged", "strict"],
            get: |m| match m.batching.priorities {
                Priorities::Aged => "aged",
                Priorities::Strict => "strict",
            },
            set: |m, name| {
                m.batching.priorities = if name == "strict" {
                    Priorities::Strict
                } else {
                    Priorities::Aged
                }
            },
        },
        "What a task's priority is worth. `aged`: each point counts as `priority_step` of age, so whatever has waited long \
         enough goes first. `strict`: a higher priority always goes first, and a lower one may wait for ever. A task keeps \
         the place that it got when it was accepted.",
    ),
    key(
        "batching.priority_step",
        duration!(batching.priority_step, TIMEOUT_MIN, STEP_MAX),
        "How much age a point of priority is worth when priorities are `aged`.",
    ),
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
    key(
        "limits.timeout",
        duration!(limits.timeout, TIMEOUT_MIN, TIMEOUT_MAX),
        "One batch may run this long before its process is killed.",
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
        duration!(retry.delay, Duration::ZERO, TIMEOUT_MAX),
        "The wait before the first retry; each further one is twice as long. Each is spread by a fifth either way.",
    ),
    key(
        "retry.max_delay",
        duration!(retry.max_delay, Duration::ZERO, TIMEOUT_MAX),
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
            "environment.python",
            Field::Text {
                form: "the path of an interpreter in quotes",
                get: |m| m.python.clone(),
                set: |m, t| set_path(&mut m.python, t),
            },
            "A ready interpreter, used as it is; a relative path is taken from the model folder. Without it Cresset builds an \
             environment from the requirements.",
        ),
        "none: an environment is built",
        r#""/opt/model/bin/python""#,
    ),
    words(
        key(
            "environment.requirements",
            Field::Text {
                form: "the path of a requirements file in quotes",
                get: |m| m.requirements.clone(),
                set: |m, t| set_path(&mut m.requirements, t),
            },
            "The requirements to build an environment from; a relative path is taken from the model folder.",
        ),
        "`requirements.txt`, if the folder has it",
        r#""requirements.txt""#,
    ),
    words(
        key(
            "environment.python_version",
            Field::Text {
                form: "a Python version in quotes, such as \"3.11\"",
                get: |m| m.python_version.clone(),
                set: set_python_version,
            },
            "The Python version to build the environment with.",
        ),
        "that of the first suitable `python3` on the PATH",
        r#""3.11""#,
    ),
    words(
        key(
            "environment.variables",
            Field::ByHand("table from name to text"),
            "Environment variables of the model's processes. Names that start with `CRESSET_` are ours.",
        ),
        "none",
        r#"{ HF_HUB_OFFLINE = "1" }"#,
    ),
];

const _: () = assert!(
    TIMEOUT_MAX.as_millis() <= u32::MAX as u128,
    "a timeout must fit the runner protocol"
);
