//! `cresset dead purge`: letters thrown away with their inputs.

use clap::{ArgGroup, Args};
use cresset_task::TaskId;

use crate::args::{self, ServerArgs};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Throws dead letters away: those with the given ids, or all that match. Prints how many there were.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
#[command(after_help = "Examples:\n  \
    cresset dead purge 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10\n  \
    cresset dead purge --model digits --before 7d\n  \
    cresset dead purge --all")]
pub(crate) struct PurgeArgs {
    /// The letters' ids
    #[arg(value_name = "ID", group = "which", conflicts_with_all = ["model", "before", "all"])]
    ids: Vec<TaskId>,
    /// All of this model
    #[arg(long, value_name = "MODEL", group = "which")]
    model: Option<String>,
    /// All that died before this instant (2026-01-31T08:00:00Z), or longer ago than this (7d)
    #[arg(long, value_name = "WHEN", group = "which")]
    before: Option<String>,
    /// All there are
    #[arg(long, group = "which", conflicts_with_all = ["model", "before"])]
    all: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &PurgeArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    // The API has no days.
    let before = args.before.as_deref().map(|text| match args::duration(text) {
        Ok(age) => format!("{}ms", age.as_millis()),
        Err(_) => text.to_owned(),
    });
    args::block_on(async {
        if args.ids.is_empty() {
            let purged = client
                .purge_letters(args.model.as_deref(), before.as_deref())
                .await;
            out::line(&purged.map_err(|error| error.trouble())?.purged.to_string())?;
            return Ok(Exit::OK);
        }
        let mut count = 0;
        for id in &args.ids {
            count += client
                .purge_letter(*id)
                .await
                .map_err(|error| error.trouble())?
                .purged;
        }
        out::line(&count.to_string())?;
        Ok(Exit::OK)
    })
}
