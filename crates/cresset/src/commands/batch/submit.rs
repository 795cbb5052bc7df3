//! `cresset batch submit`: a file of tasks, sent as it is read.

use std::path::PathBuf;

use clap::Args;
use cresset_queue::{IDEMPOTENCY_KEY_MAX, IdempotencyKey};
use serde_json::value::RawValue;

use super::sink::Sink;
use super::{PAUSE, TRIES, results, words};
use crate::args::{self, ServerArgs, WaitArgs};
use crate::client::{Batch, BatchWaitEnd, CallError, Client, Opening, Upload};
use crate::exit::{Exit, Trouble};
use crate::{input, out};

/// Sends a file of tasks in one request. Prints the batch's id, or with --wait the results of its lines.
///
/// Each line is what a submit's body is, an input and the options beside it:
///
/// {"input": [0.5, 1.0], "priority": 5, "metadata": {"row": 1}}
///
/// A line that is wrong becomes an error among the results and stops no other. The file may be of any length: it is sent as
/// fast as the server's queue has room, and never held in memory. When the connection breaks a file is sent again and the
/// server goes on behind the lines that it has; so does a later call with the same --idempotency-key, also after a crash.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    id=$(cresset batch submit digits lines.jsonl)\n  \
    cresset batch submit digits lines.jsonl --wait --output results.jsonl\n  \
    cresset batch submit digits lines.jsonl --idempotency-key night-7 --metadata '{\"night\": 7}'\n  \
    jq -c '{input: .}' inputs.jsonl | cresset batch submit embed - --wait > results.jsonl")]
pub(crate) struct SubmitArgs {
    /// The model's name
    model: String,
    /// A file with one task on each line (JSON Lines); - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A name of yours for this batch: under the same one the same file is sent again without a line twice
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,
    /// A JSON object that is kept with the batch and given back with it
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    /// Write the results here instead of to stdout
    #[arg(long, short, value_name = "OUT", requires = "wait")]
    output: Option<PathBuf>,
    /// Print the server's JSON document of the batch instead of its bare id
    #[arg(long, conflicts_with = "wait")]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// As servers take it.
fn key(text: &str) -> Result<String, String> {
    match text.parse::<IdempotencyKey>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "write 1 to {IDEMPOTENCY_KEY_MAX} letters, digits and signs of ASCII without blanks, such as night-7"
        )),
    }
}

pub(super) fn run(args: &SubmitArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    let metadata = args.metadata.as_deref().map(input::metadata).transpose()?;
    args::block_on(async {
        let lines = Upload::open(&args.file).await?;
        let sink = args.wait.limit().map(|_| Sink::open(args.output.as_deref()));
        let sink = sink.transpose()?;
        let (batch, document) = match send(args, &client, metadata.as_deref(), lines).await {
            Ok(accepted) => accepted,
            Err(trouble) => {
                sink.map_or(Ok(()), Sink::discard)?;
                return Err(trouble);
            }
        };
        let id = batch.batch_id;
        let (Some(limit), Some(mut sink)) = (args.wait.limit(), sink) else {
            let text = match args.json {
                true => String::from_utf8_lossy(&document).into_owned(),
                false => id.to_string(),
            };
            return out::line(&text).map(|()| Exit::OK);
        };
        out::note(&format!("batch {id}: {} lines accepted", batch.accepted));
        let ended = match client.batch_wait((batch, document), limit).await {
            Ok(BatchWaitEnd::Ended(batch, _)) => batch,
            Ok(BatchWaitEnd::TimedOut(batch)) => {
                sink.discard()?;
                return Err(words::timed_out(&batch));
            }
            Err(error) => {
                sink.discard()?;
                return Err(words::goes_on(error.trouble(), id));
            }
        };
        results::copy(&client, id, 0, &mut sink).await?;
        sink.finish()?;
        out::note(&format!("batch {id} {}: {}", ended.status, words::counts(&ended)));
        Ok(words::exit(&ended))
    })
}

/// Sends all lines, a file more than once if it must be.
async fn send(
    args: &SubmitArgs,
    client: &Client,
    metadata: Option<&RawValue>,
    lines: Upload,
) -> Result<(Batch, bytes::Bytes), Trouble> {
    let own = uuid::Uuid::now_v7().to_string();
    let opening = Opening {
        model: &args.model,
        key: args.idempotency_key.as_deref().unwrap_or(&own),
        metadata,
    };
    let (mut lines, mut tries) = (Some(lines), 0);
    loop {
        let upload = match lines.take() {
            Some(lines) => lines,
            None => Upload::open(&args.file).await?,
        };
        let can_repeat = upload.is_file();
        let error = match client.batch_submit(&opening, upload).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        // A server that was never there is not waited for; one that was lost on the way is.
        let was_there = tries > 0 || !matches!(error, CallError::Unreachable { .. });
        if !(can_repeat && was_there && error.passes() && tries < TRIES) {
            let trouble = error.trouble();
            // What has been accepted runs, whatever happened to the rest.
            return Err(match (error.passes(), can_repeat) {
                (true, true) => trouble.hint(format!(
                    "what was accepted runs; go on with `cresset batch submit {} {} --idempotency-key {}`",
                    args.model,
                    args.file.display(),
                    opening.key
                )),
                (true, false) => trouble.hint(format!(
                    "what was accepted runs; send the same lines again with --idempotency-key {}",
                    opening.key
                )),
                (false, _) => trouble,
            });
        }
        // The server goes on behind the lines that it has.
        tokio::time::sleep(error.pause(PAUSE, tries)).await;
        tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_a_header_and_the_server_take() {
        assert!(key("night-7").is_ok());
        for bad in ["", "two words", "nächtlich", &"x".repeat(IDEMPOTENCY_KEY_MAX + 1)] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
