//! `cresset dead list`: a line for each letter, the newest first.

use clap::Args;
use serde_json::value::RawValue;

use crate::args::{self, ServerArgs};
use crate::client::{Client, Letter};
use crate::exit::{Exit, Trouble};
use crate::out::{self, Table};

/// Letters fetched at once: as many as a page has at most.
const PAGE: usize = 100;

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
    args::block_on(async {
        let letters = fetch(&client, args.model.as_deref(), args.limit).await?;
        if letters.is_empty() {
            out::note("no dead letters");
        } else if args.json {
            letters.iter().try_for_each(|letter| out::line(letter.get()))?;
        } else {
            let read = letters.iter().map(|letter| serde_json::from_str(letter.get()));
            let read: Vec<Letter> = read.collect::<Result<_, _>>().map_err(|error| {
                let words = format!("a letter is not what a Cresset server sends: {error}");
                Trouble::new(Exit::SOFTWARE, words)
            })?;
            out::raw(table(&read).as_bytes())?;
        }
        Ok(Exit::OK)
    })
}

/// The newest letters as the server writes them, `limit` at most, page by page.
async fn fetch(client: &Client, model: Option<&str>, limit: usize) -> Result<Vec<Box<RawValue>>, Trouble> {
    let mut letters = Vec::new();
    let mut after = None;
    loop {
        let room = limit.saturating_sub(letters.len());
        if room == 0 {
            return Ok(letters);
        }
        let page = client.letters(model, room.min(PAGE), after.as_deref()).await;
        let page = page.map_err(|error| error.trouble())?;
        letters.extend(page.letters);
        after = page.next;
        if after.is_none() {
            return Ok(letters);
        }
    }
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
