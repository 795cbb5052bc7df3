//! `cresset store check`: what is wrong with a task store, and what to do about it.

use clap::Args;
use cresset_queue_sql::care::{self, Report, Thoroughness};
use serde::Serialize;

use super::{PlaceArgs, tell, trouble};
use crate::exit::{Exit, Trouble};
use crate::out;
use crate::serve::store::{Place, chain};
use cresset_queue::{InboxLoad, QueueError, QueueErrorKind};
use cresset_queue_mysql::Target as MysqlTarget;
use cresset_queue_postgres::Target;
use cresset_task::Timestamp;

/// Checks the task store and changes nothing: one line for each thing that was found, with what to do about it.
///
/// Looks at the database's pages and indexes, at what must hold between its rows, at every row, and at every payload file.
/// While a server runs it looks at one moment of the store, which holds up nobody, though the server's log grows meanwhile; payload
/// files that no task names are looked for only without one. A byte that changed within a row and left it readable cannot be
/// told. Exits 1 when there is a problem. Of a store in PostgreSQL, MySQL or MariaDB what must hold between the rows is looked at;
/// pg_amcheck, or CHECK TABLE, looks at its pages and indexes.
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

/// What was found in a database, of whatever kind.
struct Found<V> {
    version: V,
    schema: Option<usize>,
    open: u64,
    ended: u64,
    letters: u64,
    deliveries: u64,
    inbox: Option<InboxLoad>,
    in_use_by: Option<String>,
    problems: Vec<String>,
}

/// What is printed of it.
#[derive(Serialize)]
struct FoundDocument<'a, V> {
    ok: bool,
    thoroughness: Thoroughness,
    store: String,
    server_version: V,
    schema: usize,
    open: u64,
    ended: u64,
    letters: u64,
    deliveries: u64,
    /// `null` while the schema has none.
    inbox: Option<Inbox>,
    in_use_by: Option<&'a str>,
    problems: &'a [String],
}

/// What applications have written down, and no server has taken.
#[derive(Serialize)]
struct Inbox {
    rows: u64,
    oldest: Option<Timestamp>,
    refused: u64,
}

impl From<InboxLoad> for Inbox {
    fn from(load: InboxLoad) -> Self {
        let InboxLoad {
            rows,
            oldest,
            refused,
        } = load;
        Self {
            rows,
            oldest,
            refused,
        }
    }
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Trouble> {
    let database = match args.place.place()? {
        Place::Sqlite(path) => path,
        Place::Postgres(target) => return postgres(args, &target),
        Place::Mysql(target) => return mysql(args, &target),
    };
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

/// What there is to be said of a store in PostgreSQL, which has its own ways to check pages and indexes (pg_amcheck).
fn postgres(args: &CheckArgs, target: &Target) -> Result<Exit, Trouble> {
    let looked = waiting(cresset_queue_postgres::look(target, !args.quick));
    let looked = looked.map_err(|error| Trouble::new(Exit::UNAVAILABLE, chain(&error)))?;
    let found = Found {
        version: looked.server_version,
        schema: looked.schema,
        open: looked.open,
        ended: looked.ended,
        letters: looked.letters,
        deliveries: looked.deliveries,
        inbox: looked.inbox,
        in_use_by: looked.in_use_by,
        problems: looked.problems,
    };
    say(args, target.to_string(), found)
}

/// The same of one in MySQL or MariaDB, where CHECK TABLE does that.
fn mysql(args: &CheckArgs, target: &MysqlTarget) -> Result<Exit, Trouble> {
    let looked = waiting(cresset_queue_mysql::look(target, !args.quick));
    let looked = looked.map_err(|error| Trouble::new(Exit::UNAVAILABLE, chain(&error)))?;
    let found = Found {
        version: looked.version,
        schema: looked.schema,
        open: looked.open,
        ended: looked.ended,
        letters: looked.letters,
        deliveries: looked.deliveries,
        inbox: looked.inbox,
        in_use_by: looked.in_use_by,
        problems: looked.problems,
    };
    say(args, target.to_string(), found)
}

fn say<V: Serialize>(args: &CheckArgs, store: String, looked: Found<V>) -> Result<Exit, Trouble> {
    let Some(schema) = looked.schema else {
        return Err(Trouble::new(
            Exit::NOT_FOUND,
            format!("there is no task store yet in {store}"),
        ));
    };
    if args.json {
        out::json(&FoundDocument {
            ok: looked.problems.is_empty(),
            thoroughness: if args.quick {
                Thoroughness::Quick
            } else {
                Thoroughness::Full
            },
            store,
            server_version: looked.version,
            schema,
            open: looked.open,
            ended: looked.ended,
            letters: looked.letters,
            deliveries: looked.deliveries,
            inbox: looked.inbox.map(Inbox::from),
            in_use_by: looked.in_use_by.as_deref(),
            problems: &looked.problems,
        })?;
    } else {
        looked
            .problems
            .iter()
            .try_for_each(|problem| out::line(problem))?;
        let mut text = match looked.problems.len() {
            0 => "no problem".to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        text.push_str(&format!(": {} open tasks, {} ended", looked.open, looked.ended));
        if let Some(InboxLoad { rows: rows @ 1.., .. }) = &looked.inbox {
            text.push_str(&format!(", {rows} in the inbox"));
        }
        if let Some(who) = &looked.in_use_by {
            text.push_str(&format!("; {who} has it"));
        }
        out::note(&text);
    }
    Ok(if looked.problems.is_empty() {
        Exit::OK
    } else {
        Exit::FOUND_WRONG
    })
}

/// Looks at a store in a database, from a thread that may wait.
pub(crate) fn waiting<T>(looking: impl Future<Output = Result<T, QueueError>>) -> Result<T, QueueError> {
    let broken =
        |error: std::io::Error| QueueError::new(QueueErrorKind::Internal, "check", error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(broken)?;
    runtime.block_on(looking)
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
