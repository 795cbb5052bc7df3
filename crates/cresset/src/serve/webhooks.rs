//! What signs webhooks: the secrets, from a file or the environment, read before anything starts.

use std::sync::Arc;

use cresset_config::{ModelConfig, ServerConfig};
use cresset_engine::Engine;
use cresset_gateway::TaskWriter;
use cresset_webhook::{Courier, Guard, Keys};

use crate::exit::{Exit, Trouble};

/// The variable that holds the secrets themselves.
const VARIABLE: &str = "CRESSET_WEBHOOKS_SECRETS";
/// A file of secrets is no larger: more is another file.
const FILE_MAX: u64 = 64 << 10;

/// The secrets; `None` when there are none, which is an error for a model that has a `[webhook]`.
pub(super) fn keys(config: &ServerConfig, models: &[ModelConfig]) -> Result<Option<Keys>, Trouble> {
    let keys = read(config)?;
    if keys.is_none()
        && let Some(model) = models.iter().find(|model| model.webhook.is_some())
    {
        let words = format!(
            "the model `{}` has a [webhook], and there are no secrets to sign with",
            model.name
        );
        return Err(Trouble::new(Exit::DATA, words).hint(format!(
            "name a file of them with --webhooks-secrets-file, or set {VARIABLE}; \
             `echo whsec_$(openssl rand -base64 32)` makes one"
        )));
    }
    Ok(keys)
}

fn read(config: &ServerConfig) -> Result<Option<Keys>, Trouble> {
    let variable = std::env::var(VARIABLE)
        .ok()
        .filter(|text| !text.trim().is_empty());
    let (from, text) = match (&config.webhooks.secrets_file, variable) {
        (Some(_), Some(_)) => {
            let words = format!("webhooks.secrets_file and {VARIABLE} are both set");
            return Err(
                Trouble::new(Exit::DATA, words).hint("say which of them is meant by unsetting the other")
            );
        }
        (None, None) => return Ok(None),
        (None, Some(text)) => (VARIABLE.to_owned(), text),
        (Some(path), None) => {
            let shown = path.display().to_string();
            let cannot = |error: &dyn std::fmt::Display| {
                Trouble::new(
                    Exit::NOT_FOUND,
                    format!("cannot read the webhook secrets in {shown}: {error}"),
                )
            };
            let size = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
            if size > FILE_MAX {
                return Err(cannot(&format!("it has {size} bytes, and secrets have fewer")));
            }
            let text = std::fs::read_to_string(path).map_err(|error| cannot(&error))?;
            (shown, text)
        }
    };
    let wrong = |words: String| Trouble::new(Exit::DATA, format!("{from}: {words}"));
    match Keys::read(&text) {
        Ok(Some(keys)) => Ok(Some(keys)),
        Ok(None) => Err(wrong("there is no secret in it".into())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Sends webhooks from now on, where there are secrets.
pub(super) fn start(config: &ServerConfig, keys: Option<Keys>, engine: &Engine) {
    if let Some(keys) = keys {
        let guard = Guard::allowing(config.webhooks.allow.clone());
        engine.deliver(Courier::new(keys, guard), Arc::new(TaskWriter));
    }
}
