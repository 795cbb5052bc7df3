//! Interpreters for models: found, or built from a `requirements.txt` with uv.
//!
//! An environment belongs to the text of its requirements and the Python it is built with, not to a model: two models
//! that ask for the same share one. It is built aside and renamed into place, so whatever has its final name is whole.
//! Nothing is ever installed into an interpreter that is not ours.
//!
//! ```text
//! <cache>/envs/<key>/          a whole environment; never changed but for its marker of last use
//! <cache>/envs/<key>.build     locked by whoever builds it, in any process
//! <cache>/envs/<key>.use       locked, shared, by every process that runs it: prune leaves it alone
//! <cache>/envs/.tmp-<key>      being built
//! <cache>/uv/                  uv, when the machine has none
//! <cache>/uv-cache/            uv's own cache: on the same file system, so that environments are hard links into it
//! ```

mod build;
mod command;
mod error;
mod key;
mod lock;
mod present;
mod python;
mod store;
mod uv;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cresset_config::ModelConfig;
use cresset_task::ModelName;

pub use error::{BuildFailure, EnvError};
pub use key::EnvKey;
pub use present::Present;
pub use store::{EnvInfo, Pruned};

use key::Requirements;
use python::Python;

/// Told each line of progress.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Finds, builds, lists and removes interpreters. One for a server, shared by all pools.
#[derive(Debug)]
pub struct EnvManager {
    cache: PathBuf,
    /// Interpreters asked once what they are.
    probed: Mutex<HashMap<PathBuf, Python>>,
    /// Models that were told which interpreter they get; restarts need not be.
    told: Mutex<HashSet<ModelName>>,
    /// Environments that this process uses, with their locks.
    in_use: Mutex<HashMap<EnvKey, Arc<File>>>,
}

impl EnvManager {
    /// A manager of the environments under a cache folder (which need not exist yet; it is made absolute).
    #[must_use]
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        let cache = cache_dir.into();
        let cache = std::path::absolute(&cache).unwrap_or(cache);
        Self {
            cache,
            probed: Mutex::default(),
            told: Mutex::default(),
            in_use: Mutex::default(),
        }
    }

    fn envs_dir(&self) -> PathBuf {
        self.cache.join("envs")
    }

    /// Where the environment of this key is, or would be.
    #[must_use]
    pub fn path_of(&self, key: &EnvKey) -> PathBuf {
        self.envs_dir().join(key.as_str())
    }

    /// The interpreter for a model; builds its environment first when there is none yet, which can take minutes. Others
    /// that want the same environment meanwhile wait for it. Cheap once it is there. Cancel-safe: what was begun is
    /// removed by the next build.
    pub async fn interpreter(
        &self,
        config: &ModelConfig,
        progress: Progress<'_>,
    ) -> Result<PathBuf, EnvError> {
        if let Some(python) = &config.environment.python {
            // Taken at its word: it may be no Python at all but another program that speaks the runner protocol.
            return match std::fs::metadata(python) {
                Ok(_) => Ok(python.clone()),
                Err(source) => Err(EnvError::Named {
                    path: python.clone(),
                    source,
                }),
            };
        }
        let (base, requirements) = self.ingredients(config, progress).await?;
        let Some(requirements) = requirements else {
            if self
                .told
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(config.name.clone())
            {
                let (python, version) = (base.executable.display(), &base.version);
                progress(&format!("no requirements.txt: using {python} (Python {version})"));
            }
            return Ok(base.executable);
        };
        self.built(&base, &requirements, progress).await
    }

    /// The key of a model's environment; `None` when it needs none. Builds nothing (but may fetch a Python that
    /// model.toml asks for by version and the machine has not).
    pub async fn key(
        &self,
        config: &ModelConfig,
        progress: Progress<'_>,
    ) -> Result<Option<EnvKey>, EnvError> {
        if config.environment.python.is_some() {
            return Ok(None);
        }
        let (base, requirements) = self.ingredients(config, progress).await?;
        Ok(requirements.map(|r| EnvKey::of(&r, &base)))
    }

    async fn ingredients(
        &self,
        config: &ModelConfig,
        progress: Progress<'_>,
    ) -> Result<(Python, Option<Requirements>), EnvError> {
        let base = self
            .base_python(config.environment.python_version.as_deref(), progress)
            .await?;
        let requirements = config
            .environment
            .requirements
            .as_deref()
            .map(Requirements::read)
            .transpose()?;
        Ok((base, requirements.filter(|r| !r.is_empty())))
    }

    /// The Python to build with: on the PATH, or fetched by uv when a version is asked for that is not there.
    async fn base_python(&self, version: Option<&str>, progress: Progress<'_>) -> Result<Python, EnvError> {
        match self.python_on_path(version).await {
            Err(EnvError::NoPython { .. }) if version.is_some() => {}
            found => return found,
        }
        let version = version.unwrap_or_default();
        progress(&format!("no Python {version} on the PATH: asking uv for one"));
        let uv = self.uv(progress).await?;
        self.python_from_uv(&uv, version, progress).await
    }

    /// Marks an environment as used by this process, now.
    fn use_it(&self, key: &EnvKey) -> Result<(), EnvError> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if !in_use.contains_key(key) {
            let held = lock::shared(&self.envs_dir().join(format!("{key}.use")))?;
            in_use.insert(key.clone(), Arc::new(held));
        }
        store::touch(&self.path_of(key))
    }
}

/// The interpreter inside an environment.
fn python_in(env: &Path) -> PathBuf {
    env.join("bin/python")
}
