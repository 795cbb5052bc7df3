//! `cresset dead list`: a line for each letter, the newest first.

use clap::Args;

use crate::args::ServerArgs;
use crate::client::Letter;
use crate::commands::listed::{self, Words};
use crate::exit::{Exit, Trouble};
use crate::out::Table;

/// Lists dead letters, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset dead list\n  \
    cresset dead list --model digits --limit 5\n  \
    cresset dead list --json | jq -r .task_id")]
pub(crate) struct ListArgs {
    /// Of this model only
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Show at most N letters
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print each letter as the server's JSON document, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ListArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    let words = Words {
        none: "no dead letters",
        one: "a letter",
    };
    listed::show(
        client.letters(args.model.as_deref(), args.limit),
        args.json,
        &words,
        table,
    )
}

fn table(letters: &[Letter]) -> String {
    let mut table = Table::new(&["ID", "DIED", "MODEL", ">TRIED", "REPLAYED", "REASON"]);
    for letter in letters {
        table.row([
            letter.task_id.to_string(),
            letter.died_at.clone(),
            letter.model.clone(),
            letter.tried.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            if letter.replayed_as.is_some() { "yes" } else { "no" }.to_owned(),
            letter.reason.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::super::letter;
    use super::*;

    #[test]
    fn a_letter_is_a_line() {
        let replayed = r#""replayed_as":"019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a11""#;
        insta::assert_snapshot!(table(&[letter(r#""replayed_as":null"#), letter(replayed)]));
    }
}
