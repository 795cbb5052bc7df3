//! The file of keys: read whole, changed by one process at a time, replaced by rename, so that whoever reads it at any moment
//! reads a whole one. Only its owner may read it.
//!
//! Beside it lies `FILE.lock`, held while the file is changed, and `FILE.used`, in which a server notes when each key was last
//! used: apart, so that a server never writes the file that people change.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cresset_task::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::record::KeyRecord;
use crate::token::KeyId;

/// Keys in one file at most: they are all in memory, and looked for by people.
pub const KEYS_MAX: usize = 10_000;
/// A file of so many keys is smaller; what is larger is not one of ours.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The form that this version writes.
const VERSION: u32 = 1;
/// Nobody else may read it: who has the hashes knows which keys there are, and whose.
const MODE: u32 = 0o600;

/// When keys were last used, by their ids; not to the second.
pub type LastUsed = BTreeMap<KeyId, Timestamp>;

/// Why the file cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The disk says no.
    #[error("{0} cannot be used: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// It is not a file of keys.
    #[error("{0} is not a file of keys: {1}")]
    Damaged(PathBuf, String),
    /// There is no room for another key.
    #[error("{0} has {KEYS_MAX} keys, which is as many as there may be; revoke some with `--forget`")]
    Full(PathBuf),
}

/// A file of keys, which need not be there yet.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<KeyRecord>,
}

impl KeyFile {
    /// The file at this path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys, the revoked ones too, in the order in which they were made; `None` when there is no file.
    pub fn read(&self) -> Result<Option<Vec<KeyRecord>>, KeyFileError> {
        let Some(text) = self.text(&self.path)? else {
            return Ok(None);
        };
        let damaged = |why: String| KeyFileError::Damaged(self.path.clone(), why);
        let document: Document = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if document.version != VERSION {
            let found = document.version;
            return Err(damaged(format!(
                "its form is number {found}, and this version reads number {VERSION}"
            )));
        }
        let mistake = document.keys.iter().find_map(KeyRecord::mistake);
        match mistake {
            Some(mistake) => Err(damaged(mistake)),
            None if document.keys.len() > KEYS_MAX => Err(KeyFileError::Full(self.path.clone())),
            None => Ok(Some(document.keys)),
        }
    }

    /// Changes the keys while nobody else can; they are on the disk when this returns.
    pub fn change<T>(&self, change: impl FnOnce(&mut Vec<KeyRecord>) -> T) -> Result<T, KeyFileError> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| self.io(folder, error))?;
        }
        let lock = self.beside("lock");
        let held = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(MODE)
            .open(&lock)
            .map_err(|error| self.io(&lock, error))?;
        flock(&held, FlockOperation::LockExclusive).map_err(|error| self.io(&lock, error.into()))?;
        let mut keys = self.read()?.unwrap_or_default();
        let before = keys.clone();
        let changed = change(&mut keys);
        if keys.len() > KEYS_MAX {
            return Err(KeyFileError::Full(self.path.clone()));
        }
        if keys != before {
            let document = Document {
                version: VERSION,
                keys,
            };
            self.replace(&self.path, &document)?;
        }
        Ok(changed)
    }

    /// When keys were last used, as far as a server has noted it.
    pub fn last_used(&self) -> Result<LastUsed, KeyFileError> {
        let path = self.beside("used");
        match self.text(&path)? {
            None => Ok(LastUsed::new()),
            Some(text) => {
                serde_json::from_slice(&text).map_err(|error| KeyFileError::Damaged(path, error.to_string()))
            }
        }
    }

    /// Notes it; called by the one server that has the file.
    pub fn note_used(&self, used: &LastUsed) -> Result<(), KeyFileError> {
        self.replace(&self.beside("used"), used)
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(what);
        name.into()
    }

    fn text(&self, path: &Path) -> Result<Option<Vec<u8>>, KeyFileError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(path, error)),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut text)
            .map_err(|error| self.io(path, error))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let why = format!("it has more than {FILE_BYTES_MAX} bytes");
            return Err(KeyFileError::Damaged(path.to_owned(), why));
        }
        Ok(Some(text))
    }

    /// Written aside, flushed, renamed; the folder is flushed too, or a power cut could bring the old one back.
    fn replace(&self, path: &Path, document: &impl Serialize) -> Result<(), KeyFileError> {
        let mut name = path.to_owned().into_os_string();
        name.push(".new");
        let aside = PathBuf::from(name);
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(document)?;
            text.push(b'\n');
            match fs::remove_file(&aside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(MODE)
                .open(&aside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) => File::open(folder)?.sync_all(),
                None => File::open(".")?.sync_all(),
            }
        };
        write().map_err(|error| self.io(path, error))
    }

    fn io(&self, path: &Path, error: io::Error) -> KeyFileError {
        KeyFileError::Io(path.to_owned(), error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::ring::tests::record;
    use crate::token::Token;

    #[test]
    fn keys_read_back_and_only_their_owner_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("new/keys.json"));
        assert_eq!(file.read().unwrap(), None);
        let token = Token::fresh().unwrap();
        let made = record(&token, "ours");
        file.change(|keys| keys.push(made.clone())).unwrap();
        assert_eq!(file.read().unwrap(), Some(vec![made]));
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let text = fs::read_to_string(file.path()).unwrap();
        let (_, secret) = token
            .reveal()
            .rsplit_once('_')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert!(!text.contains(&secret), "the secret is nowhere");
    }

    #[test]
    fn many_who_change_it_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let token = Token::fresh().unwrap();
                        file.change(|keys| keys.push(record(&token, "ours"))).unwrap();
                        assert!(file.read().unwrap().is_some(), "it is whole at any moment");
                    }
                });
            }
        });
        assert_eq!(file.read().unwrap().unwrap().len(), 40);
    }

    #[test]
    fn what_is_no_file_of_keys_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        let mut nameless = record(&Token::fresh().unwrap(), "ours");
        nameless.scopes.0.clear();
        let scopeless = serde_json::json!({"version": 1, "keys": [nameless]}).to_string();
        for text in [
            "",
            "{}",
            "[]",
            r#"{"version": 2, "keys": []}"#,
            scopeless.as_str(),
        ] {
            fs::write(file.path(), text).unwrap();
            assert!(matches!(file.read(), Err(KeyFileError::Damaged(..))), "{text}");
            assert!(file.change(Vec::clear).is_err());
            assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
        }
    }

    #[test]
    fn when_keys_were_used_is_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        assert!(file.last_used().unwrap().is_empty());
        let id = Token::fresh().unwrap().id;
        let used = LastUsed::from([(id, Timestamp::from_micros(60_000_000))]);
        file.note_used(&used).unwrap();
        assert_eq!(file.last_used().unwrap(), used);
        assert_eq!(file.read().unwrap(), None);
    }
}
