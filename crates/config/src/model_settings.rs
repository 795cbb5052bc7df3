//! What servers tell each other of a model: the part of its `model.toml` by which callers' inputs are checked, queued and
//! described. Nothing of its code, its machine and its environment is in it; variables may be secrets.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::mistake::Mistake;
use crate::model::ModelConfig;
use crate::model_toml::{Folder, MODEL_TOML, parse_model};

/// Keys and tables that are told; the name is always.
const TOLD: &[&str] = &[
    "version",
    "description",
    "files",
    "content_types",
    "inputs",
    "outputs",
    "batching",
    "limits",
    "retry",
    "stream",
    "logs",
    "webhook",
];

/// The part that is told, of the text of a `model.toml` that has been read.
pub(crate) fn told(name: &str, text: &str) -> String {
    let mut given = text.parse::<Table>().unwrap_or_default();
    let mut told = Table::new();
    told.insert("name".into(), Value::String(name.into()));
    for key in TOLD {
        if let Some(value) = given.remove(*key) {
            told.insert((*key).into(), value);
        }
    }
    told.to_string()
}

/// Reads what another server has told; where that is a newer version of this program it may say what this one does not know.
pub fn read_settings(text: &str) -> Result<ModelConfig, Vec<Mistake>> {
    parse_model(MODEL_TOML, Some(text), &Elsewhere(PathBuf::from("/elsewhere")))
}

/// A folder on another machine.
struct Elsewhere(PathBuf);

impl Folder for Elsewhere {
    fn dir(&self) -> &Path {
        &self.0
    }

    /// Whoever told of it has looked.
    fn is_file(&self, _: &Path) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_meet_is_told_and_what_is_of_the_machine_is_not() {
        let text = r#"
            version = "2"
            entry = "net.py"
            files = false
            inputs = [{ name = "x", dtype = "float32", shape = [-1, 3] }]
            [limits]
            predict_timeout = "3s"
            max_waiting = 5
            [instances]
            devices = ["cuda"]
            [environment]
            python = "/opt/python"
            variables = { TOKEN = "never-shown" }
            [webhook]
            url = "https://example.com/hook"
        "#;
        let whole = parse_model(MODEL_TOML, Some(text), &Elsewhere("/srv/digits".into())).unwrap();
        assert!(!whole.settings.contains("never-shown") && !whole.settings.contains("cuda"));
        let read = read_settings(&whole.settings).unwrap();
        assert_eq!(read.settings, whole.settings, "it can be told on");
        assert_eq!(read.name.as_str(), "digits");
        assert_eq!((&read.version, &read.inputs), (&whole.version, &whole.inputs));
        assert_eq!(read.limits, whole.limits);
        assert_eq!(read.webhook, whole.webhook);
    }

    #[test]
    fn a_model_without_a_file_is_told_by_its_name() {
        let whole = parse_model(MODEL_TOML, None, &Elsewhere("/srv/echo".into())).unwrap();
        assert_eq!(read_settings(&whole.settings).unwrap().name.as_str(), "echo");
    }

    #[test]
    fn what_a_newer_program_says_more_is_named() {
        let mistakes = read_settings("name = \"m\"\nquantum = true\n").unwrap_err();
        assert!(mistakes[0].to_string().contains("quantum"), "{mistakes:?}");
    }
}
