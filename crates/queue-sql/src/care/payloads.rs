//! Inputs, outcomes and their files: each row is read as the program would read it, and each file against its row.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use cresset_task::{Evidence, State, TaskId};
use rusqlite::{Connection, Row, params};

use super::check::Thoroughness;
use super::error::{CareError, chain};
use super::report::{Listed, Report};
use super::rules::{ONE_TASK, and_more, unreadable};
use crate::connect;
use crate::error::StoreError;
use crate::files::{FileName, FileRef, Part, SHARD_LAST, read_file, shard_name};
use crate::place::Found;
use crate::queries;
use cresset_queue::kit::{Stored, state_of};
use cresset_queue::kit::{client_of, model_of};

const ROWS: &str = "SELECT t.seq, t.id, t.model, t.state, t.weight, t.client, t.metadata,
    i.kind, i.bytes, i.file, i.length, i.checksum, o.kind, o.bytes, o.file, o.length, o.checksum
    FROM tasks AS t LEFT JOIN inputs AS i ON i.seq = t.seq LEFT JOIN outcomes AS o ON o.seq = t.seq";

const LETTERS: &str =
    "SELECT seq, id, model, metadata, evidence, kind, bytes, file, length, checksum FROM letters";

/// What is wrong with a row; the outer error is that it cannot be read from the disk at all.
type ReadRow = fn(&Row<'_>, &mut Vec<Named>) -> rusqlite::Result<Result<(), String>>;

/// What is to become of a file when it has been found to be damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) file: FileRef,
    kind: u8,
    /// Of the task when it was looked at.
    state: Option<State>,
    /// Of the input of a task.
    weight: Option<i64>,
}

/// Reads every row; the files that they name.
pub(super) fn read_rows(conn: &Connection, report: &mut Report) -> Vec<Named> {
    let (mut named, mut listed) = (Vec::new(), Listed::default());
    let mut walk = |sql, read: ReadRow| -> rusqlite::Result<()> {
        let mut query = conn.prepare(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            if let Err(why) = read(row, &mut named)?
                && listed.next()
            {
                report.problem("row", why, ONE_TASK);
            }
        }
        Ok(())
    };
    if let Err(error) = walk(ROWS, read_row).and_then(|()| walk(LETTERS, read_letter)) {
        unreadable(report, &error);
    }
    and_more(report, "row", "their rows cannot be read", &listed, ONE_TASK);
    report.files = named.len() as u64;
    report.file_bytes = named.iter().map(|named| named.file.length).sum();
    named
}

/// What is wrong with a row, if it can be read from the disk at all.
fn read_row(row: &Row<'_>, named: &mut Vec<Named>) -> rusqlite::Result<Result<(), String>> {
    let Ok(id) = row.get::<_, [u8; 16]>(1).map(TaskId::from_bytes) else {
        return Ok(Err(format!("task number {} has no id", row.get::<_, i64>(0)?)));
    };
    let wrong = |why: String| Err(format!("task {id}: {why}"));
    let read = || -> rusqlite::Result<_> {
        Ok((
            row.get_ref(2)?.as_str()?,
            state_of(row.get(3)?).ok(),
            row.get::<_, i64>(4)?,
            row.get_ref(5)?.as_str_or_null()?,
            row.get_ref(6)?.as_blob_or_null()?,
            Found::read(row, 7, id, Part::Input)?,
            Found::read(row, 12, id, Part::Outcome)?,
        ))
    };
    let (model, state, weight, client, metadata, input, outcome) = match read() {
        Ok(columns) => columns,
        // A column with what no program of ours writes there.
        Err(error) if error.sqlite_error_code().is_none() => return Ok(wrong(chain(&error))),
        Err(error) => return Err(error),
    };
    let names = model_of(model).map(drop).and(client_of(client).map(drop));
    if let Err(error) = names {
        return Ok(wrong(error.to_string()));
    }
    if metadata.is_some_and(|text| !is_json(text)) {
        return Ok(wrong("its metadata is not JSON".into()));
    }
    for (what, found, state) in [("input", input, None), ("outcome", outcome, state)] {
        let is_input = what == "input";
        match found {
            None => {}
            Some(Found::Misnamed) => return Ok(wrong(format!("its {what} names no file of its own"))),
            // An outcome of an open task, or of one in no state, is told of by the rules.
            Some(Found::Row(_)) if !is_input && state.is_none_or(|state| !state.is_terminal()) => {}
            Some(Found::Row(stored)) => {
                if let Err(why) = decode(&stored, state, is_input.then_some(weight)) {
                    return Ok(wrong(format!("its {what} {why}")));
                }
            }
            Some(Found::File { kind, file }) => named.push(Named {
                file,
                kind,
                state,
                weight: is_input.then_some(weight),
            }),
        }
    }
    Ok(Ok(()))
}

