//! `cresset batch status`: how many lines of a batch are where.

use clap::Args;

use super::{OneArgs, words};
use crate::args::{self, WaitArgs};
use crate::client::BatchWaitEnd;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Shows how a batch stands: how many of its lines wait, run and have ended, and how.
///
/// Exits 0 whatever became of its lines; `cresset batch results` exits 1 when one has no result.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset batch status 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10\n  \
    cresset batch status 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10 --wait=10m --json")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    of: OneArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatusArgs) -> Result<Exit, Trouble> {
    let client = args.of.server.client()?;
    args::block_on(async {
        let seen = client.batch(args.of.id).await.map_err(|error| error.trouble())?;
        let (batch, document) = match args.wait.limit() {
            None => seen,
            Some(limit) => match client.batch_wait(seen, limit).await {
                Ok(BatchWaitEnd::Ended(batch, document)) => (batch, document),
                Ok(BatchWaitEnd::TimedOut(batch)) => return Err(words::timed_out(&batch)),
                Err(error) => return Err(error.trouble()),
            },
        };
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::raw(words::overview(&batch).as_bytes())?;
        }
        Ok(Exit::OK)
    })
}
