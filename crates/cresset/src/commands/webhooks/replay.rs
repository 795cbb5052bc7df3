//! `cresset webhooks replay`: one sent again.

use clap::Args;
use cresset_task::EventId;

use crate::args::{self, ServerArgs};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Sends a webhook again, now and under its name, with all its tries before it; prints its id.
///
/// An address that was disabled, as it answered 410 Gone, is no longer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset webhooks replay evt_019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10_succeeded")]
pub(crate) struct ReplayArgs {
    /// The webhook's id
    #[arg(value_name = "ID")]
    id: EventId,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ReplayArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    args::block_on(async {
        let replayed = client.replay_webhook(args.id).await;
        let (webhook, document) = replayed.map_err(|error| error.trouble())?;
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::line(&webhook.id)?;
        }
        Ok(Exit::OK)
    })
}
