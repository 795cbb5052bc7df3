//! `cresset store check`: what is wrong with a task store, and what to do about it.

use clap::Args;
use cresset_queue_sql::care::{self, Report, Thoroughness};
use serde::Serialize;

use super::{PlaceArgs, tell, trouble};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Checks the task store and changes nothing: one line for each thing that was found, with what to do about it.
///
/// Looks at the database's pages and indexes, at what must hold between its rows, at every row, and at every payload file.
/// While a server runs it looks at one moment of the store, which holds up nobody, though the server's log grows meanwhile; payload
/// files that no task names are looked for only without one. A byte that changed within a row and left it readable cannot be
/// told. Exits 1 when there is a problem.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset store check\n  \
    cresset store check --data-dir /var/lib/cresset --json\n  \
    cresset store check --quick")]
pub(super) struct CheckArgs {
    /// Do not compare indexes with rows, and do not read payload files
    #[arg(long)]
    quick: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    thoroughness: Thoroughness,
    #[serde(flatten)]
    report: &'a Report,
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Trouble> {
    let database = args.place.database()?;
    let thoroughness = if args.quick {
        Thoroughness::Quick
    } else {
        Thoroughness::Full
    };
    let report = care::check(&database, thoroughness).map_err(|error| trouble(&error))?;
    if args.json {
        out::json(&Document {
            ok: report.is_sound(),
            thoroughness,
            report: &report,
        })?;
    } else {
        tell(&report.findings)?;
        out::note(&summary(&report));
    }
    Ok(if report.is_sound() {
        Exit::OK
    } else {
        Exit::FOUND_WRONG
    })
}

fn summary(report: &Report) -> String {
    let mut text = match report.problems() {
        0 => "no problem".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    if let Some(tasks) = report.tasks {
        text.push_str(&format!(
            ": {} open tasks, {} ended, {} payload files with {} bytes",
            tasks.open, tasks.ended, report.files, report.file_bytes
        ));
    }
    if let Some(who) = &report.in_use_by {
        text.push_str(&format!("; {who}: seen as it was at one moment"));
    }
    text
}
