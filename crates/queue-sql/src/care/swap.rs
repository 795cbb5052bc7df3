//! One store out of its place and another into it, so that at any instant a start either finds a whole store or is told to
//! finish.
//!
//! ```text
//!   mark: aside --> old files into a folder of their own --> mark: in --> new files into the place --> no mark
//! ```
//!
//! While there is a mark the store does not open. Each step can be done again, so whoever finds a mark goes on from it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::draft::write_new;
use super::error::{CareError, CareErrorKind};
use super::manifest::DATABASE;
use crate::error::StoreError;
use crate::files::{parent_of, sync_folder};
use crate::lock::beside;

/// The folder, beside the database, that a restore fills.
pub(super) const DRAFT: &str = ".restore";
/// The mark of a swap under way, beside the database.
const MARK: &str = ".restoring";
/// What a store is made of, by what is added to the database's path. Payloads first: a database without them would be
/// a store with losses.
const PARTS: [&str; 4] = [".payloads", "-wal", "-shm", ""];

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Aside,
    In,
}

/// A swap under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Swap {
    /// The backup that is being restored.
    pub(super) from: PathBuf,
    /// Where the old store goes: a folder's name.
    aside: String,
    phase: Phase,
}

impl Swap {
    /// One that is to begin.
    pub(super) fn new(from: PathBuf, aside: String) -> Self {
        Self {
            from,
            aside,
            phase: Phase::Aside,
        }
    }

    /// The one that was interrupted here, if one was.
    pub(super) fn found(database: &Path) -> Result<Option<Self>, CareError> {
        let mark = beside(database, MARK);
        match fs::read(&mark) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| CareError::damaged(format!("{} cannot be read: {error}", mark.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CareError::io("cannot read", &mark)(error)),
        }
    }

    /// Goes to the end; where the old store is now, if there was one.
    pub(super) fn run(mut self, database: &Path) -> Result<Option<PathBuf>, CareError> {
        self.run_until(database, &mut |_| Ok(()))
    }

    /// As [`run`](Self::run), asking before each step whether to go on.
    fn run_until(
        &mut self,
        database: &Path,
        before: &mut dyn FnMut(&'static str) -> Result<(), CareError>,
    ) -> Result<Option<PathBuf>, CareError> {
        let parent = parent_of(database);
        let aside = parent.join(&self.aside);
        if self.phase == Phase::Aside {
            before("mark aside")?;
            self.mark(database)?;
            for part in PARTS {
                let old = beside(database, part);
                if old.symlink_metadata().is_ok() {
                    before("move aside")?;
                    match fs::create_dir(&aside) {
                        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                            return Err(CareError::io("cannot make the folder", &aside)(error));
                        }
                        _ => {}
                    }
                    move_to(&old, &aside.join(name_of(database, part)))?;
                }
            }
            if aside.exists() {
                sync_folder(&aside)?;
            }
            sync_folder(parent)?;
            before("mark in")?;
            self.phase = Phase::In;
            self.mark(database)?;
        }
        let draft = beside(database, DRAFT);
        for part in PARTS {
            let new = draft.join(format!("{DATABASE}{part}"));
            if new.symlink_metadata().is_ok() {
                before("move in")?;
                move_to(&new, &beside(database, part))?;
            }
        }
        sync_folder(parent)?;
        before("unmark")?;
        let mark = beside(database, MARK);
        fs::remove_file(&mark).map_err(CareError::io("cannot remove", &mark))?;
        sync_folder(parent)?;
        Ok(aside.exists().then_some(aside))
    }

    /// On stable storage when this returns.
    fn mark(&self, database: &Path) -> Result<(), CareError> {
        let (mark, draft) = (beside(database, MARK), beside(database, ".restoring.new"));
        let text = serde_json::to_vec(self).map_err(|error| {
            CareError::damaged(format!("the mark of a restore cannot be written: {error}"))
        })?;
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(CareError::io("cannot remove", &draft)(error));
            }
            _ => {}
        }
        write_new(&draft, &text[..])?;
        move_to(&draft, &mark)?;
        sync_folder(parent_of(database))?;
        Ok(())
    }
}

