//! What the model is: its name, its code, its tensors.

use super::{Draft, key, words};
use crate::field::{Field, Key};
use crate::model_files::set_types;
use crate::model_values::{set_description, set_entry, set_name, set_version, show_entry};

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
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
            "files",
            Field::ByHand("`true`, `false`, or `\"path\"`"),
            "Inputs may be files: a body of any type, or a form with files. The model gets each as a `cresset.File`: with `true` \
             its bytes, with `\"path\"` a file on the disk (`File.path`) that is there as long as the call lasts and is removed \
             after it, also when the process is killed. For models of JSON.",
        ),
        "`false`",
        "false",
    ),
    words(
        key(
            "content_types",
            Field::List {
                form: "an array of types and families, such as [\"image/*\", \"application/pdf\"]",
                get: |m| m.files.types.iter().map(ToString::to_string).collect(),
                set: set_types,
            },
            "The types of files that are taken; one of another type is refused with 415, as a body or in a form. What a file is, its \
             sender says. JSON is always taken; a file in it (`$file`) of another type fails its task.",
        ),
        "files of any type",
        r#"["image/*", "application/pdf"]"#,
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
];
