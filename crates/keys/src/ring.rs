//! The keys in memory: what a request's token is held against.
//!
//! A look-up is a map and one hash. The file is looked at again when it has changed; what a key has used of its rate stays with
//! it then. A file that cannot be read changes nothing: the keys of before stay, and whoever asked for the look is told. One that
//! is gone is no key at all.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use cresset_task::Timestamp;
use tokio::sync::watch;

use crate::file::{KeyFile, KeyFileError, LastUsed};
use crate::pace::Pace;
use crate::record::{KeyRecord, SecretHash};
use crate::token::{KeyId, Token};

/// When a key was used is noted to this: enough to find those that nobody needs.
const USED_GRAIN_MICROS: i64 = 60 * 1_000_000;

/// A key that is in use.
#[derive(Debug)]
pub struct Key {
    /// What is kept of it.
    pub record: KeyRecord,
    live: Arc<Live>,
}

/// What is known of a key only while the server runs.
#[derive(Debug, Default)]
struct Live {
    pace: Pace,
    /// In microseconds since 1970; 0 is never.
    used: AtomicI64,
}

/// Why a token opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not the text of a key.
    Malformed,
    /// No key has this id and this secret.
    Unknown,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired(Timestamp),
}

/// Which file was read: another one has another of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// All keys of a server.
#[derive(Debug)]
pub struct Keyring {
    file: KeyFile,
    keys: ArcSwap<HashMap<KeyId, Arc<Key>>>,
    seen: Mutex<Option<Stamp>>,
    /// Told that they are others.
    changes: watch::Sender<()>,
    /// What a token of an unknown id is held against, so that it takes as long as another.
    nobodys: SecretHash,
}

impl Keyring {
    /// The keys of this file, which need not be there yet.
    pub fn open(file: KeyFile) -> Result<Self, KeyFileError> {
        let ring = Self {
            file,
            keys: ArcSwap::default(),
            seen: Mutex::new(None),
            changes: watch::Sender::new(()),
            nobodys: SecretHash::of(&[]),
        };
        ring.read(stamp(&ring.file)?)?;
        Ok(ring)
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &KeyFile {
        &self.file
    }

    /// How many keys there are, the revoked ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.load().len()
    }

    /// Whether nobody can come in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the file again if it has changed since; says whether it has. Blocking.
    pub fn refresh(&self) -> Result<bool, KeyFileError> {
        let now = stamp(&self.file)?;
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen == now {
            return Ok(false);
        }
        self.read(now)?;
        Ok(true)
    }

    /// The stamp is from before the file is read: one that changes in between is read once more.
    fn read(&self, stamp: Option<Stamp>) -> Result<(), KeyFileError> {
        // Told once: a file that stays unreadable is looked at again when it changes.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        let records = self.file.read()?.unwrap_or_default();
        let before = self.keys.load();
        let keys = records.into_iter().map(|record| {
            let live = before.get(&record.id).map(|key| Arc::clone(&key.live));
            let key = Key {
                live: live.unwrap_or_default(),
                record,
            };
            (key.record.id, Arc::new(key))
        });
        self.keys.store(Arc::new(keys.collect()));
        self.changes.send_replace(());
        Ok(())
    }

    /// The key that this token is.
    pub fn find(&self, token: &str, now: Timestamp) -> Result<Arc<Key>, Refused> {
        let token = Token::parse(token).ok_or(Refused::Malformed)?;
        let keys = self.keys.load();
        let key = keys.get(&token.id);
        let kept = key.map_or(&self.nobodys, |key| &key.record.sha256);
        let is_it = kept.is(&token.hash());
        let Some(key) = key.filter(|_| is_it) else {
            return Err(Refused::Unknown);
        };
        // Only who has the secret is told more.
        key.opens(now)?;
        Ok(Arc::clone(key))
    }

    /// Whether a key that was found once would be found now, by what is kept of it now; and until when, where it has an end.
    pub fn still_opens(&self, key: KeyId, now: Timestamp) -> Result<Option<Timestamp>, Refused> {
        let keys = self.keys.load();
        let key = keys.get(&key).ok_or(Refused::Unknown)?;
        key.opens(now)?;
        Ok(key.record.expires_at)
    }

    /// Told when there are other keys, or others of their properties.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// When each key was last used, as far as this server has seen it.
    #[must_use]
    pub fn used(&self) -> LastUsed {
        let keys = self.keys.load();
        let used = keys.iter().filter_map(|(id, key)| {
            let at = key.live.used.load(Ordering::Relaxed);
            (at > 0).then(|| (*id, Timestamp::from_micros(at)))
        });
        used.collect()
    }
}

impl Key {
    /// One that is in no ring: what it has used ends with it.
    pub(crate) fn passing(record: KeyRecord) -> Self {
        Self {
            record,
            live: Arc::default(),
        }
    }

    /// Whether it opens anything.
    pub fn opens(&self, now: Timestamp) -> Result<(), Refused> {
        match (self.record.revoked_at, self.record.expires_at) {
            (Some(_), _) => Err(Refused::Revoked),
            (None, Some(at)) if at <= now => Err(Refused::Expired(at)),
            _ => Ok(()),
        }
    }

    /// Takes one request of its rate, by a clock that only goes forward; else how long until there is one.
    pub fn take(&self, clock: Duration) -> Result<(), Duration> {
        match self.record.rate {
            None => Ok(()),
            Some(rate) => self.live.pace.take(rate, clock),
        }
    }

