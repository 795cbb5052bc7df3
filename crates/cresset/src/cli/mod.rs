//! The command line as a whole: which commands there are. Each one's own arguments are beside what it does, in `commands`, and
//! what they share in `args`. `docs/reference/cli.md` is generated from this (see `reference`).

#[cfg(test)]
mod reference;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::exit::Exit;

/// Serves PyTorch models over HTTP: durable tasks, batches, supervised model processes.
#[derive(Debug, Parser)]
#[command(name = "cresset", version, max_term_width = 110, after_help = exit_statuses())]
#[command(after_long_help = exit_statuses(), arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<commands::serve::ServeArgs>),
    Gateway(Box<commands::gateway::GatewayArgs>),
    Worker(Box<commands::worker::WorkerArgs>),
    Check(Box<commands::check::CheckArgs>),
    Doctor(commands::doctor::DoctorArgs),
    Init(commands::init::InitArgs),
    Config(commands::config::ConfigArgs),
    Env(commands::env::EnvArgs),
    Store(commands::store::StoreArgs),
    Keys(Box<commands::keys::KeysArgs>),
    Submit(Box<commands::submit::SubmitArgs>),
    Batch(Box<commands::batch::BatchArgs>),
    Status(commands::status::StatusArgs),
    Result(commands::result::ResultArgs),
    Cancel(commands::cancel::CancelArgs),
    Tasks(commands::tasks::TasksArgs),
    Dead(commands::dead::DeadArgs),
    Webhooks(commands::webhooks::WebhooksArgs),
    Models(commands::models::ModelsArgs),
    Workers(commands::workers::WorkersArgs),
    Completions(commands::completions::CompletionsArgs),
}

fn exit_statuses() -> String {
    let lines: Vec<String> = Exit::ALL
        .iter()
        .map(|(exit, meaning)| format!("  {:>3}  {meaning}", exit.number()))
        .collect();
    format!("Exit status:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
