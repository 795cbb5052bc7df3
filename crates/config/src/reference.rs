//! The reference pages `docs/reference/config.md` and `docs/reference/model-toml.md`, from the tables of keys.

use crate::field::Key;
use crate::model_keys::{Draft, model_keys};
use crate::settings::{OTHER_VARIABLES, SETTINGS};
use crate::tensor_keys::{TENSOR_KEYS, TensorDraft};

const GENERATED: &str =
    "<!-- Written by `cargo run -p cresset-config --example reference`; do not edit. -->\n\n";

const UNITS: &str = "Durations are text with a unit: `us`, `ms`, `s`, `m`, `h`, `d`, as in `\"30s\"` or `\"1.5h\"`. Sizes are \
bytes, or text with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024), `kB`, `MB`, `GB`, `TB` (powers of 1000).\n\n";

/// The page about `cresset.toml`, `CRESSET_*` and flags.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = format!(
        "{GENERATED}# Settings of the server\n\n\
         Every setting has a default. `cresset.toml` overrides the defaults, environment variables override the file, and \
         flags of `cresset serve` override both. `cresset config show` prints the effective values and where each came \
         from. All mistakes are reported at once, with file and line, before anything starts.\n\n\
         Relative paths in the file are taken from the file's folder; those in variables and flags from the current \
         one. A variable that is set but empty counts as not set. A variable whose name starts with `CRESSET_` and that \
         is not listed here is warned about. Spans are set up by OpenTelemetry's own variables: [tracing](tracing.md).\n\n{UNITS}"
    );
    let mut table = "";
    for setting in SETTINGS {
        if setting.key.table() != table {
            table = setting.key.table();
            out.push_str(&format!("## `[{table}]`\n\n"));
        }
        let flag = match setting.flag {
            "models" => "the argument `MODELS`".to_owned(),
            flag => format!("`--{flag}`"),
        };
        let default = setting
            .key
            .default
            .map_or_else(|| code(&setting.default_text()), str::to_owned);
        out.push_str(&format!(
            "### `{}`\n\n{}\n\n- takes: {}\n- default: {default}\n- variable: `{}`\n- flag: {flag}\n\n",
            setting.path(),
            setting.doc(),
            setting.key.form(),
            setting.env
        ));
    }
    out.push_str("## Other variables\n\n| variable | what for |\n| --- | --- |\n");
    for other in OTHER_VARIABLES {
        out.push_str(&format!("| `{}` | {} |\n", other.name, other.doc));
    }
    out
}

/// The page about `model.toml`.
#[must_use]
pub fn model_reference_markdown() -> String {
    let mut out = format!(
        "{GENERATED}# `model.toml`\n\n\
         A model is a folder with the model's code, its weights and, when a default does not fit, a `model.toml`. All keys \
         but those of declared tensors have defaults; a folder with only a `model.py` is a model too. `cresset check DIR` \
         reports every mistake at once, with file and line; `cresset init DIR` writes a commented file to start from.\n\n{UNITS}\
         ## At the top\n\n"
    );
    let mut table = "";
    let defaults = Draft::default();
    for key in model_keys() {
        if key.table() != table {
            table = key.table();
            out.push_str(&format!("## `[{table}]`\n\n"));
        }
        put_key(key, &defaults, &mut out);
    }
    out.push_str("## Each of `[[inputs]]` and `[[outputs]]`\n\n");
    let defaults = TensorDraft::default();
    for key in TENSOR_KEYS {
        put_key(key, &defaults, &mut out);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn put_key<T>(key: &Key<T>, defaults: &T, out: &mut String) {
    let default = match key.default {
        Some(words) => words.to_owned(),
        None => key
            .value(defaults)
            .map(|v| code(&v.to_toml()))
            .unwrap_or_default(),
    };
    out.push_str(&format!(
        "### `{}`\n\n{}\n\n- takes: {}\n- default: {default}\n\n",
        key.path,
        key.doc,
        key.form()
    ));
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
