//! A copy of a store, taken while a server works on it or while none does.
//!
//! One read transaction sees one moment of the database; SQLite's backup interface copies that, some pages at a time, while the
//! server goes on writing. The payload files are a second matter: the server removes those of purged tasks meanwhile. So
//! most are copied before the moment is chosen, and then those that are new since; when one of these has gone because its task
//! was purged, another moment is chosen. Names are never given twice, so what was copied stays right, each turn has less
//! to do, and nothing of the server's has to wait.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use cresset_task::Timestamp;
use rusqlite::Connection;
use rusqlite::backup::{Backup as Pages, StepResult};

use super::check::check_draft;
use super::draft::{Draft, write_new};
use super::error::{CareError, CareErrorKind};
use super::gather::{Gathering, Walk};
use super::look::{Snapshot, must_exist};
use super::manifest::{self, DATABASE, MANIFEST, Manifest, count_tasks, digest_of};
use super::payloads::is_still_named;
use super::report::{Finding, Report, Severity};
use super::swap;
use crate::error::StoreError;
use crate::files::{folder_of, parent_of};
use crate::lock::beside;

/// What an unfinished backup is called.
const DRAFT: &str = ".partial";
/// Copied in one go: 4 MiB.
const PAGES_PER_STEP: i32 = 1_024;
/// Somebody else's short lock is waited for this often, and so long.
const BUSY_MAX: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Moments that are tried. Each leaves only what became large since the one before, so two or three do.
const MOMENTS_MAX: u32 = 20;

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Backup {
    /// What is in it.
    pub manifest: Manifest,
    /// What is wrong with the store that it shows.
    pub problems: Vec<Finding>,
}

/// Copies the store into a new folder `dest`: there and whole, or not there. The copy has been checked.
///
/// # Errors
///
/// `NotFound` without a store, or without the folder to put it in; `InTheWay` when `dest` is there; `Busy` when another backup
/// works on it; `Damaged` when the database does not open; `Io` when the disk says no. Then nothing is left of it.
pub fn backup(database: &Path, dest: &Path) -> Result<Backup, CareError> {
    must_exist(database)?;
    if let Some(from) = swap::interrupted(database)? {
        return Err(swap::unfinished(&from));
    }
    if dest.symlink_metadata().is_ok() {
        let text = format!(
            "{} is there already; a backup is never written over",
            dest.display()
        );
        return Err(CareError::new(CareErrorKind::InTheWay, text));
    }
    let parent = parent_of(dest);
    std::fs::metadata(parent).map_err(CareError::io("there is no folder", parent))?;
    let draft = Draft::begin(beside(dest, DRAFT))?;
    let taken = take(database, draft.path())?;
    let copy = draft.path().join(DATABASE);
    let report = check_draft(&copy)?;
    let (database_bytes, database_sha256) = digest_of(&copy)?;
    let manifest = Manifest {
        format: Manifest::format(),
        program: env!("CARGO_PKG_VERSION").into(),
        taken_at: taken.at.to_string(),
        schema: taken.schema,
        tasks: taken.tasks,
        database_bytes,
        database_sha256,
        files: taken.walk.files,
        file_bytes: taken.walk.bytes,
        lacking: taken.walk.lost.iter().map(|(name, _)| name.to_string()).collect(),
    };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| CareError::damaged(format!("the manifest cannot be written: {error}")))?;
    write_new(&draft.path().join(MANIFEST), &text[..])?;
    draft.finish(dest)?;
    Ok(Backup {
        manifest,
        problems: problems(report),
    })
}

fn problems(report: Report) -> Vec<Finding> {
    let is_problem = |finding: &Finding| finding.severity == Severity::Problem;
    report.findings.into_iter().filter(is_problem).collect()
}

/// The moment that was taken.
struct Taken {
    at: Timestamp,
    schema: u32,
    tasks: manifest::TaskCounts,
    walk: Walk,
}

fn take(database: &Path, draft: &Path) -> Result<Taken, CareError> {
    let copy = draft.join(DATABASE);
    let mut files = Gathering::new(folder_of(database), folder_of(&copy));
    // What is lost by now may only be purged by now; the moment will tell.
    files.walk(&crate::connect::reader(database)?)?;
    for _ in 0..MOMENTS_MAX {
        let snapshot = Snapshot::take(database)?;
        let (at, schema) = (Timestamp::now(), snapshot.schema()?);
        let walk = files.walk(snapshot.conn())?;
        if is_overtaken(database, &walk)? {
            continue;
        }
        let tasks = count_tasks(snapshot.conn())?;
        copy_pages(&snapshot, &copy)?;
        files.end(&walk)?;
        return Ok(Taken {
            at,
            schema,
            tasks,
            walk,
        });
    }
    Err(CareError::new(
        CareErrorKind::Busy,
        format!(
            "tasks were purged faster than their payloads could be copied, {MOMENTS_MAX} times; try again"
        ),
    ))
}

/// True when something is missing only because its task has been purged since the moment of the walk.
fn is_overtaken(database: &Path, walk: &Walk) -> Result<bool, StoreError> {
    for (name, _) in &walk.lost {
        if !is_still_named(database, name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn copy_pages(from: &Snapshot, to: &Path) -> Result<(), CareError> {
    let failed = |error| CareError::from(StoreError::sqlite("cannot copy the database")(error));
    let mut copy = Connection::open(to).map_err(failed)?;
    // Should it be cut short, nobody will look at it: it needs no journal and no flush before its last page.
    copy.query_row("PRAGMA journal_mode = off", [], |_| Ok(()))
        .and_then(|()| copy.execute_batch("PRAGMA synchronous = off"))
        .map_err(failed)?;
    let pages = Pages::new(from.conn(), &mut copy).map_err(failed)?;
    let mut busy = 0;
    loop {
        match pages.step(PAGES_PER_STEP).map_err(failed)? {
            StepResult::Done => break,
            StepResult::Busy | StepResult::Locked if busy < BUSY_MAX => {
                busy += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            StepResult::Busy | StepResult::Locked => {
                return Err(CareError::new(
                    CareErrorKind::Busy,
                    "the database is locked by somebody else",
                ));
            }
            _ => {}
        }
    }
    drop(pages);
    copy.close().map_err(|(_, error)| failed(error))?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(CareError::io("cannot sync", to))
}