    /// Notes that it was used.
    pub fn note_use(&self, now: Timestamp) {
        let at = now.as_micros() / USED_GRAIN_MICROS * USED_GRAIN_MICROS;
        // Read first: a line of memory that many threads write would be slow.
        if self.live.used.load(Ordering::Relaxed) != at {
            self.live.used.store(at, Ordering::Relaxed);
        }
    }
}

fn stamp(file: &KeyFile) -> Result<Option<Stamp>, KeyFileError> {
    match fs::metadata(file.path()) {
        Ok(found) => Ok(Some(Stamp {
            inode: found.ino(),
            bytes: found.size(),
            changed: (found.mtime(), found.mtime_nsec()),
        })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeyFileError::Io(file.path().to_owned(), error)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pace::Rate;
    use crate::record::{Scope, Scopes};

    pub(crate) fn record(token: &Token, tenant: &str) -> KeyRecord {
        KeyRecord {
            id: token.id,
            name: "a key".into(),
            tenant: tenant.parse().unwrap(),
            scopes: Scopes(vec![Scope::Read]),
            models: None,
            rate: None,
            max_open: None,
            created_at: at(0),
            expires_at: None,
            revoked_at: None,
            sha256: token.hash(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    fn ring() -> (tempfile::TempDir, Keyring) {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(KeyFile::at(dir.path().join("keys.json"))).unwrap();
        (dir, ring)
    }

    #[test]
    fn a_key_opens_and_nothing_like_it_does() {
        let (_dir, ring) = ring();
        let token = Token::fresh().unwrap();
        let text = token.reveal();
        assert_eq!(ring.find(&text, at(1)).unwrap_err(), Refused::Unknown);
        ring.file()
            .change(|keys| keys.push(record(&token, "ours")))
            .unwrap();
        assert!(ring.refresh().unwrap());
        assert!(!ring.refresh().unwrap());
        assert_eq!(ring.find(&text, at(1)).unwrap().record.tenant.as_str(), "ours");
        let last = if text.ends_with('0') { "1" } else { "0" };
        let guess = format!("{}{last}", &text[..text.len() - 1]);
        assert_eq!(ring.find(&guess, at(1)).unwrap_err(), Refused::Unknown);
        let other = Token::fresh().unwrap().reveal();
        assert_eq!(ring.find(&other, at(1)).unwrap_err(), Refused::Unknown);
        for text in ["", "crs_", "Bearer x", text.to_uppercase().as_str(), &text[1..]] {
            assert_eq!(ring.find(text, at(1)).unwrap_err(), Refused::Malformed, "{text}");
        }
    }

    #[test]
    fn a_revoked_key_and_one_whose_time_is_over_open_no_more_and_only_the_holder_is_told_why() {
        let (_dir, ring) = ring();
        let (gone, old) = (Token::fresh().unwrap(), Token::fresh().unwrap());
        let revoked = KeyRecord {
            revoked_at: Some(at(5)),
            ..record(&gone, "ours")
        };
        let expiring = KeyRecord {
            expires_at: Some(at(10)),
            ..record(&old, "ours")
        };
        ring.file()
            .change(|keys| keys.extend([revoked, expiring]))
            .unwrap();
        ring.refresh().unwrap();
        assert_eq!(ring.find(&gone.reveal(), at(1)).unwrap_err(), Refused::Revoked);
        assert!(ring.find(&old.reveal(), at(9)).is_ok());
        assert_eq!(
            ring.find(&old.reveal(), at(10)).unwrap_err(),
            Refused::Expired(at(10))
        );
        let guess = format!("crs_{}_{}", gone.id, "0".repeat(64));
        assert_eq!(ring.find(&guess, at(1)).unwrap_err(), Refused::Unknown);
    }

    #[test]
    fn a_file_that_is_damaged_changes_nothing_and_one_that_is_gone_is_no_key() {
        let (_dir, ring) = ring();
        let token = Token::fresh().unwrap();
        ring.file()
            .change(|keys| keys.push(record(&token, "ours")))
            .unwrap();
        ring.refresh().unwrap();
        fs::write(ring.file().path(), "{").unwrap();
        assert!(ring.refresh().is_err());
        assert!(!ring.refresh().unwrap(), "told once");
        assert!(ring.find(&token.reveal(), at(1)).is_ok());
        fs::remove_file(ring.file().path()).unwrap();
        assert!(ring.refresh().unwrap());
        assert_eq!(ring.find(&token.reveal(), at(1)).unwrap_err(), Refused::Unknown);
    }

    #[test]
    fn what_a_key_has_used_of_its_rate_stays_with_it_when_the_file_changes() {
        let (_dir, ring) = ring();
        let token = Token::fresh().unwrap();
        let limited = KeyRecord {
            rate: Some(Rate {
                per_second: 1.0,
                burst: 1,
            }),
            ..record(&token, "ours")
        };
        ring.file().change(|keys| keys.push(limited)).unwrap();
        ring.refresh().unwrap();
        let clock = Duration::from_secs(100);
        let key = ring.find(&token.reveal(), at(1)).unwrap();
        key.take(clock).unwrap();
        key.note_use(at(61));
        let other = Token::fresh().unwrap();
        ring.file()
            .change(|keys| keys.push(record(&other, "theirs")))
            .unwrap();
        ring.refresh().unwrap();
        let key = ring.find(&token.reveal(), at(1)).unwrap();
        assert_eq!(key.take(clock), Err(Duration::from_secs(1)));
        assert_eq!(ring.used().into_keys().collect::<Vec<_>>(), [token.id]);
    }
}
