//! `cresset tasks`: a line for each task, those accepted last first.

use clap::Args;
use cresset_task::State;

use crate::args::ServerArgs;
use crate::client::{Listed, TaskFilter};
use crate::commands::listed::{self, Words};
use crate::exit::{Exit, Trouble};
use crate::out::Table;

/// Lists tasks, those accepted last first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset tasks\n  \
    cresset tasks --model digits --status FAILURE\n  \
    cresset tasks --status PENDING --limit 1000 --json | jq -r .task_id")]
pub(crate) struct TasksArgs {
    /// Of this model only
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// In this state only: PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED
    #[arg(long, value_name = "STATUS", ignore_case = true, value_parser = state)]
    status: Option<State>,
    /// Show at most N tasks
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print each task as the server's JSON document, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn state(text: &str) -> Result<State, cresset_task::state::BadState> {
    text.to_ascii_uppercase().parse()
}

pub(crate) fn run(args: &TasksArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    let filter = TaskFilter {
        model: args.model.as_deref(),
        state: args.status,
    };
    let words = Words {
        none: "no such tasks",
        one: "a task",
    };
    listed::show(client.tasks(&filter, args.limit), args.json, &words, table)
}

fn table(tasks: &[Listed]) -> String {
    let mut table = Table::new(&["ID", "STATUS", "MODEL", ">ATTEMPTS", "ACCEPTED", "ENDED"]);
    for task in tasks {
        table.row([
            task.task_id.to_string(),
            task.status.clone(),
            task.model.clone(),
            task.attempts.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            task.created_at.clone(),
            task.finished_at.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_a_line() {
        let task = |rest: &str| -> Listed {
            let text = format!(
                r#"{{"task_id":"019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10","model":"digits","version":"1",
                "created_at":"2026-11-23T10:00:00.000000Z","attempts":1,{rest}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        insta::assert_snapshot!(table(&[
            task(r#""status":"STARTED","finished_at":null"#),
            task(r#""status":"SUCCESS","finished_at":"2026-11-23T10:00:09.000000Z""#),
        ]));
    }

    #[test]
    fn a_state_is_read_in_either_case() {
        assert_eq!(state("failure").unwrap(), State::Failure);
        assert!(
            state("done")
                .unwrap_err()
                .to_string()
                .contains("PENDING, STARTED")
        );
    }
}
