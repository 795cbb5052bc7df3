//! `cresset cancel`: revokes a task.

use std::time::Duration;

use clap::Args;
use cresset_task::{State, TaskId};

use crate::args::{self, ServerArgs};
use crate::client::Cancelled;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Cancels a task: it is revoked for good when the command returns.
///
/// A queued task never runs. If a model process has it at that moment its code can see that; a process that does not let go
/// within the model's grace is killed, and a result is thrown away.
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
    args::block_on(async {
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
    match (cancelled.cancelled.as_str(), cancelled.grace_ms) {
        ("before", _) => format!("{state}, before it ran"),
        ("during", None) => format!("{state}, while it ran: its result is thrown away"),
        ("during", Some(ms)) => format!(
            "{state}, while it ran: its process is killed in {:?} if it does not let go",
            Duration::from_millis(ms)
        ),
        ("too_late", _) => format!("{state}, and was so before"),
        (other, _) => format!("{state} ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_cancellation_has_its_words() {
        let graced = |status, cancelled: &str, grace_ms| {
            words(&Cancelled {
                status,
                cancelled: cancelled.into(),
                grace_ms,
            })
        };
        let words = |status, cancelled| graced(status, cancelled, None);
        insta::assert_snapshot!(
            [
                words(State::Revoked, "before"),
                words(State::Revoked, "during"),
                graced(State::Revoked, "during", Some(30_000)),
                words(State::Success, "too_late"),
                words(State::Revoked, "some_newer_word"),
            ]
            .join("\n")
        );
    }
}
