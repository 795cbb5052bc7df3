//! `cresset dead show`: all that is known of one letter, or its input.

use clap::Args;

use super::LetterArgs;
use crate::args;
use crate::client::Letter;
use crate::exit::{Exit, Trouble};
use crate::out;

/// A MiB, in which memory is told.
const MIB: u64 = 1 << 20;

/// Shows what is known of a dead letter.
///
/// The last lines that its process printed are there where the server shows tracebacks (`cresset serve --show-tracebacks`).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset dead show 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10\n  \
    cresset dead show 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10 --input > input.json")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    letter: LetterArgs,
    /// Print the server's JSON document
    #[arg(long, conflicts_with = "input")]
    json: bool,
    /// Print the input as JSON, and nothing else
    #[arg(long)]
    input: bool,
}

pub(crate) fn run(args: &ShowArgs) -> Result<Exit, Trouble> {
    let client = args.letter.server.client()?;
    let id = args.letter.id;
    args::block_on(async {
        if args.input {
            let input = client.letter_input(id).await.map_err(|error| error.trouble())?;
            out::line(&String::from_utf8_lossy(&input))?;
            return Ok(Exit::OK);
        }
        let (letter, document) = client.letter(id).await.map_err(|error| error.trouble())?;
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::raw(overview(&letter).as_bytes())?;
        }
        Ok(Exit::OK)
    })
}

fn overview(letter: &Letter) -> String {
    let mut items = vec![("task", letter.task_id.to_string())];
    let model = match &letter.version {
        Some(version) => format!("{} (version {version})", letter.model),
        None => letter.model.clone(),
    };
    items.push(("model", model));
    items.push(("cause", letter.cause.clone()));
    items.push(("reason", letter.reason.clone()));
    let mut push = |name, value: Option<String>| items.extend(value.map(|value| (name, value)));
    push("tried", letter.tried.map(|n| format!("{n} times")));
    let memory = |bytes: u64| format!("{} MiB when last looked at", bytes / MIB);
    push("memory", letter.resident_bytes.map(memory));
    push("created", letter.created_at.clone());
    push("died", Some(letter.died_at.clone()));
    push("input", letter.input_bytes.map(|bytes| format!("{bytes} bytes")));
    let metadata = letter.metadata.as_deref().map(|raw| raw.get().to_owned());
    push("metadata", metadata.filter(|text| text != "null"));
    push("replayed as", letter.replayed_as.map(|id| id.to_string()));
    let mut text = out::pairs(items);
    for line in letter.log.iter().flatten() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::letter;
    use super::*;

    #[test]
    fn a_letter_reads_well() {
        let log = r#""log":["loading","about to crash"],"metadata":{"user":7},"replayed_as":"019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a11""#;
        let quiet = r#""log":null,"metadata":null"#;
        insta::assert_snapshot!([log, quiet].map(|rest| overview(&letter(rest))).join("\n"));
    }
}
