//! Whether a store is sound: SQLite's own check, our rules between the rows, every row read, every payload file held to its row.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::error::{CareError, CareErrorKind, chain};
use super::look::Snapshot;
use super::manifest::count_tasks;
use super::payloads;
use super::report::Report;
use super::rules::{self, RESTORE};
use super::swap;
use crate::error::StoreError;
use crate::files::{any_in, folder_of};
use crate::lock::{Lock, beside};
use crate::schema;

/// Lines that SQLite's check may give. After the first one there is nothing to be learnt but how bad it is.
const SQLITE_LINES_MAX: u32 = 20;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Thoroughness {
    /// Every row, and every payload file whole.
    Full,
    /// Every row; of payload files whether they are there, and how long they are. SQLite's indexes are not compared.
    Quick,
}

/// Checks a store and changes nothing. Without a server it has the store to itself meanwhile; with one it looks at one moment.
///
/// # Errors
///
/// Only when it cannot look: no such store, no permission. What is wrong with the store is in the report.
pub fn check(database: &Path, thoroughness: Thoroughness) -> Result<Report, CareError> {
    let mut report = Report::default();
    if !is_there(database, &mut report)? {
        return Ok(report);
    }
    let lock = match Lock::take(database) {
        Ok(lock) => Some(lock),
        Err(StoreError::InUse(who)) => {
            report.in_use_by = Some(who.split(';').next().unwrap_or_default().to_owned());
            None
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(from) = swap::interrupted(database)? {
        report.problem(
            "half_restored",
            "a restore was interrupted half way",
            format!("finish it: `cresset store restore {}`", from.display()),
        );
        return Ok(report);
    }
    look(database, || Snapshot::take(database), thoroughness, &mut report)?;
    if lock.is_some() {
        look_for_drafts(database, &mut report);
    }
    Ok(report)
}

/// Checks a database that nobody else has open, in a folder that becomes a store.
pub(super) fn check_draft(database: &Path) -> Result<Report, CareError> {
    let mut report = Report::default();
    look(
        database,
        || Snapshot::of_own(database),
        Thoroughness::Full,
        &mut report,
    )?;
    Ok(report)
}

fn look(
    database: &Path,
    open: impl FnOnce() -> Result<Snapshot, StoreError>,
    thoroughness: Thoroughness,
    report: &mut Report,
) -> Result<(), CareError> {
    let snapshot = match open() {
        Ok(snapshot) => snapshot,
        Err(error) => return unopened(error, report),
    };
    let version = match snapshot.schema() {
        Ok(version) => version,
        Err(error) => return unopened(error, report),
    };
    report.schema = Some(version);
    check_pages(snapshot.conn(), thoroughness, report);
    if version < schema::newest() {
        report.note(
            "old_schema",
            format!("the schema is version {version}, of an earlier program; only the pages were checked"),
            format!(
                "the next start makes it version {}; check again then",
                schema::newest()
            ),
        );
        return Ok(());
    }
    match count_tasks(snapshot.conn()) {
        Ok(counts) => report.tasks = Some(counts),
        Err(error) => rules::unreadable(report, &error),
    }
    rules::hold(snapshot.conn(), report);
    note_leases(snapshot.conn(), report);
    let named = payloads::read_rows(snapshot.conn(), report);
    // Files are read without it, so that a running server's log can be emptied meanwhile.
    drop(snapshot);
    let folder = folder_of(database);
    payloads::check_files(database, &folder, &named, thoroughness, report);
    if report.in_use_by.is_none() {
        payloads::find_orphans(&folder, &named, report)?;
    }
    Ok(())
}

/// False when there is nothing to open, and the report says so.
fn is_there(database: &Path, report: &mut Report) -> Result<bool, CareError> {
    match fs::metadata(database) {
        Ok(found) if found.len() > 0 => Ok(true),
        Ok(_) => {
            report.problem(
                "empty",
                "the database is an empty file, which it never is by itself",
                RESTORE,
            );
            Ok(false)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(from) = swap::interrupted(database)? {
                let how = format!("finish it: `cresset store restore {}`", from.display());
                report.problem("half_restored", "a restore was interrupted half way", how);
                return Ok(false);
            }
            let log = fs::metadata(beside(database, "-wal")).is_ok_and(|log| log.len() > 0);
            if !log && !any_in(&folder_of(database)) {
                let text = format!("there is no task store at {}", database.display());
                return Err(CareError::new(CareErrorKind::NotFound, text));
            }
            let rest = if log { "log" } else { "payload files" };
            report.problem(
                "missing",
                format!("the database is missing, and its {rest} is there"),
                RESTORE,
            );
            Ok(false)
        }
        Err(error) => Err(CareError::io("cannot look at", database)(error)),
    }
}

/// What does not open because of what is in it is a finding; what does not because of where it is, is not.
fn unopened(error: StoreError, report: &mut Report) -> Result<(), CareError> {
    let text = chain(&error);
    let care = CareError::from(error);
    if care.kind != CareErrorKind::Damaged {
        return Err(care);
    }
    let remedy = if text.contains("newer program") {
        "nothing is damaged"
    } else {
        RESTORE
    };
    report.problem("unusable", text, remedy);
    Ok(())
}

fn check_pages(conn: &Connection, thoroughness: Thoroughness, report: &mut Report) {
    let pragma = match thoroughness {
        Thoroughness::Full => "integrity_check",
        Thoroughness::Quick => "quick_check",
    };
    for pragma in [
        format!("{pragma}({SQLITE_LINES_MAX})"),
        "foreign_key_check".into(),
    ] {
        let lines = || {
            let mut query = conn.prepare(&format!("PRAGMA {pragma}"))?;
            let lines = query.query_map([], |row| row.get::<_, String>(0))?;
            lines.collect::<rusqlite::Result<Vec<_>>>()
        };
        match lines() {
            Ok(lines) => {
                // A page's complaints are lines of one text.
                let all = lines
                    .iter()
                    .flat_map(|text| text.lines())
                    .filter(|line| *line != "ok");
                for line in all.take(SQLITE_LINES_MAX as usize) {
                    report.problem("sqlite", format!("the database is damaged: {line}"), RESTORE);
                }
            }
            Err(error) => rules::unreadable(report, &error),
        }
    }
}

/// Leases without a process that holds them: the ordinary thing after a crash.
fn note_leases(conn: &Connection, report: &mut Report) {
    if report.in_use_by.is_some() {
        return;
    }
    match conn.query_row("SELECT count(*) FROM tasks WHERE state = 1", [], |row| {
        row.get::<_, i64>(0)
    }) {
        Ok(0) => {}
        Ok(leased) => report.note(
            "leases",
            format!("{leased} tasks were running when the last server ended"),
            "the next start queues them again",
        ),
        Err(error) => rules::unreadable(report, &error),
    }
}

/// What an interrupted creation or restore left; nothing depends on it.
fn look_for_drafts(database: &Path, report: &mut Report) {
    for (suffix, remedy) in [
        (".new", "the next new database is written over it"),
        (
            swap::DRAFT,
            "the next restore is written over it; it may be removed",
        ),
    ] {
        let path = beside(database, suffix);
        if path.exists() {
            report.note(
                "draft",
                format!("{} was begun and not finished", path.display()),
                remedy,
            );
        }
    }
}
