//! `[environment]`: the Python that it runs on.

use super::{Draft, key, words};
use crate::field::{Field, Key};
use crate::model_values::{set_path, set_python_version};

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
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
