//! `cresset webhooks`: what a running server tells of tasks, and whether it arrived.

mod list;
mod replay;
mod test;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Trouble};

/// Lists, replays and tries webhooks: what is told of tasks to the addresses that their submitters gave.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset webhooks list --state failed\n  \
    cresset webhooks replay evt_019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10_succeeded\n  \
    cresset webhooks test https://example.com/hooks/cresset")]
pub(crate) struct WebhooksArgs {
    #[command(subcommand)]
    command: WebhooksCommand,
}

#[derive(Debug, Subcommand)]
enum WebhooksCommand {
    List(list::ListArgs),
    Replay(replay::ReplayArgs),
    Test(test::TestArgs),
}

pub(crate) fn run(args: &WebhooksArgs) -> Result<Exit, Trouble> {
    match &args.command {
        WebhooksCommand::List(args) => list::run(args),
        WebhooksCommand::Replay(args) => replay::run(args),
        WebhooksCommand::Test(args) => test::run(args),
    }
}