fn move_to(from: &Path, to: &Path) -> Result<(), CareError> {
    fs::rename(from, to).map_err(CareError::io("cannot move", from))
}

/// The name that a part has in a folder of its own.
fn name_of(database: &Path, part: &str) -> PathBuf {
    let path = beside(database, part);
    path.file_name().map_or_else(|| DATABASE.into(), PathBuf::from)
}

/// True when anything of a store is in the place.
pub(super) fn is_taken(database: &Path) -> bool {
    PARTS
        .iter()
        .any(|part| beside(database, part).symlink_metadata().is_ok())
}

/// The backup whose restore was interrupted here, if one was.
pub(super) fn interrupted(database: &Path) -> Result<Option<PathBuf>, CareError> {
    Ok(Swap::found(database)?.map(|swap| swap.from))
}

pub(super) fn unfinished(from: &Path) -> CareError {
    CareError::new(
        CareErrorKind::InTheWay,
        format!(
            "a restore was interrupted half way; finish it first: `cresset store restore {}`",
            from.display()
        ),
    )
}

/// For the opening of a store.
pub(crate) fn refuse_half_restored(database: &Path) -> Result<(), StoreError> {
    match interrupted(database) {
        Ok(None) => Ok(()),
        Ok(Some(from)) => Err(StoreError::Damaged(unfinished(&from).to_string())),
        Err(error) => Err(StoreError::Damaged(error.whole())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIXES: [&str; 3] = ["", "-wal", ".payloads"];

    /// An old store of three parts, and a draft of two.
    fn lay_out(database: &Path) {
        fs::write(database, "old").unwrap();
        fs::write(beside(database, "-wal"), "old log").unwrap();
        fs::create_dir(beside(database, ".payloads")).unwrap();
        fs::write(beside(database, ".payloads").join("x"), "old payload").unwrap();
        let draft = beside(database, DRAFT);
        fs::create_dir_all(draft.join("tasks.db.payloads")).unwrap();
        fs::write(draft.join("tasks.db"), "new").unwrap();
        fs::write(draft.join("tasks.db.payloads/y"), "new payload").unwrap();
    }

    fn read(path: PathBuf) -> Option<String> {
        fs::read_to_string(path).ok()
    }

    #[test]
    fn a_swap_may_die_before_any_step_and_is_finished_by_the_next_one() {
        for dies_at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let database = dir.path().join("tasks.db");
            lay_out(&database);
            let mut swap = Swap::new("/backup".into(), "old".into());
            let mut steps = 0;
            let died = swap
                .run_until(&database, &mut |step| {
                    steps += 1;
                    match steps > dies_at {
                        true => Err(CareError::damaged(step)),
                        false => Ok(()),
                    }
                })
                .is_err();
            match Swap::found(&database).unwrap() {
                Some(found) => {
                    assert!(died);
                    assert!(refuse_half_restored(&database).is_err());
                    found.run(&database).unwrap();
                }
                // Before the first mark nothing has moved.
                None if died => {
                    assert_eq!((dies_at, read(database.clone()).as_deref()), (0, Some("old")));
                    swap.run(&database).unwrap();
                }
                None => {}
            }
            refuse_half_restored(&database).unwrap();
            let aside = dir.path().join("old");
            assert_eq!(read(database.clone()).as_deref(), Some("new"));
            assert_eq!(read(beside(&database, "-wal")), None);
            assert_eq!(
                read(beside(&database, ".payloads").join("y")).as_deref(),
                Some("new payload")
            );
            for suffix in SUFFIXES {
                assert!(
                    beside(&aside.join("tasks.db"), suffix).exists(),
                    "{suffix} is kept"
                );
            }
            assert_eq!(
                read(aside.join("tasks.db.payloads/x")).as_deref(),
                Some("old payload")
            );
            if !died {
                assert_eq!(dies_at, 8, "steps");
                return;
            }
        }
    }
}
