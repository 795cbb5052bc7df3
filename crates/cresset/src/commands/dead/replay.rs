//! `cresset dead replay`: a letter's input as a new task.

use clap::Args;

use super::LetterArgs;
use crate::args;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Makes a new task of a dead letter's input, once the model is mended; prints its id.
///
/// A letter makes one task: a second replay prints the id of the first one's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset result --wait $(cresset dead replay 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10)")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    letter: LetterArgs,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ReplayArgs) -> Result<Exit, Trouble> {
    let client = args.letter.server.client()?;
    args::block_on(async {
        let replay = client.replay(args.letter.id).await;
        let (replayed, document) = replay.map_err(|error| error.trouble())?;
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::line(&replayed.task_id.to_string())?;
        }
        Ok(Exit::OK)
    })
}
