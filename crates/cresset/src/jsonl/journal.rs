//! Which line became which task, kept beside the output until the run is complete.
//!
//! One JSON object a line: first a head (`{"cresset_journal":1,"run":...,"model":...}`), then an entry for each accepted
//! task, written in one system call right after the server's 202 and before anything waits on it. An entry that a crash
//! cut off is dropped. Entries of lines whose record is written are dropped when a run goes on, so the file stays small.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cresset_task::TaskId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::exit::{Exit, Trouble};

/// The form of the file; one that this program does not know is refused.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    cresset_journal: u32,
    /// Names the run to the server, so that a submit that is sent again can be recognised.
    run: Uuid,
    model: String,
}

/// A line that has been submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The line of the input.
    pub(super) line: u64,
    /// The task it became.
    pub(super) task_id: TaskId,
    /// Of the line's text ([`digest`]), to see whether the input is still the same.
    pub(super) digest: u64,
}

/// The open journal of a run.
#[derive(Debug)]
pub(super) struct Journal {
    run: Uuid,
    /// `None` when the output is stdout: then there is nothing to go on with.
    file: Option<Mutex<File>>,
    /// It has, or had, an entry.
    touched: AtomicBool,
    path: PathBuf,
}

impl Journal {
    /// None is kept.
    pub(super) fn nowhere() -> Self {
        Self {
            run: Uuid::now_v7(),
            file: None,
            touched: AtomicBool::new(false),
            path: PathBuf::new(),
        }
    }

    /// A new journal; never over one of a run that was interrupted.
    pub(super) fn create(path: &Path, model: &str) -> Result<Self, Trouble> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => Trouble::new(
                    Exit::CANNOT_CREATE,
                    format!("{} is there: a run was interrupted", path.display()),
                )
                .hint("go on with it by adding --resume, or remove that file to begin anew"),
                _ => Trouble::new(
                    Exit::CANNOT_CREATE,
                    format!("cannot make {}: {error}", path.display()),
                ),
            })?;
        let run = Uuid::now_v7();
        let journal = Self {
            run,
            file: Some(Mutex::new(file)),
            touched: AtomicBool::new(false),
            path: path.to_owned(),
        };
        journal.append(&Head {
            cresset_journal: VERSION,
            run,
            model: model.to_owned(),
        })?;
        Ok(journal)
    }

    /// Goes on with the journal at `path`: gives the entries of lines after `last_line`, the newest for each line. A
    /// new journal when there is none.
    pub(super) fn resume(
        path: &Path,
        model: &str,
        last_line: u64,
    ) -> Result<(Self, HashMap<u64, Entry>), Trouble> {
        let old = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((Self::create(path, model)?, HashMap::new()));
            }
            Err(error) => return Err(Trouble::file("read", path, &error)),
        };
        let (head, entries) = load(old, path, last_line)?;
        if let Some(head) = &head
            && head.model != model
        {
            return Err(Trouble::new(
                Exit::DATA,
                format!(
                    "{} is of a run with the model `{}`, not `{model}`",
                    path.display(),
                    head.model
                ),
            )
            .hint(format!("name the same model: cresset submit {} ...", head.model)));
        }
        let run = head.map_or_else(Uuid::now_v7, |head| head.run);
        let journal = Self::rewrite(
            path,
            &Head {
                cresset_journal: VERSION,
                run,
                model: model.to_owned(),
            },
            &entries,
        )?;
        Ok((journal, entries))
    }

    /// Writes a fresh copy aside and renames it into place: a crash leaves the old one or the new one.
    fn rewrite(path: &Path, head: &Head, entries: &HashMap<u64, Entry>) -> Result<Self, Trouble> {
        let failed = |error: std::io::Error| Trouble::file("write", path, &error);
        let mut text = line_of(head)?;
        let mut sorted: Vec<_> = entries.values().collect();
        sorted.sort_by_key(|entry| entry.line);
        for entry in sorted {
            text.extend(line_of(entry)?);
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(".new");
        let aside = PathBuf::from(aside);
        let mut file = File::create(&aside).map_err(failed)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        std::fs::rename(&aside, path).map_err(failed)?;
        Ok(Self {
            run: head.run,
            file: Some(Mutex::new(file)),
            touched: AtomicBool::new(true),
            path: path.to_owned(),
        })
    }

    /// Names the submit of a line to the server, the same each time it is sent.
    pub(super) fn key(&self, line: u64) -> String {
        format!("{}-{line}", self.run)
    }

    /// Remembers a submitted line: once this returns, a crash of ours does not forget it.
    pub(super) fn remember(&self, entry: Entry) -> Result<(), Trouble> {
        self.touched.store(true, Ordering::Relaxed);
        self.append(&entry)
    }

    /// True when it is new and nothing was submitted.
    pub(super) fn is_untouched(&self) -> bool {
        !self.touched.load(Ordering::Relaxed)
    }

    fn append<T: Serialize>(&self, value: &T) -> Result<(), Trouble> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = line_of(value)?;
        // A panic elsewhere while writing leaves at worst a torn last line, which reading drops.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text)
            .map_err(|error| Trouble::file("write", &self.path, &error))
    }

    /// Puts what is remembered on the disk, for a run that stops before its end.
    pub(super) fn keep(&self) -> Result<(), Trouble> {
        let Some(file) = &self.file else { return Ok(()) };
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_all()
            .map_err(|error| Trouble::file("write", &self.path, &error))
    }

    /// Removes the journal of a run that is complete.
    pub(super) fn complete(self) -> Result<(), Trouble> {
        match self.file {
            Some(_) => {
                std::fs::remove_file(&self.path).map_err(|error| Trouble::file("remove", &self.path, &error))
            }
            None => Ok(()),
        }
    }
}

