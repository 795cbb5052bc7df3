//! `cresset result`: what a task gave, on stdout; or why it gave nothing, on stderr and in the exit status.

use clap::Args;
use cresset_task::TaskId;

use super::status::timed_out;
use crate::args::{self, ServerArgs, WaitArgs};
use crate::client::{Task, WaitEnd};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Prints the result of a task as JSON.
///
/// Exits 1 when the task failed or was revoked, 75 when it has not ended yet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset result 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10\n  \
    cresset result 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10 --wait=5m > result.json")]
pub(crate) struct ResultArgs {
    /// The task's id, as `cresset submit` printed it
    #[arg(value_name = "ID")]
    id: TaskId,
    #[command(flatten)]
    wait: WaitArgs,
    /// Print the server's JSON document of the task, the result in it; also for a task that failed
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ResultArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    args::block_on(async {
        let (task, document) = match client.look(args.id, args.wait.limit()).await {
            Ok(WaitEnd::Seen(task, document)) => (task, document),
            Ok(WaitEnd::TimedOut(last)) => return Err(timed_out(args.id, last.as_deref())),
            Err(error) => return Err(error.trouble()),
        };
        if !task.status.is_terminal() {
            return Err(Trouble::new(
                Exit::TRY_AGAIN,
                format!("task {} has no result yet; it is {}", args.id, task.status),
            )
            .hint(format!("wait for it with `cresset result {} --wait`", args.id)));
        }
        print(&task, &document, args.json)
    })
}

/// The end of a task: its result, or its document when `json`; a task that failed ends the command with its reason.
pub(crate) fn print(task: &Task, document: &[u8], json: bool) -> Result<Exit, Trouble> {
    if json {
        out::line(&String::from_utf8_lossy(document))?;
    }
    match task.failure() {
        Some(trouble) => Err(trouble),
        None if json => Ok(Exit::OK),
        None => out::line(task.result_text()).map(|()| Exit::OK),
    }
}