/// The same of a dead letter.
fn read_letter(row: &Row<'_>, named: &mut Vec<Named>) -> rusqlite::Result<Result<(), String>> {
    let Ok(id) = row.get::<_, [u8; 16]>(1).map(TaskId::from_bytes) else {
        let seq = row.get::<_, i64>(0)?;
        return Ok(Err(format!("dead letter number {seq} has no id")));
    };
    let wrong = |why: String| Err(format!("the dead letter of task {id}: {why}"));
    let read = || -> rusqlite::Result<_> {
        Ok((
            row.get_ref(2)?.as_str()?,
            row.get_ref(3)?.as_blob_or_null()?,
            row.get_ref(4)?.as_str()?,
            Found::read(row, 5, id, Part::Input)?,
        ))
    };
    let (model, metadata, evidence, input) = match read() {
        Ok(columns) => columns,
        // A column with what no program of ours writes there.
        Err(error) if error.sqlite_error_code().is_none() => return Ok(wrong(chain(&error))),
        Err(error) => return Err(error),
    };
    if let Err(error) = model_of(model) {
        return Ok(wrong(error.to_string()));
    }
    if metadata.is_some_and(|text| !is_json(text)) {
        return Ok(wrong("its metadata is not JSON".into()));
    }
    if let Err(error) = serde_json::from_str::<Evidence>(evidence) {
        return Ok(wrong(format!("its evidence cannot be read: {error}")));
    }
    match input {
        None => {}
        Some(Found::Misnamed) => return Ok(wrong("its input names no file of its own".into())),
        Some(Found::Row(stored)) => {
            if let Err(why) = decode(&stored, None, None) {
                return Ok(wrong(format!("its input {why}")));
            }
        }
        Some(Found::File { kind, file }) => named.push(Named {
            file,
            kind,
            state: None,
            weight: None,
        }),
    }
    Ok(Ok(()))
}

/// Whether a payload, or the outcome of a task in this state, is one; and weighs as it should.
fn decode(stored: &Stored, state: Option<State>, weight: Option<i64>) -> Result<(), String> {
    if let Some(state) = state.filter(|state| *state != State::Success) {
        return stored.as_outcome(state).map(drop).map_err(|error| chain(&error));
    }
    let payload = stored.as_payload().map_err(|error| chain(&error))?;
    if let cresset_task::Payload::Json(text) = &payload
        && !is_json(text)
    {
        return Err("is not JSON".into());
    }
    match weight {
        Some(weight) if usize::try_from(weight) != Ok(payload.weight()) => Err(format!(
            "is counted with {weight} bytes, and has {}",
            payload.weight()
        )),
        _ => Ok(()),
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Holds each file to its row. Whoever is being served may purge meanwhile: what is missing then is asked for again.
pub(super) fn check_files(
    database: &Path,
    folder: &Path,
    named: &[Named],
    thoroughness: Thoroughness,
    report: &mut Report,
) {
    let mut listed = Listed::default();
    for one in named {
        let Err(why) = check_file(folder, one, thoroughness) else {
            continue;
        };
        match report
            .in_use_by
            .as_ref()
            .map(|_| is_still_named(database, &one.file.name))
        {
            Some(Ok(false)) => continue,
            Some(Err(error)) => return unreadable(report, &error),
            Some(Ok(true)) | None => {}
        }
        if listed.next() {
            report.problem(
                "payload_file",
                format!("task {}: {why}", one.file.name.id),
                ONE_TASK,
            );
        }
    }
    and_more(
        report,
        "payload_file",
        "their payload files are lost",
        &listed,
        ONE_TASK,
    );
}

fn check_file(folder: &Path, named: &Named, thoroughness: Thoroughness) -> Result<(), String> {
    let file = &named.file;
    if thoroughness == Thoroughness::Quick {
        let path = folder.join(file.name.path());
        return match fs::metadata(&path) {
            Ok(found) if found.len() == file.length => Ok(()),
            Ok(found) => Err(format!(
                "its file {} has {} bytes, not {}",
                file.name,
                found.len(),
                file.length
            )),
            Err(error) => Err(format!("its file {} cannot be read: {error}", file.name)),
        };
    }
    let bytes = read_file(folder, file).map_err(|error| chain(&error))?;
    let stored = Stored {
        kind: named.kind,
        bytes,
    };
    decode(&stored, named.state, named.weight).map_err(|why| format!("its file {} {why}", file.name))
}

/// Asks the database as it is now.
pub(super) fn is_still_named(database: &Path, name: &FileName) -> Result<bool, StoreError> {
    connect::reader(database)?
        .prepare(queries::FILE_NAMED)
        .and_then(|mut query| query.exists(params![name.id.as_bytes(), name.to_string()]))
        .map_err(StoreError::sqlite("cannot look up a payload file"))
}

/// What is in the payload folder and named by no row. Only of a store at rest: a server's newest files have no row yet.
pub(super) fn find_orphans(folder: &Path, named: &[Named], report: &mut Report) -> Result<(), CareError> {
    let named: HashSet<FileName> = named.iter().map(|named| named.file.name).collect();
    let (mut orphans, mut bytes, mut strange) = (0_u64, 0_u64, Vec::new());
    let shards: HashSet<String> = (0..=SHARD_LAST).map(shard_name).collect();
    for (shard, path, _) in list(folder)? {
        if !shards.contains(&shard) {
            strange.push(path);
            continue;
        }
        for (name, path, length) in list(&path)? {
            match name.parse::<FileName>() {
                Ok(name) if named.contains(&name) => {}
                Ok(name) if shard_name(name.shard()) == shard => {
                    orphans += 1;
                    bytes += length;
                }
                _ => strange.push(path),
            }
        }
    }
    if orphans > 0 {
        report.note(
            "orphans",
            format!("{orphans} payload files, {bytes} bytes, are named by no task"),
            "the next start removes them",
        );
    }
    for path in strange.iter().take(super::report::LISTED_MAX as usize) {
        report.note(
            "not_ours",
            format!("{} is not a payload file", path.display()),
            "it is left alone; move it away if it is yours",
        );
    }
    Ok(())
}

/// Name, path and length of everything in a folder; nothing when there is no such folder.
fn list(folder: &Path) -> Result<Vec<(String, std::path::PathBuf, u64)>, CareError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(CareError::io("cannot list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(CareError::io("cannot list", folder))?;
        let length = entry.metadata().map_or(0, |data| data.len());
        found.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
            length,
        ));
    }
    Ok(found)
}
