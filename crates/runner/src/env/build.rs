//! Building an environment: aside, under a lock, then renamed into place.

use std::path::{Path, PathBuf};

use super::command::{self, Failed};
use super::key::Requirements;
use super::python::Python;
use super::store::{self, Recipe};
use super::uv::remove;
use super::{BuildFailure, EnvError, EnvKey, EnvManager, Progress, lock, python_in};

impl EnvManager {
    /// The interpreter of the environment for these requirements.
    pub(super) async fn built(
        &self,
        base: &Python,
        requirements: &Requirements,
        progress: Progress<'_>,
    ) -> Result<PathBuf, EnvError> {
        let key = EnvKey::of(requirements, base);
        let (envs, env) = (self.envs_dir(), self.path_of(&key));
        let io = |what, path: &Path, source| EnvError::Io {
            what,
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(&envs).map_err(|e| io("making", &envs, e))?;
        // Marked first: an environment that is in use is not pruned between being found and being run.
        if python_in(&env).exists() {
            self.use_it(&key)?;
        }
        if python_in(&env).exists() {
            return Ok(python_in(&env));
        }
        let _lock = lock::exclusive(&envs.join(format!("{key}.build")), || {
            progress("waiting for the same environment, which is being built already");
        })
        .await?;
        if !python_in(&env).exists() {
            let aside = envs.join(format!(".tmp-{key}"));
            // Left by a build that was cut off, and by an environment whose Python has gone.
            remove(&aside).map_err(|e| io("removing", &aside, e))?;
            remove(&env).map_err(|e| io("removing", &env, e))?;
            self.build(base, requirements, &aside, progress).await?;
            std::fs::rename(&aside, &env).map_err(|e| io("renaming", &aside, e))?;
        }
        self.use_it(&key)?;
        Ok(python_in(&env))
    }

    async fn build(
        &self,
        base: &Python,
        requirements: &Requirements,
        aside: &Path,
        progress: Progress<'_>,
    ) -> Result<(), EnvError> {
        let began = tokio::time::Instant::now();
        let file = requirements.path.display();
        progress(&format!(
            "building the environment for {file} with Python {}",
            base.version
        ));
        if requirements.ask_for_torch() && !self.has_torch().await {
            progress(
                "torch must be fetched: about 5 GB of disk, and minutes on a slow network; once, for all models",
            );
        }
        let uv = self.uv(progress).await?;
        let said_no = |Failed(output): Failed| EnvError::Build {
            requirements: requirements.path.clone(),
            failure: BuildFailure::from_output(&output),
            output,
        };
        let mut make = self.uv_command(&uv);
        // Relocatable, as it is renamed.
        make.args(["venv", "--quiet", "--relocatable", "--no-project", "--python"])
            .arg(&base.executable)
            .arg(aside);
        command::run(make, progress).await.map_err(said_no)?;
        let mut install = self.uv_command(&uv);
        install
            .args(["pip", "install", "--python"])
            .arg(python_in(aside))
            .arg("--requirements")
            .arg(&requirements.path);
        if let Some(folder) = requirements.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            install.current_dir(folder);
        }
        command::run(install, progress).await.map_err(said_no)?;
        store::write_recipe(
            aside,
            &Recipe {
                python: base.version.clone(),
                requirements: requirements.text.clone(),
            },
        )?;
        progress(&format!(
            "the environment is built, in {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// True when uv's cache holds torch already.
    async fn has_torch(&self) -> bool {
        let archives = self.uv_cache().join("archive-v0");
        let look = move || {
            let Ok(entries) = std::fs::read_dir(archives) else {
                return false;
            };
            entries
                .filter_map(Result::ok)
                .any(|entry| entry.path().join("torch/version.py").exists())
        };
        // Not found out is not there: the announcement is then one too many.
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }
}
