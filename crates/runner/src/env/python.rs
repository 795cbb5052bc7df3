//! Finding a Python and asking it what it is.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use tokio::process::Command;

use super::{EnvError, EnvManager, Progress, command};

/// The oldest Python that the runner module runs on.
const OLDEST: (u32, u32) = (3, 10);
/// Asks an interpreter for its real path, version and platform, a line each.
const QUESTION: &str = "import sys, sysconfig; print(sys.executable); \
    print('.'.join(map(str, sys.version_info[:3]))); print(sysconfig.get_platform())";

/// An interpreter and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Python {
    /// The interpreter itself, not a wrapper that picks one.
    pub(super) executable: PathBuf,
    /// `3.11.7`.
    pub(super) version: String,
    /// `linux-x86_64`.
    pub(super) platform: String,
}

impl Python {
    /// All that an environment built with it depends on.
    pub(super) fn tag(&self) -> String {
        format!("{} {} {}", self.executable.display(), self.version, self.platform)
    }

    fn numbers(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split('.').map(|p| p.parse().ok());
        Some((parts.next()??, parts.next()??))
    }

    /// `3.11` admits 3.11.7, and `3.11.7` itself.
    fn satisfies(&self, wanted: Option<&str>) -> bool {
        match wanted {
            None => self.numbers().is_some_and(|version| version >= OLDEST),
            Some(wanted) => self.version == wanted || self.version.starts_with(&format!("{wanted}.")),
        }
    }
}

impl EnvManager {
    /// The first Python on the PATH that will do.
    pub(super) async fn python_on_path(&self, version: Option<&str>) -> Result<Python, EnvError> {
        let mut names = vec!["python3".to_owned(), "python".to_owned()];
        if let Some(version) = version {
            names.insert(0, format!("python{version}"));
        }
        let mut found = Vec::new();
        for candidate in names.iter().flat_map(|name| on_path(name)) {
            match self.probe(&candidate).await {
                Ok(python) if python.satisfies(version) => return Ok(python),
                Ok(python) => found.push(format!("{} is {}", candidate.display(), python.version)),
                // A shim without a Python behind it, for example.
                Err(why) => found.push(format!("{} does not run ({why})", candidate.display())),
            }
        }
        Err(EnvError::NoPython {
            wanted: match version {
                Some(version) => format!("Python {version}"),
                None => format!("Python {}.{} or newer", OLDEST.0, OLDEST.1),
            },
            found: if found.is_empty() {
                "there is no python3 on the PATH".into()
            } else {
                found.join(", ")
            },
        })
    }

    pub(super) async fn python_from_uv(
        &self,
        uv: &Path,
        version: &str,
        progress: Progress<'_>,
    ) -> Result<Python, EnvError> {
        let missing = |found: String| EnvError::NoPython {
            wanted: format!("Python {version}"),
            found,
        };
        let mut install = self.uv_command(uv);
        install.args(["python", "install", version]);
        command::run(install, progress)
            .await
            .map_err(|e| missing(format!("uv could not fetch it: {}", e.0)))?;
        let mut find = self.uv_command(uv);
        find.args(["python", "find", "--no-project", version]);
        let path = command::run(find, progress)
            .await
            .map_err(|e| missing(format!("uv does not find it: {}", e.0)))?;
        self.probe(Path::new(path.trim())).await.map_err(missing)
    }

    /// What an interpreter is. Asked once: the answer is remembered.
    async fn probe(&self, path: &Path) -> Result<Python, String> {
        let known = self
            .probed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut ask = Command::new(path);
        ask.args(["-I", "-c", QUESTION]);
        let answer = command::run(ask, &|_: &str| {})
            .await
            .map_err(|e| e.0.lines().last().unwrap_or("").to_owned())?;
        let mut lines = answer.lines().map(str::to_owned);
        let (Some(executable), Some(version), Some(platform)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(format!("it answered {answer:?}"));
        };
        let python = Python {
            executable: executable.into(),
            version,
            platform,
        };
        self.probed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned(), python.clone());
        Ok(python)
    }
}

/// Every program of this name on the PATH, in order.
pub(super) fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .filter(|file| is_program(file))
        .collect()
}

pub(super) fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let python = |v: &str| Python {
            executable: "p".into(),
            version: v.into(),
            platform: "x".into(),
        };
        assert!(
            python("3.10.0").satisfies(None)
                && python("3.14.1").satisfies(None)
                && python("4.0.0").satisfies(None)
        );
        assert!(
            !python("3.9.18").satisfies(None)
                && !python("2.7.18").satisfies(None)
                && !python("").satisfies(None)
        );
        assert!(python("3.11.7").satisfies(Some("3.11")) && python("3.11.7").satisfies(Some("3.11.7")));
        assert!(!python("3.11.7").satisfies(Some("3.1")) && !python("3.11.7").satisfies(Some("3.12")));
    }

    #[tokio::test]
    async fn the_python_on_the_path_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let envs = EnvManager::new(dir.path());
        let python = envs.python_on_path(None).await.unwrap();
        assert!(python.executable.is_absolute() && python.numbers().unwrap() >= OLDEST);
        let error = envs.python_on_path(Some("3.2")).await.unwrap_err().to_string();
        assert!(
            error.contains("Python 3.2 is needed") && error.contains(&python.version),
            "{error}"
        );
    }
}