fn line_of<T: Serialize>(value: &T) -> Result<Vec<u8>, Trouble> {
    let mut text = serde_json::to_vec(value)
        .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot write the journal: {error}")))?;
    text.push(b'\n');
    Ok(text)
}

/// The head (none in an empty file) and the entries of lines after `last_line`.
fn load(file: File, path: &Path, last_line: u64) -> Result<(Option<Head>, HashMap<u64, Entry>), Trouble> {
    let bad = |row: u64| {
        Trouble::new(
            Exit::DATA,
            format!(
                "{}:{row}: not a journal of this version of cresset",
                path.display()
            ),
        )
        .hint("remove it to go on; lines that were submitted but not written are then submitted again")
    };
    let mut reader = BufReader::new(file);
    let (mut head, mut entries, mut text) = (None, HashMap::new(), Vec::new());
    for row in 1_u64.. {
        text.clear();
        reader
            .read_until(b'\n', &mut text)
            .map_err(|error| Trouble::file("read", path, &error))?;
        if text.last() != Some(&b'\n') {
            break;
        }
        if row == 1 {
            let read: Head = serde_json::from_slice(&text).map_err(|_| bad(row))?;
            if read.cresset_journal != VERSION {
                return Err(bad(row));
            }
            head = Some(read);
            continue;
        }
        let entry: Entry = serde_json::from_slice(&text).map_err(|_| bad(row))?;
        if entry.line > last_line {
            entries.insert(entry.line, entry);
        }
    }
    Ok((head, entries))
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which the standard hasher does not promise. It guards
/// against a file that was edited, not against an enemy.
pub(super) fn digest(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: u64) -> Entry {
        Entry {
            line,
            task_id: TaskId::fresh(),
            digest: digest(b"x"),
        }
    }

    #[test]
    fn what_is_remembered_survives_and_a_torn_tail_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl.journal");
        let entries = [entry(1), entry(3), entry(2), entry(9)];
        let journal = Journal::create(&path, "m").unwrap();
        for entry in entries {
            journal.remember(entry).unwrap();
        }
        let key = journal.key(7);
        drop(journal);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"line\":10,\"ta")
            .unwrap();

        assert_eq!(
            Journal::create(&path, "m").unwrap_err().exit(),
            Exit::CANNOT_CREATE
        );
        assert_eq!(Journal::resume(&path, "other", 0).unwrap_err().exit(), Exit::DATA);
        let (journal, known) = Journal::resume(&path, "m", 1).unwrap();
        assert_eq!(
            known,
            HashMap::from([(3, entries[1]), (2, entries[2]), (9, entries[3])])
        );
        assert_eq!(journal.key(7), key, "the run keeps its name");

        let again = entry(10);
        journal.remember(again).unwrap();
        let (journal, known) = Journal::resume(&path, "m", 9).unwrap();
        assert_eq!(known, HashMap::from([(10, again)]));
        journal.complete().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_journal_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        std::fs::write(&path, "{\"cresset_journal\":2}\n").unwrap();
        assert_eq!(Journal::resume(&path, "m", 0).unwrap_err().exit(), Exit::DATA);
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(digest(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
