//! `[celery]`: which Celery tasks it answers.

use super::{Draft, key, words};
use crate::field::{Field, Key};

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
    words(
        key(
            "celery.tasks",
            Field::ByHand("array of names of tasks in quotes"),
            "The Celery tasks that the model answers when the server is a Celery worker (`cresset worker`).",
        ),
        "none",
        r#"["proj.tasks.perform_inference"]"#,
    ),
    words(
        key(
            "celery.parameters",
            Field::ByHand("array of names of parameters in quotes, with `?` behind one that may be left out"),
            "The parameters of the task's function, in their order, so that arguments are bound as Python would. For a model of \
             tensors they stand for its inputs, one for one. For a model of JSON one parameter is the input, several are an object \
             with their names.",
        ),
        "the names of the model's inputs; a model with one input, or of JSON, takes one argument by any name",
        r#"["pixels"]"#,
    ),
];
