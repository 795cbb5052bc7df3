//! `cresset batch`: many tasks that are sent in one request, which the server keeps together.
//!
//! Not `submit --jsonl`, which sends one task for each line and keeps its own journal (`jsonl`).

mod cancel;
mod list;
mod results;
mod sink;
mod status;
mod submit;
mod tally;
mod words;

use std::time::Duration;

use clap::{Args, Subcommand};
use cresset_task::BulkId;

use crate::args::ServerArgs;
use crate::exit::{Exit, Trouble};

/// How often a file is sent again, whole, or its results are read on, where the connection broke.
const TRIES: u32 = 5;
/// The pause before the first of them; each further one is twice as long. A restart takes seconds.
const PAUSE: Duration = Duration::from_millis(500);

/// Sends many tasks in one request, and shows, reads and cancels such a batch.
///
/// The file goes to the server as it is, line by line, and the server keeps it together: it can be waited for, read and
/// cancelled as one, from any machine. `cresset submit --jsonl` instead sends inputs one by one and keeps its own record of
/// them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    id=$(cresset batch submit digits lines.jsonl)\n  \
    cresset batch status $id --wait\n  \
    cresset batch results $id > results.jsonl\n  \
    cresset batch cancel $id")]
pub(crate) struct BatchArgs {
    #[command(subcommand)]
    command: BatchCommand,
}

#[derive(Debug, Subcommand)]
enum BatchCommand {
    Submit(submit::SubmitArgs),
    Status(status::StatusArgs),
    Results(results::ResultsArgs),
    Cancel(cancel::CancelArgs),
    List(list::ListArgs),
}

/// One batch of a server.
#[derive(Debug, Args)]
struct OneArgs {
    /// The batch's id, as `cresset batch submit` printed it
    #[arg(value_name = "ID")]
    id: BulkId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &BatchArgs) -> Result<Exit, Trouble> {
    match &args.command {
        BatchCommand::Submit(args) => submit::run(args),
        BatchCommand::Status(args) => status::run(args),
        BatchCommand::Results(args) => results::run(args),
        BatchCommand::Cancel(args) => cancel::run(args),
        BatchCommand::List(args) => list::run(args),
    }
}
