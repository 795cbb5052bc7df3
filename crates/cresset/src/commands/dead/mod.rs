//! `cresset dead`: inputs that took their process down, of a running server.

mod list;
mod purge;
mod replay;
mod show;

use clap::{Args, Subcommand};
use cresset_task::TaskId;

use crate::args::ServerArgs;
use crate::exit::{Exit, Trouble};

/// Lists, shows, replays and purges dead letters: inputs that took their model's process down.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset dead list --model digits\n  \
    cresset dead show 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10\n  \
    cresset dead replay 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10\n  \
    cresset dead purge --before 7d")]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Replay(replay::ReplayArgs),
    Purge(purge::PurgeArgs),
}

/// One letter of a server.
#[derive(Debug, Args)]
struct LetterArgs {
    /// The letter's id: that of its task
    #[arg(value_name = "ID")]
    id: TaskId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &DeadArgs) -> Result<Exit, Trouble> {
    match &args.command {
        DeadCommand::List(args) => list::run(args),
        DeadCommand::Show(args) => show::run(args),
        DeadCommand::Replay(args) => replay::run(args),
        DeadCommand::Purge(args) => purge::run(args),
    }
}

/// A letter for the tests of the commands.
#[cfg(test)]
fn letter(rest: &str) -> crate::client::Letter {
    let text = format!(
        r#"{{"task_id":"019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10","model":"digits","version":"1","cause":"signal",
        "created_at":"2026-11-23T10:00:00.000000Z","died_at":"2026-11-23T10:00:09.000000Z","tried":3,
        "reason":"was ended by signal 11","resident_bytes":3221225472,"input_bytes":8,{rest}}}"#
    );
    serde_json::from_str(&text).unwrap()
}
