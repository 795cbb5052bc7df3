//! `cresset store restore`: a backup back into the data folder.

use std::path::{Path, PathBuf};

use clap::Args;
use cresset_queue_sql::care::{self, CareErrorKind, Manifest, Permissions};
use serde::Serialize;

use super::{PlaceArgs, tell, trouble, typed};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Puts a backup into the data folder. No server may have the store.
///
/// The backup is held to its manifest and checked before it becomes the store. With --replace the store that is there is moved
/// aside, never deleted; what was accepted after the backup is then only there. When it is interrupted, the store does not open
/// until the same command has finished it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset store restore /backups/today\n  \
    cresset store restore /backups/today --data-dir /var/lib/cresset --replace")]
pub(super) struct RestoreArgs {
    /// A folder that `cresset store backup` made
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// Move the store that is there aside
    #[arg(long)]
    replace: bool,
    /// Restore also what was damaged when the backup was made
    #[arg(long)]
    accept_problems: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    data_dir: String,
    manifest: &'a Manifest,
    moved_aside_to: Option<String>,
    resumed: bool,
    problems: &'a [care::Finding],
}

pub(super) fn run(args: &RestoreArgs) -> Result<Exit, Trouble> {
    let instead = [
        "pg_restore, or psql, puts back what pg_dump has copied",
        "mysql or mariadb, the client, puts back what mysqldump or mariadb-dump has copied, while no server has it",
    ];
    let database = args.place.database("restore", instead)?;
    let data_dir = database.parent().map(Path::to_path_buf).unwrap_or_default();
    std::fs::create_dir_all(&data_dir)
        .map_err(|error| Trouble::file("make the data folder", &data_dir, &error))?;
    let may = Permissions {
        replace: args.replace,
        accept_problems: args.accept_problems,
    };
    let restored = care::restore(&args.backup, &database, may).map_err(|error| {
        let trouble = trouble(&error);
        if error.kind == CareErrorKind::InTheWay && !args.replace {
            trouble.hint("--replace moves the store that is there aside, and deletes nothing")
        } else {
            trouble
        }
    })?;
    let aside = restored.aside.as_deref();
    if args.json {
        out::json(&Document {
            data_dir: data_dir.display().to_string(),
            manifest: &restored.manifest,
            moved_aside_to: aside.map(|path| path.display().to_string()),
            resumed: restored.resumed,
            problems: &restored.problems,
        })?;
    } else {
        out::line(&data_dir.display().to_string())?;
        tell(&restored.problems)?;
        let tasks = restored.manifest.tasks;
        out::note(&format!(
            "{}: {} open tasks, {} ended, as of {}; what was accepted later is not in it",
            if restored.resumed {
                "an interrupted restore is finished"
            } else {
                "restored"
            },
            tasks.open,
            tasks.ended,
            restored.manifest.taken_at
        ));
        if let Some(aside) = aside {
            out::note(&format!(
                "the store that was there is now {}; remove it when nothing is missed",
                typed(aside)
            ));
        }
    }
    Ok(if restored.problems.is_empty() {
        Exit::OK
    } else {
        Exit::FOUND_WRONG
    })
}
