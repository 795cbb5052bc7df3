//! A backup back into a data folder: copied beside the place, held to its manifest and checked, then moved in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cresset_task::Timestamp;

use super::check::check_draft;
use super::draft::{Draft, write_new};
use super::error::{CareError, CareErrorKind};
use super::gather::Gathering;
use super::look::Snapshot;
use super::manifest::{DATABASE, Digested, MANIFEST, Manifest};
use super::report::{Finding, Severity};
use super::swap::{self, Swap};
use crate::files::{folder_of, sync_folder};
use crate::lock::{Lock, beside};

/// A store that was put back.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What is in it.
    pub manifest: Manifest,
    /// Where the store is that was in its place.
    pub aside: Option<PathBuf>,
    /// Only the end of an interrupted restore was left to do.
    pub resumed: bool,
    /// What is wrong with it, and was with the store that the backup was made of.
    pub problems: Vec<Finding>,
}

/// What a restore may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Move aside what is in the place.
    pub replace: bool,
    /// Put in a store with problems that it had when the backup was made.
    pub accept_problems: bool,
}

/// Puts a backup into the place of `database`, whose folder must exist. An interrupted one is finished by the next with the
/// same backup.
///
/// # Errors
///
/// `Busy` when a server has the store; `InTheWay` when there is a store and it may not be moved; `NotFound` without a backup;
/// `Damaged` when it is not what was backed up, or has problems that may not be accepted; `Io` when the disk says no. The store
/// in the place is then as it was.
pub fn restore(backup: &Path, database: &Path, may: Permissions) -> Result<Restored, CareError> {
    let _lock = Lock::take(database)?;
    // So that a mark says where, wherever it is read from.
    let from = std::path::absolute(backup).map_err(CareError::io("cannot find", backup))?;
    if let Some(interrupted) = Swap::found(database)? {
        if interrupted.from != from {
            return Err(swap::unfinished(&interrupted.from));
        }
        let draft = Draft::take_up(beside(database, swap::DRAFT))?;
        return put_in(interrupted, draft, database, Vec::new(), true);
    }
    let manifest = Manifest::read(backup)?;
    if swap::is_taken(database) && !may.replace {
        return Err(CareError::new(
            CareErrorKind::InTheWay,
            format!("there is a task store at {} already", database.display()),
        ));
    }
    let draft = Draft::begin(beside(database, swap::DRAFT))?;
    copy_in(backup, &manifest, draft.path())?;
    let report = check_draft(&draft.path().join(DATABASE))?;
    let mut problems = report.findings;
    problems.retain(|finding| finding.severity == Severity::Problem);
    if let Some(first) = problems.first()
        && !may.accept_problems
    {
        return Err(CareError::damaged(format!(
            "the backup is of a store with problems ({} are told), first: {}; `--accept-problems` restores it as it is",
            problems.len(),
            first.text
        )));
    }
    let stamp: String = Timestamp::now()
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    let swap = Swap::new(from, format!("{name}.replaced-{stamp}"));
    put_in(swap, draft, database, problems, false)
}

fn put_in(
    swap: Swap,
    mut draft: Draft,
    database: &Path,
    problems: Vec<Finding>,
    resumed: bool,
) -> Result<Restored, CareError> {
    let manifest = Manifest::read(draft.path())?;
    // From the mark on it must not go, whatever happens.
    draft.keep();
    let aside = swap.run(database)?;
    draft.remove()?;
    Ok(Restored {
        manifest,
        aside,
        resumed,
        problems,
    })
}

/// Copies a backup, holding it to its manifest and each payload file to its row.
fn copy_in(backup: &Path, manifest: &Manifest, draft: &Path) -> Result<(), CareError> {
    let damaged =
        |why: String| CareError::damaged(format!("the backup {} is damaged: {why}", backup.display()));
    let (from, to) = (backup.join(DATABASE), draft.join(DATABASE));
    let mut database = Digested::new(File::open(&from).map_err(CareError::io("cannot read", &from))?);
    write_new(&to, &mut database)?;
    let (bytes, digest) = database.end();
    if (bytes, &digest) != (manifest.database_bytes, &manifest.database_sha256) {
        return Err(damaged(format!("its {DATABASE} is not what was written")));
    }
    let mut files = Gathering::new(folder_of(&from), folder_of(&to));
    let snapshot = Snapshot::of_own(&to)?;
    let walk = files.walk(snapshot.conn())?;
    let is_new = |name: String| !manifest.lacking.contains(&name);
    if let Some((_, why)) = walk.lost.iter().find(|(name, _)| is_new(name.to_string())) {
        return Err(damaged(why.to_string()));
    }
    if (walk.files, walk.bytes) != (manifest.files, manifest.file_bytes) {
        return Err(damaged(format!(
            "it has {} payload files with {} bytes, its manifest says {} with {}",
            walk.files, walk.bytes, manifest.files, manifest.file_bytes
        )));
    }
    files.end(&walk)?;
    let manifest = backup.join(MANIFEST);
    let text = fs::read(&manifest).map_err(CareError::io("cannot read", &manifest))?;
    write_new(&draft.join(MANIFEST), &text[..])?;
    sync_folder(draft)?;
    Ok(())
}
