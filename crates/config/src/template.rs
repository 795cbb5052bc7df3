//! The commented files that `cresset init` and `cresset config init` write: every key with its words and its default.
//!
//! Words are comments with a space after the hash, values without one: `#listen = "127.0.0.1:8700"`. Removing the hash
//! makes a value count, and it must then be valid; tests do just that.

use crate::field::Key;
use crate::model::ModelKind;
use crate::model_keys::{Draft, model_keys};
use crate::server::ServerConfig;
use crate::settings::SETTINGS;

const WIDTH: usize = 100;

/// A commented `cresset.toml` in which everything has its default.
#[must_use]
pub fn default_cresset_toml() -> String {
    let mut out = String::from(
        "# Settings of a Cresset server. Every value shown is the default; remove the `#` before one to change it.\n\
         # Environment variables (CRESSET_*) override this file, and flags override both; `cresset config show` tells\n\
         # what came from where. Relative paths are taken from the folder of this file.\n",
    );
    let defaults = ServerConfig::default();
    let mut table = "";
    for setting in SETTINGS {
        if setting.key.table() != table {
            table = setting.key.table();
            out.push_str(&format!("\n[{table}]\n"));
        }
        put_key(&setting.key, &defaults, &mut out);
    }
    out
}

/// A commented `model.toml` for a model of this kind, in which everything but the tensors has its default.
#[must_use]
pub fn default_model_toml(kind: ModelKind) -> String {
    let mut out = String::from(
        "# Describes the model in this folder. Every value after a `#` is the default, or an example where there is none;\n# remove the `#` to change it.\n\n",
    );
    let defaults = Draft::default();
    // A model that runs elsewhere has another file, of few lines; both in one would contradict each other.
    let of_a_model = model_keys().filter(|key| key.table() != "send");
    let (top, tables): (Vec<_>, Vec<_>) = of_a_model.partition(|key| key.table().is_empty());
    let (tensors, top): (Vec<_>, Vec<_>) = top
        .into_iter()
        .partition(|key| matches!(key.path, "inputs" | "outputs"));
    for key in top {
        put_key(key, &defaults, &mut out);
    }
    for key in tensors {
        let hash = if kind == ModelKind::Tensor { "" } else { "#" };
        let name = if key.path == "inputs" { "x" } else { "y" };
        out.push('\n');
        put_words(key.doc, &mut out);
        for line in [
            &format!("[[{}]]", key.path),
            &format!("name = \"{name}\""),
            "dtype = \"float32\"",
            "shape = [4]",
        ] {
            out.push_str(&format!("{hash}{line}\n"));
        }
    }
    let mut table = "";
    for key in tables {
        if key.table() != table {
            table = key.table();
            out.push_str(&format!("\n[{table}]\n"));
        }
        put_key(key, &defaults, &mut out);
    }
    out
}

fn put_key<T>(key: &Key<T>, defaults: &T, out: &mut String) {
    put_words(key.doc, out);
    if let Some(words) = key
        .default
        .filter(|words| !words.starts_with("`\"") && !words.starts_with("`["))
    {
        put_words(&format!("Default: {}.", words.replace('`', "")), out);
    }
    let value = key
        .example
        .map(str::to_owned)
        .or_else(|| key.value(defaults).map(|v| v.to_toml()));
    out.push_str(&format!("#{} = {}\n", key.name(), value.unwrap_or_default()));
}

/// Words as comment lines of at most [`WIDTH`] columns.
fn put_words(words: &str, out: &mut String) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
