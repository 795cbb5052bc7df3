//! What an environment is made of, and the key that names it.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EnvError;
use super::python::Python;

/// Raised when environments are built otherwise than before: old ones are then not reused.
const FORMAT: u32 = 1;
/// How deep `-r other.txt` may go. Real ones go one or two deep; a file that includes itself would go for ever.
const INCLUDES_MAX: usize = 8;
/// Hex digits of the hash that make a key: enough against accidents, short enough for a path.
const KEY_LEN: usize = 32;

/// The name of an environment: a hash of all it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvKey(String);

impl EnvKey {
    /// The key as text: it is a folder's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn of(requirements: &Requirements, base: &Python) -> Self {
        let mut hash = Sha256::new();
        for part in [
            &format!("cresset environment {FORMAT}"),
            &base.tag(),
            &requirements.text,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(KEY_LEN);
        Self(hex)
    }

    /// The key that a folder's name is, if it is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let fits = name.len() == KEY_LEN && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(name.to_owned()))
    }
}

impl fmt::Display for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Requirements, without what makes no difference: comments, blank lines, white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requirements {
    pub(super) path: PathBuf,
    /// Normalised, included files and all. Packages that are named by a path count by the path, not by their contents.
    pub(super) text: String,
}

impl Requirements {
    pub(super) fn read(path: &Path) -> Result<Self, EnvError> {
        let mut text = String::new();
        append(path, &mut text, 0)?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// True when torch is asked for by name, or something of its family.
    pub(super) fn ask_for_torch(&self) -> bool {
        self.text
            .lines()
            .any(|line| line.to_ascii_lowercase().starts_with("torch"))
    }
}

fn append(path: &Path, out: &mut String, depth: usize) -> Result<(), EnvError> {
    if depth > INCLUDES_MAX {
        return Err(EnvError::TooDeep {
            path: path.to_owned(),
            max: INCLUDES_MAX,
        });
    }
    let text = std::fs::read_to_string(path).map_err(|source| EnvError::Requirements {
        path: path.to_owned(),
        source,
    })?;
    for line in logical_lines(&text) {
        out.push_str(&line);
        out.push('\n');
        if let Some(included) = included(&line) {
            append(
                &path.parent().unwrap_or(Path::new("")).join(included),
                out,
                depth + 1,
            )?;
        }
    }
    Ok(())
}

/// Lines with continuations joined, comments and surrounding white space gone, none empty.
fn logical_lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    joined
        .lines()
        .map(|line| {
            let comment = line
                .char_indices()
                .find(|(at, c)| *c == '#' && (*at == 0 || line[..*at].ends_with([' ', '\t'])));
            let line = comment.map_or(line, |(at, _)| &line[..at]);
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .filter(|line| !line.is_empty())
        .collect()
}

/// The file that a line includes.
fn included(line: &str) -> Option<&str> {
    ["-r", "-c", "--requirement", "--constraint"]
        .into_iter()
        .find_map(|option| {
            let rest = line.strip_prefix(option)?;
            let long = option.starts_with("--");
            let name = match rest.strip_prefix([' ', '=']) {
                Some(name) => name,
                None if long => return None,
                None => rest,
            };
            let name = name.trim();
            (!name.is_empty() && !name.contains("://")).then_some(name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(version: &str) -> Python {
        Python {
            executable: "/usr/bin/python3".into(),
            version: version.into(),
            platform: "linux-x86_64".into(),
        }
    }

    fn key(text: &str, version: &str) -> EnvKey {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("requirements.txt");
        std::fs::write(&path, text).unwrap();
        EnvKey::of(&Requirements::read(&path).unwrap(), &base(version))
    }

    #[test]
    fn what_makes_no_difference_does_not_change_the_key() {
        let plain = key("torch==2.15.0\nnumpy\n", "3.11.7");
        assert_eq!(
            plain,
            key("# ours\n\n  torch==2.15.0   # pinned\r\nnumpy", "3.11.7")
        );
        assert_ne!(plain, key("torch==2.15.1\nnumpy\n", "3.11.7"));
        assert_ne!(plain, key("torch==2.15.0\nnumpy\n", "3.12.0"));
        assert_eq!(EnvKey::from_name(plain.as_str()), Some(plain));
        assert_eq!(EnvKey::from_name(".tmp-abc"), None);
    }

    #[test]
    fn a_fragment_is_no_comment() {
        let fragment = "pkg @ https://example.org/pkg.zip#sha256=abc";
        assert_eq!(logical_lines(fragment), [fragment]);
    }

    #[test]
    fn included_files_count_and_must_end_somewhere() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("requirements.txt", "-r base.txt\nsix\n");
        write("base.txt", "numpy\n");
        let read = || Requirements::read(&dir.path().join("requirements.txt"));
        assert_eq!(read().unwrap().text, "-r base.txt\nnumpy\nsix\n");
        write("base.txt", "numpy<3\n");
        assert_eq!(read().unwrap().text, "-r base.txt\nnumpy<3\nsix\n");
        write("base.txt", "--requirement=requirements.txt\n");
        assert!(matches!(read(), Err(EnvError::TooDeep { .. })));
        write("base.txt", "-r gone.txt\n");
        assert!(matches!(read(), Err(EnvError::Requirements { path, .. }) if path.ends_with("gone.txt")));
        assert_eq!(included("-rbase.txt"), Some("base.txt"));
        assert_eq!(included("--requirements-of-mine"), None);
        assert_eq!(included("requests"), None);
    }
}
