//! What can go wrong with environments, said so that it can be mended.

use std::io;
use std::path::PathBuf;

/// Why there is no interpreter.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// model.toml names one that is not there.
    #[error(
        "environment.python is {path}, which cannot be used: {source}; name an existing interpreter, or remove the setting"
    )]
    Named {
        /// As model.toml says.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// None that would do.
    #[error(
        "no suitable Python: {wanted} is needed, and {found}; install it, or name an interpreter in environment.python"
    )]
    NoPython {
        /// `Python 3.10 or newer`.
        wanted: String,
        /// What there was instead.
        found: String,
    },
    /// The requirements cannot be read.
    #[error("{path} cannot be read: {source}")]
    Requirements {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Requirements include each other without end.
    #[error("{path} is included too deeply; requirements may include each other {max} deep")]
    TooDeep {
        /// Which file.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// uv is not here and could not be installed.
    #[error(
        "uv is needed to build the environment, is not on the PATH, and could not be installed: {why}; install it from https://docs.astral.sh/uv"
    )]
    NoUv {
        /// The last attempt's words.
        why: String,
    },
    /// uv said no.
    #[error("the environment for {requirements} could not be built: {failure}\n{output}")]
    Build {
        /// The requirements file.
        requirements: PathBuf,
        /// What kind of no.
        failure: BuildFailure,
        /// uv's last lines.
        output: String,
    },
    /// The disk or the operating system.
    #[error("{what} {path}: {source}")]
    Io {
        /// `making`, `locking`, ...
        what: &'static str,
        /// What it was about.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Kinds of failed builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildFailure {
    /// The requirements contradict each other or ask for what does not exist.
    Unsatisfiable,
    /// A line of the requirements is not one.
    Syntax,
    /// The package index could not be reached.
    Network,
    /// A package does not build on this machine.
    Package,
    /// The disk is full.
    DiskFull,
    /// None of these; uv's words say more.
    Other,
}

impl std::fmt::Display for BuildFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unsatisfiable => "no set of packages satisfies the requirements; check names and versions",
            Self::Syntax => "a line of the requirements is not understood",
            Self::Network => {
                "the package index could not be reached; check the network, proxy or index settings"
            }
            Self::Package => {
                "a package could not be built on this machine; pin a version that has a wheel for it"
            }
            Self::DiskFull => "the disk is full; free some space, or set another cache folder",
            Self::Other => "uv failed",
        })
    }
}

impl BuildFailure {
    /// Reads uv's words.
    pub(super) fn from_output(output: &str) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|t| output.contains(t));
        if says(&["No space left on device", "os error 28"]) {
            Self::DiskFull
        } else if says(&[
            "No solution found",
            "was not found in the package registry",
            "not found in the registry",
        ]) {
            Self::Unsatisfiable
        } else if says(&[
            "Couldn't parse requirement",
            "Unsupported requirement",
            "Unexpected '",
        ]) {
            Self::Syntax
        } else if says(&[
            "error sending request",
            "dns error",
            "Failed to fetch",
            "Failed to download",
            "timed out",
        ]) {
            Self::Network
        } else if says(&["Failed to build", "Build backend", "build backend"]) {
            Self::Package
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uvs_words_are_understood() {
        let cases = [
            (
                "error: No solution found when resolving dependencies\n  cause: Because there is no version of six==99",
                "no set",
            ),
            (
                "error: Failed to fetch: http://x/simple/six/\n  cause: error sending request for url",
                "the package index",
            ),
            (
                "error: Couldn't parse requirement in `r.txt` at position 0",
                "a line",
            ),
            (
                "error: failed to write: No space left on device (os error 28)",
                "the disk",
            ),
            ("  x Failed to build `numpy==1.0`", "a package"),
            ("error: something else", "uv failed"),
        ];
        for (output, start) in cases {
            assert!(
                BuildFailure::from_output(output).to_string().starts_with(start),
                "{output}"
            );
        }
    }
}
