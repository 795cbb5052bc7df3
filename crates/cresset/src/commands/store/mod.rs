//! `cresset store`: the task store as a whole, beside a running server or without one. What is done is in
//! `cresset_queue_sql::care`; here are its words.

mod backup;
pub(crate) mod check;
mod restore;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cresset_queue_sql::care::{CareError, CareErrorKind, Finding};

use super::serve;
use crate::args::settings::{FileArgs, SettingsArgs};
use crate::exit::{Exit, Trouble};
use crate::out;
use crate::serve::store::{Place, place};

/// Checks the task store, makes a backup of it, and puts one back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset store check\n  \
    cresset store backup /backups/today\n  \
    cresset store restore /backups/today --replace")]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    Check(check::CheckArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
}

/// Where the store is.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// The folder with an embedded task store; what the settings say if not given
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    data_dir: Option<PathBuf>,
    /// The store's URL, as in `store.url`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    #[command(flatten)]
    file: FileArgs,
}

impl PlaceArgs {
    /// Where the store is. With a folder it is the embedded one in that, whatever the settings say.
    fn place(&self) -> Result<Place, Trouble> {
        let mut config = SettingsArgs::of(self.file.clone(), None)
            .with("--data-dir", "server.data_dir", self.data_dir.as_deref())
            .with("--store", "store.url", self.store.as_deref().map(Path::new))
            .resolve()
            .map(|effective| effective.config)
            .map_err(|mistakes| serve::wrong(&mistakes))?;
        if self.data_dir.is_some() {
            config.store = None;
        }
        place(&config)
    }

    /// The database file of an embedded store; other databases have tools of their own for `doing`: this one in PostgreSQL, and
    /// that one in MySQL and MariaDB.
    fn database(&self, doing: &str, instead: [&str; 2]) -> Result<PathBuf, Trouble> {
        match self.place()? {
            Place::Sqlite(path) => Ok(path),
            Place::Postgres(target) => Err(elsewhere(doing, &target).hint(format!(
                "{}, with --schema={}",
                instead[0],
                target.schema()
            ))),
            Place::Mysql(target) => Err(elsewhere(doing, &target).hint(instead[1])),
        }
    }
}

fn elsewhere(doing: &str, store: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(
        Exit::USAGE,
        format!("`cresset store {doing}` is for the embedded store, and this one is {store}"),
    )
}

pub(crate) fn run(args: &StoreArgs) -> Result<Exit, Trouble> {
    match &args.command {
        StoreCommand::Check(args) => check::run(args),
        StoreCommand::Backup(args) => backup::run(args),
        StoreCommand::Restore(args) => restore::run(args),
    }
}

/// It could not be done, as the end of the command.
fn trouble(error: &CareError) -> Trouble {
    let exit = match error.kind {
        CareErrorKind::Busy => Exit::TRY_AGAIN,
        CareErrorKind::NotFound => Exit::NOT_FOUND,
        CareErrorKind::InTheWay => Exit::CANNOT_CREATE,
        CareErrorKind::Damaged => Exit::DATA,
        CareErrorKind::Io => Exit::IO,
    };
    Trouble::new(exit, error.whole())
}

/// A path as it can be typed into a shell.
fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%=:".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// One line for each, and the status that goes with it.
fn tell(findings: &[Finding]) -> Result<(), Trouble> {
    findings
        .iter()
        .try_for_each(|finding| out::line(&finding.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        assert_eq!(typed(Path::new("/backups/2026-11-26")), "/backups/2026-11-26");
        assert_eq!(typed(Path::new("it's here")), r"'it'\''s here'");
    }
}
