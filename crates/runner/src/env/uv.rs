//! uv: found on the PATH, or installed into our cache from the package index.
//!
//! The caller's `UV_*` variables reach uv as they are. pip's settings that uv has under another name are passed on, so
//! that a machine that was set up for pip (a mirror, a certificate) needs no second set-up.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::python::{is_program, on_path};
use super::{EnvError, EnvManager, Progress, command, lock};

/// pip's name for a setting, and uv's.
const SETTINGS: [(&str, &str); 4] = [
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
    ("PIP_CERT", "SSL_CERT_FILE"),
];

impl EnvManager {
    /// The uv to use: of the PATH, of our cache, or else installed into our cache now.
    pub async fn uv(&self, progress: Progress<'_>) -> Result<PathBuf, EnvError> {
        if let Some(uv) = on_path("uv").into_iter().next() {
            return Ok(uv);
        }
        let home = self.cache.join("uv");
        let uv = home.join("bin/uv");
        if is_program(&uv) {
            return Ok(uv);
        }
        let io = |what, path: &Path, source| EnvError::Io {
            what,
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(&self.cache).map_err(|e| io("making", &self.cache, e))?;
        let _lock = lock::exclusive(&self.cache.join("uv.build"), || {
            progress("waiting for another process that installs uv");
        })
        .await?;
        if is_program(&uv) {
            return Ok(uv);
        }
        progress("installing uv (about 50 MB)");
        let python = self.python_on_path(None).await?.executable;
        let aside = self.cache.join(".tmp-uv");
        remove(&aside).map_err(|e| io("removing", &aside, e))?;
        install(&python, &aside, progress).await?;
        remove(&home).map_err(|e| io("removing", &home, e))?;
        std::fs::rename(&aside, &home).map_err(|e| io("renaming", &aside, e))?;
        if is_program(&uv) {
            Ok(uv)
        } else {
            Err(EnvError::NoUv {
                why: "its package holds no program".into(),
            })
        }
    }

    /// uv with our cache and the settings it should have.
    pub(super) fn uv_command(&self, uv: &Path) -> Command {
        let mut command = Command::new(uv);
        command
            .args(["--color", "never"])
            .env_remove("VIRTUAL_ENV")
            .env_remove("PYTHONPATH");
        let unset = |name: &str| std::env::var_os(name).is_none();
        for (pip, name) in SETTINGS {
            if let Some(value) = std::env::var_os(pip).filter(|_| unset(name)) {
                command.env(name, value);
            }
        }
        if unset("UV_CACHE_DIR") {
            command.env("UV_CACHE_DIR", self.uv_cache());
        }
        command
    }

    /// uv's cache, unless the caller has set another.
    pub(super) fn uv_cache(&self) -> PathBuf {
        self.cache.join("uv-cache")
    }
}

/// Installs uv with a virtual environment; where Python has no `venv` or `ensurepip` (some distributions package them
/// apart), with the pip that Python has.
async fn install(python: &Path, to: &Path, progress: Progress<'_>) -> Result<(), EnvError> {
    let venv = async {
        let mut make = Command::new(python);
        make.args(["-m", "venv"]).arg(to);
        command::run(make, progress).await?;
        let mut pip = Command::new(to.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "uv",
        ]);
        command::run(pip, progress).await
    };
    let Err(first) = venv.await else { return Ok(()) };
    tracing::debug!(error = first.0, "uv could not be installed with venv, trying pip");
    let io = |source| EnvError::Io {
        what: "removing",
        path: to.to_owned(),
        source,
    };
    remove(to).map_err(io)?;
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
    ])
    .arg(to)
    .arg("uv");
    match command::run(pip, progress).await {
        Ok(_) => Ok(()),
        Err(second) => Err(EnvError::NoUv {
            why: format!("venv: {}; pip: {}", first.0, second.0),
        }),
    }
}

/// Removes a folder, if it is there.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
