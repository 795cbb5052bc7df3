//! `cresset cancel`: revokes a task.

use clap::Args;
use cresset_task::{State, TaskId};

use crate::cli::{self, ServerArgs};
use crate::client::Cancelled;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Cancels a task: it is revoked for good when the command returns.
///
/// A queued task never runs. One that a model process has at that moment may still be computed; its result is thrown away.
/// One that has ended before stays as it is, and the command exits 1 unless it was revoked already.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset cancel 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10")]
pub(crate) struct CancelArgs {
    /// The task's id, as `cresset submit` printed it
    #[arg(value_name = "ID")]
    id: TaskId,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &CancelArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    cli::block_on(async {
        let (cancelled, document) = client.cancel(args.id).await.map_err(|error| error.trouble())?;
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::line(&words(&cancelled))?;
        }
        Ok(if cancelled.status == State::Revoked {
            Exit::OK
        } else {
            Exit::TASK_FAILED
        })
    })
}

fn words(cancelled: &Cancelled) -> String {
    let state = cancelled.status;
    match cancelled.cancelled.as_str() {
        "before" => format!("{state}, before it ran"),
        "during" => format!("{state}, while it ran: its result is thrown away"),
        "too_late" => format!("{state}, and was so before"),
        other => format!("{state} ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_cancellation_has_its_words() {
        let words = |status, cancelled: &str| {
            words(&Cancelled {
                status,
                cancelled: cancelled.into(),
            })
        };
        insta::assert_snapshot!(
            [
                words(State::Revoked, "before"),
                words(State::Revoked, "during"),
                words(State::Success, "too_late"),
                words(State::Revoked, "some_newer_word"),
            ]
            .join("\n")
        );
    }
}
