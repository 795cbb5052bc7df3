//! Reads a model's canary: the input in the file that `health.canary` names.

use bytes::Bytes;
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::{Payload, json};

use crate::exit::{Exit, Trouble};
use crate::input;

/// The input, if the model has a canary.
pub(crate) fn read(model: &ModelConfig) -> Result<Option<Payload>, Trouble> {
    let Some(path) = &model.health.canary else {
        return Ok(None);
    };
    let bytes = input::read(path)?;
    let what = format!("the canary of `{}`, {},", model.name, path.display());
    let text = input::json(&bytes, &what)?;
    match model.kind() {
        ModelKind::Object => {
            let text = Bytes::copy_from_slice(text.get().as_bytes());
            Ok(Some(Payload::Json(text)))
        }
        ModelKind::Tensor => match json::parse_inputs(text.get().as_bytes(), &model.inputs) {
            Ok(set) => Ok(Some(Payload::Tensors(set))),
            Err(error) => {
                let joint = if error.path.is_empty() { "" } else { " at " };
                let words = format!(
                    "{what} is not an input of it:{joint}{} {}",
                    error.path, error.message
                );
                Err(Trouble::new(Exit::DATA, words)
                    .hint("write one input as callers send it, without the batch dimension"))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(canary: &str, toml: &str) -> Result<Option<Payload>, String> {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("m");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("model.py"), "").unwrap();
        std::fs::write(model.join("canary.json"), canary).unwrap();
        let toml = format!("{toml}\n[health]\ncanary = \"canary.json\"\n");
        std::fs::write(model.join("model.toml"), toml).unwrap();
        let config = cresset_config::discover(&model).unwrap().remove(0);
        read(&config).map_err(|trouble| trouble.to_string())
    }

    #[test]
    fn a_canary_is_an_input_of_its_model() {
        let tensor = "[[inputs]]\nname = \"x\"\ndtype = \"float32\"\nshape = [2]\n";
        let object = told(r#"{"a": [1.50]}"#, "").unwrap();
        assert_eq!(object, Some(Payload::Json(r#"{"a": [1.50]}"#.into())));
        assert!(matches!(told("[1, 2]", tensor), Ok(Some(Payload::Tensors(_)))));
        let wrong = told("[1, 2, 3]", tensor).unwrap_err();
        assert!(wrong.contains("is not an input of it"), "{wrong}");
        let broken = told("[1,", "").unwrap_err();
        assert!(broken.contains("canary.json, is not JSON"), "{broken}");
    }
}
