//! `cresset batch cancel`: revokes what of a batch has not ended.

use clap::Args;

use super::{OneArgs, words};
use crate::args;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Cancels a batch: it takes no more lines, and every task of it that has not ended is revoked for good.
///
/// Returns when all are. One that was completed before stays as it is, and the command exits 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset batch cancel 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10")]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    of: OneArgs,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CancelArgs) -> Result<Exit, Trouble> {
    let client = args.of.server.client()?;
    args::block_on(async {
        let cancelled = client.batch_cancel(args.of.id).await;
        let (batch, document) = cancelled.map_err(|error| error.trouble())?;
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::line(&format!("{}: {}", batch.status, words::counts(&batch)))?;
        }
        Ok(match batch.cancelled_at {
            Some(_) => Exit::OK,
            None => Exit::TASK_FAILED,
        })
    })
}
