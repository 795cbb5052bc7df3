//! `cresset store backup`: a copy of a task store that can be put back.

use std::path::PathBuf;

use clap::Args;
use cresset_queue_sql::care::{self, Manifest};
use serde::Serialize;

use super::{PlaceArgs, tell, trouble, typed};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Copies the task store into a new folder, while a server runs or without one.
///
/// The copy is of one moment: every task that was accepted before it, and the payload files of these. It is checked, and DEST is
/// there only when all of it is on the disk. Prints the folder. Exits 1 when the store has problems; the backup is made all the
/// same, and has them too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset store backup /backups/cresset-$(date +%F)\n  \
    cresset store backup /backups/today --data-dir /var/lib/cresset --json")]
pub(super) struct BackupArgs {
    /// The folder to make; it must not be there yet
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    backup: String,
    manifest: &'a Manifest,
    problems: &'a [care::Finding],
}

pub(super) fn run(args: &BackupArgs) -> Result<Exit, Trouble> {
    let made = care::backup(
        &args.place.database(
            "backup",
            [
                "pg_dump copies it while a server runs",
                "mysqldump or mariadb-dump with --single-transaction copies it while a server runs",
            ],
        )?,
        &args.dest,
    )
    .map_err(|error| trouble(&error))?;
    let dest = args.dest.display().to_string();
    let manifest = &made.manifest;
    if args.json {
        out::json(&Document {
            backup: dest,
            manifest,
            problems: &made.problems,
        })?;
    } else {
        out::line(&dest)?;
        tell(&made.problems)?;
        out::note(&format!(
            "{} open tasks, {} ended, {} payload files, {} bytes, as of {}; put it back with `cresset store restore {}`",
            manifest.tasks.open,
            manifest.tasks.ended,
            manifest.files,
            manifest.database_bytes + manifest.file_bytes,
            manifest.taken_at,
            typed(&args.dest),
        ));
    }
    Ok(if made.problems.is_empty() {
        Exit::OK
    } else {
        Exit::FOUND_WRONG
    })
}
