//! Which interpreter a model would get now, without building, fetching or locking anything.

use std::path::PathBuf;

use cresset_config::ModelConfig;

use super::key::Requirements;
use super::python::{is_program, on_path};
use super::{EnvError, EnvKey, EnvManager, python_in};

/// What is there for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    /// This interpreter.
    Python(PathBuf),
    /// Its environment is built from this file when it starts.
    NotBuilt(PathBuf),
    /// The Python that it asks for is fetched when it starts.
    NotFetched(String),
}

impl EnvManager {
    /// What there is for a model. Runs the Pythons of the PATH to ask for their versions; changes nothing.
    ///
    /// # Errors
    ///
    /// When a start would fail too: no such interpreter, requirements that cannot be read.
    pub async fn present(&self, config: &ModelConfig) -> Result<Present, EnvError> {
        let environment = &config.environment;
        if let Some(python) = &environment.python {
            return match std::fs::metadata(python) {
                Ok(_) => Ok(Present::Python(python.clone())),
                Err(source) => Err(EnvError::Named {
                    path: python.clone(),
                    source,
                }),
            };
        }
        let base = match (
            self.python_on_path(environment.python_version.as_deref()).await,
            &environment.python_version,
        ) {
            (Err(EnvError::NoPython { .. }), Some(version)) => {
                return Ok(Present::NotFetched(version.clone()));
            }
            (base, _) => base?,
        };
        let Some(file) = &environment.requirements else {
            return Ok(Present::Python(base.executable));
        };
        let requirements = Requirements::read(file)?;
        if requirements.is_empty() {
            return Ok(Present::Python(base.executable));
        }
        let python = python_in(&self.path_of(&EnvKey::of(&requirements, &base)));
        Ok(if python.exists() {
            Present::Python(python)
        } else {
            Present::NotBuilt(file.clone())
        })
    }

    /// The uv that would be used, if one is there.
    #[must_use]
    pub fn uv_present(&self) -> Option<PathBuf> {
        let own = self.cache.join("uv/bin/uv");
        on_path("uv")
            .into_iter()
            .next()
            .or_else(|| is_program(&own).then_some(own))
    }
}
