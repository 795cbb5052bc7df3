//! `cresset batch list`: a line for each batch, the one begun last first.

use clap::Args;

use super::words;
use crate::args::ServerArgs;
use crate::client::Batch;
use crate::commands::listed::{self, Words};
use crate::exit::{Exit, Trouble};
use crate::out::Table;

/// Lists batches, the one begun last first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset batch list\n  \
    cresset batch list --limit 1 --json | jq -r .batch_id")]
pub(crate) struct ListArgs {
    /// Show at most N batches
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print each batch as the server's JSON document, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &ListArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    let words = Words {
        none: "no batches",
        one: "a batch",
    };
    listed::show(client.batches(args.limit), args.json, &words, table)
}

fn table(batches: &[Batch]) -> String {
    let mut table = Table::new(&["BATCH", "MODEL", "STATUS", ">LINES", "CREATED", "OF THEM"]);
    for batch in batches {
        table.row([
            batch.batch_id.to_string(),
            batch.model.clone(),
            batch.status.clone(),
            batch.accepted.to_string(),
            batch.created_at.clone().unwrap_or_else(|| "-".into()),
            words::counts(batch),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_line() {
        let batch = |rest: &str| -> Batch {
            let text = format!(
                r#"{{"batch_id":"019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10","model":"digits",
                "created_at":"2026-11-23T10:00:00.000000Z","finished_at":null,"cancelled_at":null,{rest}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let batches = [
            batch(
                r#""status":"completed","accepted":5,"total":5,"counts":{"success":3,"invalid":1,"expired":1}"#,
            ),
            batch(r#""status":"accepting","accepted":0,"total":null,"counts":{}"#),
        ];
        let text: Vec<_> = batches.iter().map(words::overview).collect();
        insta::assert_snapshot!(format!("{}\n{}", table(&batches), text.join("\n")));
        assert_eq!(words::exit(&batches[0]), Exit::TASK_FAILED);
    }
}
